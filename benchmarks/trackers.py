"""Trackers side by side: time and memory by the length of the video, and whether masks agree.

    python benchmarks/trackers.py                                  # the embedded tracker, any CPU
    python benchmarks/trackers.py --tracker facebook/sam2.1-hiera-large --compiled --together 8 \
        --tracker transformers:facebook/sam2.1-hiera-large --device cuda --size 1280x720

One object is followed through a made-up video of 200, 1,000 and 3,000 frames, each time in a
process of its own. sam2's own predictor runs too, on the weights of the first tracker, and is what
the ratios refer to; with --compiled, that is its compiled one (SAM2VideoPredictorVOS), which takes
minutes to warm up. It holds the whole video, so only up to --predictor-frames. With --together, the
first tracker also follows as many such videos side by side, as the engine does. Times are those of
tracking alone: all is warm, frames lie ready in memory, and the predictor's were loaded before.
Masks are compared with the first tracker's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

PREDICTOR = "predictor:"
COMPILED = "compiled predictor:"
TOGETHER = "side by side:"
WARM = 20  # frames: by then, a memory has its full size
PERIOD = 48  # the video repeats itself, so that its frames take no memory to speak of


def make_frames(size):
    """A disc that goes in a circle over blocks of noise; (H, W, 3) uint8 each."""
    width, height = size
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    background = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
    y, x = np.mgrid[:height, :width]
    radius = min(size) / 7
    frames = []
    for k in range(PERIOD):
        frame = background.copy()
        angle = 2 * np.pi * k / PERIOD
        cx, cy = width / 2 + np.sin(angle) * width / 4, height / 2 - np.cos(angle) * height / 4
        frame[np.hypot(x - cx, y - cy) < radius] = (220, 40, 30)
        frames.append(frame)
    top = height / 2 - height / 4
    box = [width / 2 - radius, top - radius, width / 2 + radius, top + radius]
    return frames, np.array([box], np.float32)


class Repeated:
    """The made-up video, as what a tracker walks over."""

    def __init__(self, frames, count):
        self.frames, self.count = frames, count
        self.size = frames[0].shape[1::-1]

    def __len__(self):
        return self.count

    def walk(self, start, step=1):
        """Iterates over (k, frame) from ``start`` to that direction's end."""
        for k in range(start, self.count if step > 0 else -1, step):
            yield k, self.frames[k % PERIOD]


def run_together(name, count, size, device, dtype, videos):
    """(masks of the first video as RLE, seconds for each) of videos side by side."""
    from side_by_side import follow

    from fiftyone_revseg.tracking import load_tracker
    from fiftyone_revseg.tracking.lockstep import Pursuit

    frames, boxes = make_frames(size)
    tracker = load_tracker(name, device=device, dtype=dtype)

    def follow_all(count):
        pursuits = [Pursuit(Repeated(frames, count), 0, boxes) for _ in range(videos)]
        found = follow(tracker, pursuits, videos)
        return [masks.rles[0] for pursuit, masks in found if pursuit is pursuits[0]]

    follow_all(WARM)
    start = time.perf_counter()
    rles = follow_all(count)
    return rles, (time.perf_counter() - start) / videos


def run_tracker(name, count, size, device, dtype):
    """(masks as RLE, seconds) of one of ours."""
    from fiftyone_revseg.tracking import load_tracker

    frames, boxes = make_frames(size)
    tracker = load_tracker(name, device=device, dtype=dtype)

    def follow(count):
        video = Repeated(frames, count)
        return [found.rles[0] for found in tracker.track(video.walk(0), boxes)]

    follow(WARM)  # kernels are chosen and memory is reserved
    start = time.perf_counter()
    rles = follow(count)
    return rles, time.perf_counter() - start


