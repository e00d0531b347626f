"""Writes the answer to one query as files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from fiftyone_revseg.files import check_writable, to_json
from fiftyone_revseg.files.written import Written
from fiftyone_revseg.masks import pictures
from fiftyone_revseg.pipeline import Segmentation
from fiftyone_revseg.reasoning import Trajectory
from fiftyone_revseg.video import Video


def write_answer(
    directory: str | Path, video: Video, answer: Segmentation, png: bool = True
) -> list[Path]:
    """Writes one answer; files of an earlier answer in the same directory are replaced.

    All is written aside and put in its place at the end, ``trajectory.json`` last: where that is,
    everything is of one answer.

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

    Raises:
        NotOursError: if a file of such a name is there that was not written by an earlier answer
        OSError: if something cannot be written
        VideoError: if the video cannot be read
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    check_answer(directory)
    with ExitStack() as stack:  # the first one to be entered is the last one to be left
        files = _Files(directory, stack)
        files.new("trajectory.json").write_text(_about(answer), encoding="utf-8")
        _write_key_frames(files, video, answer)
        if any(track is not None and track.visible_frames for track in answer.tracks):
            _write_masks(files, video, answer, png)
        files.remove_earlier()
    return files.paths


def check_answer(directory: str | Path) -> None:
    """Checks that an answer can be written, before the work.

    Raises:
        NotOursError: if a file of such a name is there that was not written by an earlier answer
        OSError: if nothing can be written there
    """
    directory = Path(directory)
    Written(directory).check(*_earlier(directory))
    check_writable(directory)


class _Files:
    """The files of one answer, which take their places together when a stack is left."""

    def __init__(self, directory: Path, stack: ExitStack):
        self.paths: list[Path] = []
        self._directory = directory
        self._written = Written(directory)
        self._stack = stack

    def new(self, name: str, folder: bool = False) -> Path:
        """Returns the path to write a file to, or a folder of files."""
        self.paths.append(self._directory / name)
        replacing = self._written.replacing_folder if folder else self._written.replacing
        return self._stack.enter_context(replacing(self.paths[-1]))

    def remove_earlier(self) -> None:
        """Removes what would be mixed with this answer: an old video would mislead."""
        earlier = _earlier(self._directory)
        self._written.check(*earlier)
        for path in earlier:
            if path not in self.paths or path == self.paths[0]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _earlier(directory: Path) -> list[Path]:
    """What is there of the names that an answer has, the one that says it is whole first."""
    ours = re.compile(r"(trajectory|masks)\.json|overlay\.mp4|keyframe(-\d+)?\.png|masks")
    found = [path for path in directory.glob("*") if ours.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name != "trajectory.json")


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


def key_frame_picture(video: Video, trajectory: Trajectory, k: int) -> np.ndarray:
    """Draws the box, points and description of the objects whose key frame is ``k`` on it."""
    shown = [
        grounding if frame == k else None
        for grounding, frame in zip(trajectory.groundings, trajectory.key_frames, strict=True)
    ]
    labels = [choice.description for choice in trajectory.choices]
    boxes = [None if grounding is None else grounding.box_xyxy_px for grounding in shown]
    points = [grounding.points if grounding else () for grounding in shown]
    return pictures.draw_boxes(video[k], boxes, labels, points)


def _write_key_frames(files: _Files, video: Video, answer: Segmentation) -> None:
    frames = sorted(set(answer.trajectory.key_frames))
    for position, k in enumerate(frames, start=1):
        name = "keyframe.png" if len(frames) == 1 else f"keyframe-{position}.png"
        pictures.save_png(files.new(name), key_frame_picture(video, answer.trajectory, k))


def _write_masks(files: _Files, video: Video, answer: Segmentation, png: bool) -> None:
    tracks = [track and track.to_dict() for track in answer.tracks]
    files.new("masks.json").write_text(to_json(tracks), encoding="utf-8")
    folder = files.new("masks", folder=True) if png else None
    width, height = answer.size

    def frames() -> Iterator[tuple[float, np.ndarray]]:
        for k, frame in video.walk(0):
            masks = masks_at(answer, k)
            if folder is not None:
                pictures.save_index_mask(folder / f"{k:05d}.png", masks, (width, height))
            yield video.time(k), pictures.draw_masks(frame, masks)

    pictures.write_video(files.new("overlay.mp4"), frames(), answer.fps)
