"""Speed of the reasoning panel: how long a change of sample or frame takes to answer.

    python benchmarks/panel.py [--videos 1000] [--frames 300] [--events 100]

The dataset is as large as those that people work on: every frame of every video has a detection
with a mask, and every video a trajectory of three replies. The videos are one file under many
names, so that no picture is cached before it is asked for. The time is what the App's server needs
for an event, from the request to the answer as JSON: the network and the browser come on top. Text
and pictures are apart, as the panel sends them apart: the text at once, the pictures when they are
decoded. "no sample" is what FiftyOne itself needs for an event: it finds the plugins and loads the
dataset. The line in the plot follows the player without an event. The reference, in the same run,
is what FiftyOne needs to load a sample and its frames. The dataset is in
the database that FiftyOne is configured to use, and deleted at the end.
"""

import argparse
import asyncio
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
from fiftyone.operators.executor import execute_or_delegate_operator

from fiftyone_revseg.app.install import install_plugin
from fiftyone_revseg.dataset import declare_fields, make_labels
from fiftyone_revseg.pipeline import Segmentation
from fiftyone_revseg.reasoning import ChainSpec, Grounding, KeyframeChoice, Trajectory, Turn
from fiftyone_revseg.synthetic.world_files import write_video
from fiftyone_revseg.tracking import MaskTrack, encode_masks
from fiftyone_revseg.types import FrameTable, Status

WIDTH, HEIGHT, FPS = 854, 480, 25  # of DAVIS and of most benchmarks of this task
FIELD = "revseg"
LIMIT = 0.3  # seconds
CHUNK = 10_000  # documents per insert
URI = "fiftyone_revseg/reasoning"

#: What has to be within the limit
WORDS = (
    "sample: words, plot",
    "sample: words, plot, pictures known",
    "frame: label selected",
    "frame: click in the plot",
)
NAMES = ("no sample", *WORDS, "pictures, decoded", "FiftyOne: sample, frames")


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


class App:
    """Sends the panel's events the way the App's server gets them."""

    def __init__(self, dataset):
        self._dataset = dataset

    def seconds(self, method, sample_id=None, **more):
        """Sends an event.

        Returns:
            how long the answer took, the length of the answer as JSON, and the answer
        """
        params = {"panel_id": "panel", "panel_state": {}, "__method__": method}
        request = {
            "dataset_name": self._dataset.name,
            "view": [],
            "current_sample": sample_id,
            "params": {**params, **more.pop("params", {})},
            **more,
        }
        start = time.perf_counter()
        result = asyncio.run(execute_or_delegate_operator(URI, request))
        result.raise_exceptions()
        text = json.dumps(result.to_json())
        return time.perf_counter() - start, len(text), json.loads(text)


def measure(dataset, ids, frames, events):
    """Returns name -> seconds of every event, and the largest answer in bytes."""
    app, rng = App(dataset), random.Random(0)
    times, largest = {name: [] for name in NAMES}, 0
    for _ in range(3):
        app.seconds("on_load")  # what is slow once: plugins, imports, the database's first answers
    for sample_id in rng.sample(ids, events):
        seconds, _, _ = app.seconds("on_change_current_sample")
        times["no sample"].append(seconds)

        seconds, size, answer = app.seconds("on_change_current_sample", sample_id)
        times["sample: words, plot"].append(seconds)
        largest = max(largest, size)
        (asked,) = [
            request["params"]
            for request in answer["executor"]["requests"]
            if request["operator_uri"].endswith("prompt_user_for_operation")
        ]

        number = rng.randint(1, frames)
        label_ids = dataset.select(sample_id).values(f"frames.{FIELD}.detections.id", unwind=True)
        label = {
            "label_id": label_ids[number - 1],
            "sample_id": sample_id,
            "field": f"frames.{FIELD}",
            "frame_number": number,
        }
        seconds, _, _ = app.seconds("on_change_selected_labels", sample_id, selected_labels=[label])
        times["frame: label selected"].append(seconds)
        seconds, _, _ = app.seconds("on_plot", sample_id, params={"x": number})
        times["frame: click in the plot"].append(seconds)

        seconds, _, _ = app.seconds("load_pictures", sample_id, params=asked["params"])
        times["pictures, decoded"].append(seconds)
        seconds, size, _ = app.seconds("refresh", sample_id)
        times["sample: words, plot, pictures known"].append(seconds)
        largest = max(largest, size)

    # Last, as FiftyOne reloads samples that are in memory with every event
    for sample_id in rng.sample(ids, events):
        start = time.perf_counter()
        found = dict(dataset[sample_id].frames.items())
        times["FiftyOne: sample, frames"].append(time.perf_counter() - start)
        assert len(found) == frames
    return times, largest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--events", type=int, default=100)
    args = parser.parse_args()
    print(
        f"{args.videos} videos x {args.frames} frames of {WIDTH} x {HEIGHT}, "
        f"FiftyOne {fo.__version__}, {os.cpu_count()} cores ({platform.machine()})"
    )
    with tempfile.TemporaryDirectory() as folder:
        fo.config.plugins_dir = f"{folder}/plugins"
        fo.config.model_zoo_dir = f"{folder}/zoo"
        install_plugin()
        videos = Path(folder, "videos")
        videos.mkdir()
        start = time.perf_counter()
        dataset, ids = make_dataset(write_files(videos, args.videos, args.frames), args.frames)
        try:
            print(f"made in {time.perf_counter() - start:.0f} s")
            events = min(args.events, args.videos)
            times, largest = measure(dataset, ids, args.frames, events)
        finally:
            dataset.delete()
    print(f"\n{events} of each, in ms              median      p95      max")
    for name, seconds in times.items():
        p95 = statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
        values = (statistics.median(seconds), p95, max(seconds))
        print(f"  {name:36s}" + "".join(f"{1000 * value:9.1f}" for value in values))
    print(f"largest answer: {largest / 1000:.0f} kB")
    slow = [name for name in WORDS if statistics.quantiles(times[name], n=20)[-1] > LIMIT]
    print(
        f"words within {1000 * LIMIT:.0f} ms (p95): {'no: ' + ', '.join(slow) if slow else 'yes'}"
    )


if __name__ == "__main__":
    main()
