"""Speed of the reasoning panel: how long a change of sample or frame takes to answer.

    python benchmarks/panel.py [--videos 1000] [--frames 300] [--events 100]

The dataset is as large as those that people work on: every frame of every video has a detection
with a mask, and every video a trajectory of three replies. The videos are one file under many
names, so that no picture is cached before it is asked for. The time is what the App's server needs
for an event, from the request to the answer as JSON: the network and the browser come on top. Text
and pictures are apart, as the panel sends them apart: the text at once, the pictures when they are
decoded. The reference, in the same run and on the same samples, is what FiftyOne needs to load a
sample and its frames. The dataset is in the database that FiftyOne is configured to use, and
deleted at the end.
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from pathlib import Path

import fiftyone as fo
import numpy as np
from bson import ObjectId

from fiftyone_revseg.dataset import declare_fields, make_labels
from fiftyone_revseg.pipeline import Segmentation
from fiftyone_revseg.reasoning import ChainSpec, Grounding, KeyframeChoice, Trajectory, Turn
from fiftyone_revseg.synthetic.files import write_video
from fiftyone_revseg.tracking import MaskTrack, encode_masks
from fiftyone_revseg.types import FrameTable, Status

WIDTH, HEIGHT, FPS = 854, 480, 25  # of DAVIS and of most benchmarks of this task
FIELD = "revseg"
LIMIT = 0.3  # seconds
CHUNK = 10_000  # documents per insert


def disc_masks(frames):
    """A disc that moves and grows, on each frame."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    steps = np.linspace(0, 1, frames)
    return [(x - 150 - 500 * t) ** 2 + (y - 240) ** 2 < (40 + 60 * t) ** 2 for t in steps]


def answer(masks, query, path):
    """What a model says about the disc, as labels; two turns and one reply that was no use."""
    frames = len(masks)
    indices = tuple(int(k) for k in np.linspace(0, frames - 1, 16).round())
    track = MaskTrack(
        object_id=0,
        frame_count=frames,
        size=(WIDTH, HEIGHT),
        rles=tuple(encode_masks(np.stack(masks))),
        scores=tuple(0.9 - 0.3 * k / frames for k in range(frames)),
    )
    trajectory = Trajectory(
        query=query,
        frame_table=FrameTable(indices, tuple(k / FPS for k in indices), frames, frames / FPS),
        source_size=(WIDTH, HEIGHT),
        status=Status.OK,
        think="There is one disc, and it moves to the right. " * 10,
        choices=(KeyframeChoice(5, "a disc"),),
        groundings=(Grounding((110.0, 200.0, 190.0, 280.0), 0.9),),
        turns=(
            Turn("find " * 500, "think " * 200, 200, 2.0, error="no answer in it"),
            Turn("find " * 500, "think " * 200, 200, 2.0, attempt=1),
            Turn("where " * 50, '[{"bbox_2d": [110, 200, 190, 280]}]', 20, 0.4, turn=2, object=0),
        ),
        model="a model",
        spec=ChainSpec(),
    )
    timings = {"decode": 0.2, "reason": 4.4, "turn1": 4.0, "turn2": 0.4, "track": 9.0}
    segmentation = Segmentation(trajectory, (track,), timings=timings, path=path, fps=float(FPS))
    return make_labels([segmentation])


def write_files(folder, videos, frames):
    """One video of noise and a disc, under as many names as there are samples."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    pictures = []
    for mask in disc_masks(frames):
        picture = ground // 2
        picture[mask] = (255, 80, 80)
        pictures.append(picture)
    first = folder / "000000.mp4"
    write_video(first, pictures, FPS)
    paths = [first] + [folder / f"{n:06d}.mp4" for n in range(1, videos)]
    for path in paths[1:]:
        os.link(first, path)
    return [str(path) for path in paths]


def make_dataset(paths, frames):
    """Inserts the labels of one video for all of them, in bulk: what is read is the same."""
    dataset = fo.Dataset()
    labels = answer(disc_masks(frames), "the disc", paths[0])
    metadata = fo.VideoMetadata(
        frame_width=WIDTH, frame_height=HEIGHT, frame_rate=FPS, total_frame_count=frames
    )
    dataset.add_samples([fo.Sample(path, metadata=metadata) for path in paths])
    declare_fields(dataset, FIELD)
    ids = dataset.values("id")
    for name, value in labels.sample_values(FIELD).items():
        dataset.set_values(name, [value] * len(ids))
    documents = [(number, found.to_dict()) for number, found in labels.frames.items()]
    waiting = []
    for sample_id in ids:
        for number, document in documents:
            own = {"_sample_id": ObjectId(sample_id), "_dataset_id": dataset._doc.id}
            waiting.append({**own, "_id": ObjectId(), "frame_number": number, FIELD: document})
        if len(waiting) >= CHUNK:
            dataset._frame_collection.insert_many(waiting, ordered=False)
            waiting = []
    if waiting:
        dataset._frame_collection.insert_many(waiting, ordered=False)
    dataset.reload()
    return dataset, ids
