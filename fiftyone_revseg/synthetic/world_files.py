"""Worlds as files: mp4 videos and one annotation file with everything that is true about them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fiftyone_revseg.files import name_for_ffmpeg, remove_leftovers, replacing, write_json
from fiftyone_revseg.masks.rle import decode_masks, encode_masks
from fiftyone_revseg.synthetic.made_up import mark
from fiftyone_revseg.synthetic.queries import KINDS, Query, pick_queries
from fiftyone_revseg.synthetic.world import World, make_world

ANNOTATIONS = "annotations.json"


def write_video(path: str | Path, frames: Sequence[np.ndarray] | np.ndarray, fps: float) -> None:
    """Writes an H.264 mp4, the same bytes for the same frames; never leaves half a file.

    Args:
        path: where to write
        frames: ``(T, H, W, 3)`` uint8 RGB, height and width even
        fps: frames per second
    """
    import av

    path = Path(path)
    height, width = frames[0].shape[:2]
    with (
        replacing(path) as partial,
        av.open(name_for_ffmpeg(partial), "w", format="mp4") as container,
    ):
        mark(container)
        stream = container.add_stream(
            "libx264", rate=round(fps), options={"crf": "16", "threads": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def render(
    directory: str | Path, split: str = "test", count: int = 200, seed: int = 0, queries: int = 1
) -> list[dict[str, Any]]:
    """Writes videos with their queries and exact masks; what is there already is kept.

    ``annotations.json`` holds, for each video, its ``objects`` (name, one COCO run-length mask or
    null per frame, visible ``areas`` in pixels per frame) and its ``queries`` (text, kind, targets
    as indices of objects, thought).

    Args:
        directory: where to write; created if missing
        split: "train", "val" or "test": disjoint worlds
        count: the number of videos
        seed: the first world's seed; the others follow
        queries: questions about each video. The kinds take turns from video to video

    Returns:
        what ``annotations.json`` holds: a list of dicts, one for each video
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(seed, seed + count):
        world = make_world(number, split)
        path = directory / f"{split}_{number:06d}.mp4"
        frames, masks = world.render()
        if path.exists():
            remove_leftovers(path)
        else:
            write_video(path, frames, world.fps)
        records.append(_record(path.name, world, masks, chosen_queries(world, queries)))
    write_json(directory / ANNOTATIONS, records)
    return records


def make_dataset(
    directory: str | Path,
    split: str = "test",
    count: int = 200,
    seed: int = 0,
    name: str | None = None,
) -> Any:
    """Writes videos and makes a FiftyOne dataset of them, one query for each.

    Each sample has ``query``, ``kind`` and ``thought``, the visible masks of what the query asks
    for in ``frames.ground_truth``, and those of all objects in ``frames.objects``.

    Args:
        directory: where to write the videos
        split: "train", "val" or "test"
        count: the number of videos
        seed: the first world's seed
        name: the dataset's name; a free one by default

    Returns:
        a ``fiftyone.core.dataset.Dataset``
    """
    import fiftyone as fo

    records = render(directory, split, count, seed)
    samples = []
    for record in records:
        query = record["queries"][0]
        sample = fo.Sample(
            filepath=os.path.abspath(Path(directory) / record["video"]),
            tags=[split],
            query=query["text"],
            kind=query["kind"],
            thought=query["thought"],
        )
        instances = [fo.Instance() for _ in record["objects"]]
        for k in range(record["frame_count"]):
            detections = [
                _detection(record["objects"][i], k, i + 1, instances[i])
                for i in range(len(instances))
            ]
            sample.frames[k + 1] = fo.Frame(
                ground_truth=fo.Detections(
                    detections=[detections[i] for i in query["targets"] if detections[i]]
                ),
                objects=fo.Detections(detections=[d.copy() for d in detections if d]),
            )
        samples.append(sample)
    dataset = fo.Dataset(name)
    dataset.media_type = "video"
    dataset.add_samples(samples, dynamic=True)
    dataset.compute_metadata()
    return dataset


def chosen_queries(world: World, count: int) -> list[Query]:
    """The first one of the kind whose turn it is, where the world has one."""
    available = pick_queries(world, 100)
    turn = KINDS[world.seed % len(KINDS)]
    available.sort(key=lambda query: query.kind != turn)  # stable: the rest stays mixed
    return available[:count]


def _record(
    video: str, world: World, masks: np.ndarray, queries: Sequence[Query]
) -> dict[str, Any]:
    return {
        "video": video,
        "width": world.width,
        "height": world.height,
        "fps": world.fps,
        "frame_count": world.frame_count,
        "objects": [
            {
                "name": body.name,
                "masks": encode_masks(masks[i]),
                "areas": masks[i].sum(axis=(1, 2)).tolist(),
            }
            for i, body in enumerate(world.bodies)
        ],
        "queries": [
            {"text": q.text, "kind": q.kind, "targets": list(q.targets), "thought": q.thought}
            for q in queries
        ],
    }


def _detection(body: dict[str, Any], k: int, index: int, instance: Any) -> Any:
    """A body in frame ``k`` as a label, or None where it cannot be seen."""
    import fiftyone as fo

    rle = body["masks"][k]
    if rle is None:
        return None
    height, width = rle["size"]
    (mask,) = decode_masks([rle], (width, height))
    detection = fo.Detection.from_mask(mask, label=body["name"])
    detection.index, detection.instance = index, instance
    return detection
