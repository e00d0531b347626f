"""Speed of writing labels: this project against FiftyOne's own ways.

    python benchmarks/writing.py [--frames 3000]

The labels are those of one video: a mask on every frame, and the sample-level fields. Every frame
has a document already, as after an import of ground truth or an earlier run. All ways run in turn,
several times, in the same process, each on a dataset of its own; the best time of each counts, and
the ratios are what to look at. The datasets are temporary, in the database that FiftyOne is
configured to use, and deleted at the end.

``set_values`` is the fastest that FiftyOne itself has. It writes the frames alone, neither in an
order that is safe to kill nor with the sample-level fields, which the other two write as well.
"""

import argparse
import os
import platform
import time

import fiftyone as fo
import numpy as np

from fiftyone_revseg.dataset import make_labels
from fiftyone_revseg.dataset.collection import VideoRef
from fiftyone_revseg.dataset.schema import declare_fields
from fiftyone_revseg.dataset.writer import LabelWriter
from fiftyone_revseg.pipeline import Segmentation
from fiftyone_revseg.reasoning import Grounding, KeyframeChoice, Trajectory
from fiftyone_revseg.tracking import MaskTrack, encode_masks
from fiftyone_revseg.types import FrameTable, Status

WIDTH, HEIGHT = 854, 480  # of DAVIS and of most benchmarks of this task
FIELD = "revseg"
SLOW = 10  # seconds; what takes longer is not repeated


def with_label_writer(dataset, labels):
    (sample_id,), (path,) = dataset.values(["id", "filepath"])
    LabelWriter(dataset, FIELD).write(VideoRef(dataset, sample_id, path), labels)


def with_set_values(dataset, labels):
    (sample_id,) = dataset.values("id")
    dataset.set_values(f"frames.{FIELD}", {sample_id: labels.frames}, key_field="id")


def with_add_labels(dataset, labels):
    """What ``dataset.apply_model`` does, and what keeps it from merging old labels with new."""
    sample = dataset.first()
    for number in list(sample.frames):
        sample.frames[number][FIELD] = None
    for name, value in labels.sample_values(FIELD).items():
        sample[name] = value
    sample.add_labels(labels.frames, label_field=FIELD)
    sample.save()


WAYS = {
    "LabelWriter": with_label_writer,
    "set_values": with_set_values,
    "add_labels + save": with_add_labels,
}


def make_dataset(frames, written):
    """One video whose frames have documents; with labels of an earlier run if ``written``."""
    dataset = fo.Dataset()
    sample = fo.Sample("video.mp4")
    for number in range(1, frames + 1):
        truth = fo.Detection(label="truth", bounding_box=[0.1, 0.1, 0.5, 0.5])
        sample.frames[number] = fo.Frame(truth=fo.Detections(detections=[truth]))
    dataset.add_sample(sample)
    declare_fields(dataset, FIELD)
    if written:
        with_label_writer(dataset, answer(frames))
    return dataset


def answer(frames):
    """A disc that moves and grows, as labels; new ones each time, as each label has an id."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    steps = np.linspace(0, 1, 50)
    masks = [(x - 150 - 500 * t) ** 2 + (y - 240) ** 2 < (40 + 60 * t) ** 2 for t in steps]
    rles = encode_masks(np.stack(masks))
    track = MaskTrack(
        object_id=0,
        frame_count=frames,
        size=(WIDTH, HEIGHT),
        rles=tuple(rles[k % len(rles)] for k in range(frames)),
        scores=(0.9,) * frames,
    )
    trajectory = Trajectory(
        query="the disc",
        frame_table=FrameTable((0,), (0.0,), frames, frames / 25),
        source_size=(WIDTH, HEIGHT),
        status=Status.OK,
        think="There is one disc.",
        choices=(KeyframeChoice(0, "a disc"),),
        groundings=(Grounding((110.0, 200.0, 190.0, 280.0), 0.9),),
    )
    return make_labels([Segmentation(trajectory, (track,), path="video.mp4", fps=25.0)])


def seconds_of(way, frames, written):
    dataset = make_dataset(frames, written)
    labels = answer(frames)
    try:
        start = time.perf_counter()
        way(dataset, labels)
        seconds = time.perf_counter() - start
        assert dataset.count(f"frames.{FIELD}.detections") == frames
        return seconds
    finally:
        dataset.delete()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(
        f"{args.frames} frames of {WIDTH} x {HEIGHT}, FiftyOne {fo.__version__}, "
        f"{os.cpu_count()} cores ({platform.machine()}), best of {args.repeats}"
    )
    for title, written in {"new labels": False, "over earlier labels": True}.items():
        times = {name: [] for name in WAYS}
        for _ in range(args.repeats):
            for name, way in WAYS.items():
                if min(times[name], default=0) < SLOW:
                    times[name].append(seconds_of(way, args.frames, written))
        print(f"\n{title:22s} seconds   times set_values")
        for name, seconds in times.items():
            print(
                f"  {name:20s} {min(seconds):7.2f}   {min(seconds) / min(times['set_values']):6.2f}"
            )


if __name__ == "__main__":
    main()