def run_predictor(name, count, size, device, dtype, compiled):
    """The same of sam2's own predictor, with its own settings."""
    import torch
    from hydra.utils import instantiate
    from PIL import Image

    from fiftyone_revseg.models.devices import choose_device, choose_dtype
    from fiftyone_revseg.tracking import encode_masks
    from fiftyone_revseg.tracking.checkpoints import find_checkpoint, read_files
    from fiftyone_revseg.tracking.preprocess import to_model_images

    config, state_dict, _ = read_files(find_checkpoint(name))
    config["_target_"] = "sam2.sam2_video_predictor.SAM2VideoPredictor"
    if compiled:  # as sam2's own build_sam2_video_predictor(vos_optimized=True)
        config["_target_"] += "VOS"
        config["compile_image_encoder"] = True
    predictor = instantiate(config, _recursive_=True)
    predictor.load_state_dict(state_dict)
    device = choose_device(device)
    dtype = choose_dtype(dtype, device)
    predictor = predictor.eval().to(device)
    frames, boxes = make_frames(size)
    inputs = to_model_images(frames, predictor.image_size)
    with (
        tempfile.TemporaryDirectory() as folder,
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=dtype != torch.float32),
    ):
        Image.fromarray(frames[0]).save(f"{folder}/00000.jpg")
        for k in range(1, count):
            os.link(f"{folder}/00000.jpg", f"{folder}/{k:05d}.jpg")
        state = predictor.init_state(folder)  # on the device, as it does by default
        for k in range(count):  # the very frames, not what JPEG makes of them
            state["images"][k] = inputs[k % PERIOD]

        def follow(count):
            state["cached_features"].clear()
            predictor.reset_state(state)
            predictor.add_new_points_or_box(state, frame_idx=0, obj_id=0, box=boxes[0])
            rles = []
            for _, _, logits in islice(predictor.propagate_in_video(state), count):
                rles.extend(encode_masks((logits[:, 0] > 0).cpu().numpy()))
            return rles

        follow(WARM)
        start = time.perf_counter()
        return follow(count), time.perf_counter() - start


def measure(args):
    """Runs one tracker once and writes what it found."""
    import torch

    torch.set_num_threads(args.threads)
    name, count = args.one, args.frames[0]
    settings = (count, args.size, args.device, args.dtype)
    if name.startswith(TOGETHER):
        rles, seconds = run_together(name.removeprefix(TOGETHER), *settings, args.together)
    elif name.startswith((PREDICTOR, COMPILED)):
        compiled = name.startswith(COMPILED)
        bare = name.removeprefix(COMPILED).removeprefix(PREDICTOR)
        rles, seconds = run_predictor(bare, *settings, compiled)
    else:
        rles, seconds = run_tracker(name, *settings)
    scale = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kilobytes
    result = {
        "seconds": seconds,
        "rles": rles,
        "host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale,
        "gpu": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0,
    }
    Path(args.out).write_text(json.dumps(result))


def agreement(rles, reference):
    """(mean IoU, share of frames with the very same mask)."""
    from pycocotools import mask

    ious, same = [], []
    for a, b in zip(rles, reference, strict=True):
        same.append(a == b)
        if a is None or b is None:
            ious.append(float(a is b))
        else:
            a, b = ({**rle, "counts": rle["counts"].encode()} for rle in (a, b))
            ious.append(mask.iou([a], [b], [0])[0, 0])
    return np.mean(ious), np.mean(same)


def size(text):
    width, height = text.split("x")
    return int(width), int(height)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracker", action="append", help="a name; more than once for more")
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 1000, 3000])
    parser.add_argument("--predictor-frames", type=int, default=1000)
    parser.add_argument("--compiled", action="store_true", help="compile sam2's own predictor")
    parser.add_argument("--together", type=int, default=0, help="videos to follow side by side")
    parser.add_argument("--size", type=size, default=(320, 240), help="WIDTHxHEIGHT of the video")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return measure(args)

    trackers = args.tracker or ["sam2-nano", "transformers:sam2-nano"]
    print("| frames | tracker | ms a frame | x predictor | host MB | GPU MB | IoU | same masks |")
    print("|---|---|---|---|---|---|---|---|")
    for count in args.frames:
        results = {}
        reference = (COMPILED if args.compiled else PREDICTOR) + trackers[0]
        predictor = [reference] if count <= args.predictor_frames else []
        together = [TOGETHER + trackers[0]] if args.together else []
        for name in predictor + trackers + together:
            with tempfile.NamedTemporaryFile(suffix=".json") as out:
                command = [sys.executable, __file__, "--one", name, "--out", out.name]
                command += ["--frames", str(count), "--size", "x".join(map(str, args.size))]
                command += ["--threads", str(args.threads), "--together", str(args.together)]
                command += ["--device", args.device] if args.device else []
                command += ["--dtype", args.dtype] if args.dtype else []
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
                results[name] = json.loads(Path(out.name).read_text())
        for name, found in results.items():
            iou, same = agreement(found["rles"], results[trackers[0]]["rles"])
            ratio = "-"
            if predictor:
                ratio = f"{results[predictor[0]]['seconds'] / found['seconds']:.2f}"
            print(
                f"| {count} | {name} | {1000 * found['seconds'] / count:.1f} | {ratio} | "
                f"{found['host']:.0f} | {found['gpu']:.0f} | {iou:.5f} | {same:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
