"""Writes the answer to one query as files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fiftyone_revseg import pictures
from fiftyone_revseg.files import to_json

if TYPE_CHECKING:
    from fiftyone_revseg.pipeline import Segmentation
    from fiftyone_revseg.video import Video


def write_answer(
    directory: str | Path, video: Video, answer: Segmentation, png: bool = True
) -> list[Path]:
    """Writes one answer; files of an earlier answer in the same directory are replaced.

    ``trajectory.json`` is always written. Where there is a key frame, so is ``keyframe.png`` (or
    ``keyframe-1.png``, ``keyframe-2.png``, ... if the objects have several), and where an object
    was found, ``masks.json`` (run-length encoded, with boxes and scores), ``masks/`` and
    ``overlay.mp4``.

    Args:
        directory: where to write
        video: the video that was segmented
        answer: a :class:`fiftyone_revseg.pipeline.Segmentation` of it
        png (True): whether to write one palette PNG per frame to ``masks/``; the value of a pixel
            is 0 for the background, else the number of the object, from 1 on

    Returns:
        what was written, directories instead of the files in them
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _remove_earlier(directory)
    written = [directory / "trajectory.json"]
    written[0].write_text(_about(answer), encoding="utf-8")
    written += _write_key_frames(directory, video, answer)
    if any(track is not None and track.visible_frames for track in answer.tracks):
        written += _write_masks(directory, video, answer, png)
    return written


def _remove_earlier(directory: Path) -> None:
    """Removes what an earlier run wrote: an old video beside a new answer would mislead."""
    ours = re.compile(r"(trajectory|masks)\.json|overlay\.mp4|keyframe(-\d+)?\.png")
    for path in directory.iterdir():
        if ours.fullmatch(path.name) and path.is_file():
            path.unlink()
    for path in (directory / "masks").glob("*.png"):
        if re.fullmatch(r"\d{5,}", path.stem):
            path.unlink()


def _about(answer: Segmentation) -> str:
    about = answer.to_dict()
    del about["tracks"]  # they have a file of their own
    about["key_frames"] = list(answer.trajectory.key_frames)
    return to_json(about, indent=2, ensure_ascii=False) + "\n"


def masks_at(answer: Segmentation, k: int) -> list[np.ndarray | None]:
    """Returns the mask of each object in frame ``k``, None where it is not visible."""
    return [
        None if track is None or track.rles[k] is None else track.mask(k) for track in answer.tracks
    ]


def key_frame_picture(video: Video, answer: Segmentation, k: int) -> np.ndarray:
    """Draws the box and description of every object whose key frame is ``k`` on that frame."""
    boxes, labels = [], []
    for i, choice in enumerate(answer.trajectory.choices):
        grounding = answer.trajectory.groundings[i]
        here = answer.trajectory.key_frames[i] == k and grounding is not None
        boxes.append(grounding.box_xyxy_px if here and grounding else None)
        labels.append(choice.description)
    return pictures.draw_boxes(video[k], boxes, labels)


def _write_key_frames(directory: Path, video: Video, answer: Segmentation) -> list[Path]:
    frames = sorted(set(answer.trajectory.key_frames))
    paths = []
    for position, k in enumerate(frames, start=1):
        name = "keyframe.png" if len(frames) == 1 else f"keyframe-{position}.png"
        pictures.save_png(directory / name, key_frame_picture(video, answer, k))
        paths.append(directory / name)
    return paths


def _write_masks(directory: Path, video: Video, answer: Segmentation, png: bool) -> list[Path]:
    tracks = [track and track.to_dict() for track in answer.tracks]
    (directory / "masks.json").write_text(to_json(tracks), encoding="utf-8")
    width, height = answer.size

    def frames() -> Iterator[tuple[float, np.ndarray]]:
        for k, frame in video.walk(0):
            masks = masks_at(answer, k)
            if png:
                path = directory / "masks" / f"{k:05d}.png"
                pictures.save_index_mask(path, masks, (width, height))
            yield video.time(k), pictures.draw_masks(frame, masks)

    pictures.write_video(directory / "overlay.mp4", frames(), answer.fps)
    masks = [directory / "masks.json", *([directory / "masks"] if png else [])]
    return [*masks, directory / "overlay.mp4"]
