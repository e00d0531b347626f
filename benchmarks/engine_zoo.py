"""The tracking half against the code of FiftyOne's SAM2 zoo model, with the same weights.

The zoo's model is made without its download: the embedded tracker's weights in sam2's predictor.
It goes forward only, so the key frame is the first one; each video has the boxes of its objects
there. Ours are one video after the other, and the engine's steps with several videos together.

    python benchmarks/engine_zoo.py --videos 16
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np


class Reader:
    """What the zoo's model reads frames from."""

    def __init__(self, video):
        self.frame_size = video.size
        self._frames = video.walk(0)

    def read(self):
        return next(self._frames)[1]


def make_zoo_model(tracker):
    """FiftyOne's own class, which is told nothing but where its model comes from."""
    import fiftyone.utils.sam2 as fosam2
    from engine import make_predictor

    predictor = make_predictor(tracker)

    class ZooModel(fosam2.SegmentAnything2VideoModel):
        def _download_model(self, config):
            pass

        def _load_model(self, config):
            return predictor

    class Config:
        device = str(tracker.device)

    model = ZooModel(Config())
    model.needs_fields = {"prompt_field": "frames.boxes"}
    import sam2.sam2_video_predictor as module

    module.load_video_frames = fosam2.load_fiftyone_video_frames
    return model


def make_cases(folder, count, frames):
    """(path, boxes in pixels of the first frame) of rendered videos."""
    from fiftyone_revseg.synthetic import make_world, write_video

    cases, seed = [], 0
    while len(cases) < count:
        world = make_world(seed, "test", frame_count=frames)
        pictures, masks = world.render()[:2]
        seed += 1
        boxes = []
        for mask in np.asarray(masks)[:, 0]:
            y, x = np.nonzero(mask)
            if len(x) > 20:
                boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        if not boxes:
            continue
        path = Path(folder) / f"{seed}.mp4"
        write_video(path, pictures, world.fps)
        cases.append((str(path), np.array(boxes[:2], np.float32)))
    return cases


def zoo(model, cases):
    """Masks by video, object and frame, by the zoo's model; run lengths are made as ours are."""
    import fiftyone as fo
    import torch

    from fiftyone_revseg.tracking import encode_masks
    from fiftyone_revseg.video import open_video

    results = []
    for path, boxes in cases:
        with open_video(path) as video:
            width, height = video.size
            sample = fo.Sample(filepath=path)
            for k in range(len(video)):
                sample.frames[k + 1] = fo.Frame(boxes=None)
            prompts = [
                fo.Detection(
                    label="object",
                    bounding_box=[x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height],
                )
                for x0, y0, x1, y1 in boxes.tolist()
            ]
            sample.frames[1]["boxes"] = fo.Detections(detections=prompts)
            with torch.inference_mode():
                labels = model.predict(Reader(video), sample)
            masks = np.zeros((len(boxes), len(video), height, width), bool)
            for number, found in labels.items():
                for detection in found.detections:
                    x, y = detection.bounding_box[0] * width, detection.bounding_box[1] * height
                    h, w = detection.mask.shape
                    top, left = round(y), round(x)
                    masks[detection.index, number - 1, top : top + h, left : left + w] = (
                        detection.mask
                    )
            results.append([encode_masks(of_object) for of_object in masks])
    return results


def one_by_one(tracker, cases):
    from fiftyone_revseg.tracking import track_both_ways
    from fiftyone_revseg.video import open_video

    results = []
    for path, boxes in cases:
        with open_video(path) as video:
            results.append([track.rles for track in track_both_ways(tracker, video, 0, boxes)])
    return results


def lockstep(tracker, cases):
    """Several videos at a time, each begun when there is room, as the engine does."""
    from fiftyone_revseg.models.batch_size import BatchSize
    from fiftyone_revseg.tracking.lockstep import Found, Pursuit
    from fiftyone_revseg.video import open_video

    steps = tracker.lockstep(BatchSize("tracking", 4 if tracker.device.type == "cpu" else 32))
    left = list(enumerate(cases))[::-1]
    owners, results = {}, [None] * len(cases)
    while left or steps.count:
        while left and steps.wants_more():
            i, (path, boxes) = left.pop()
            video = open_video(path, ahead=0)
            pursuit = Pursuit(video, 0, boxes)
            owners[id(pursuit)] = (i, pursuit)
            results[i] = [[None] * len(video) for _ in boxes]
            steps.add([pursuit])
        for found in steps.step():
            i, pursuit = owners[id(found.pursuit)]
            if isinstance(found, Found):
                for row, rle in zip(results[i], found.encode().rles, strict=True):
                    row[found.frame] = rle
                continue
            if found.error is not None:
                raise found.error
            pursuit.video.close()
    return results


def agreement(ours, theirs, cases):
    """The mean IoU of masks that either one has."""
    from fiftyone_revseg.tracking import decode_masks
    from fiftyone_revseg.video import open_video

    ious = []
    for mine, other, (path, _) in zip(ours, theirs, cases, strict=True):
        with open_video(path) as video:
            size = video.size
        for row, other_row in zip(mine, other, strict=True):
            for a, b in zip(row, other_row, strict=True):
                if a is None and b is None:
                    continue
                one, two = decode_masks([a, b], size)
                ious.append((one & two).sum() / max(1, (one | two).sum()))
    return float(np.mean(ious))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    import torch

    from fiftyone_revseg.tracking import load_tracker

    torch.set_num_threads(args.threads)
    tracker = load_tracker("sam2-nano", device=args.device)
    model = make_zoo_model(tracker)
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(folder, args.videos, args.frames)
        runs = {
            "FiftyOne's zoo model": lambda: zoo(model, cases),
            "one by one": lambda: one_by_one(tracker, cases),
            "side by side": lambda: lockstep(tracker, cases),
        }
        found, seconds = {}, {}
        for name, run in runs.items():
            cases, kept = cases[:1], cases
            run()  # what is done only once
            cases = kept
            wall, cpu = time.perf_counter(), time.process_time()
            found[name] = run()
            seconds[name] = (time.perf_counter() - wall, time.process_time() - cpu)
        objects = sum(len(boxes) for _, boxes in cases)
        print(f"{len(cases)} videos of {args.frames} frames, {objects} objects, forward")
        base = next(iter(seconds.values()))
        for name, (wall, cpu) in seconds.items():
            same = agreement(found["one by one"], found[name], cases)
            print(
                f"  {name:22} {wall:7.1f} s, CPU {cpu:7.1f} s; {base[0] / wall:5.2f} x on the "
                f"clock, {base[1] / cpu:5.2f} x in CPU time; mean IoU with one by one {same:.4f}"
            )


if __name__ == "__main__":
    main()
