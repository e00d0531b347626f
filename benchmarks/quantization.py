"""Memory, time and answers of a language model in 8 and in 4 bits, beside bfloat16.

    python benchmarks/quantization.py            # both of the following
    python benchmarks/quantization.py --videos 0 # memory and time alone

* Qwen3-VL 8B in its published width with fewer layers and random weights: the bytes of its weights,
  the seconds of one reply, and how near the logits are.
* The embedded model on worlds of the test split: how many key frames and boxes are the same, and
  the mean IoU of the boxes. It is narrow, which suits few bits less than wide layers do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace

import numpy as np
import torch
from random_weights import save_random_checkpoint

from fiftyone_revseg.masks.boxes import box_iou
from fiftyone_revseg.models.builtin import CHECKPOINTS
from fiftyone_revseg.models.devices import choose_device, empty_caches
from fiftyone_revseg.nano.vlm import FRAMES
from fiftyone_revseg.reasoning import (
    ChainRequest,
    Conversation,
    Image,
    LocalReasoner,
    Trajectory,
    run_chain,
)
from fiftyone_revseg.synthetic import make_world, pick_queries
from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video.sampling import uniform_indices

PRECISIONS = (None, "8bit", "4bit")
SEED = 9000  # the test split's


def memory_and_time(layers: int, device: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (448, 448, 3), dtype=np.uint8)
    asked = [Conversation().say("user", Image(pixels), "Which is it?")]
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = save_random_checkpoint(
            directory, "qwen3-vl-8b", layers, layers, dtype="bfloat16"
        )
        print(f"Qwen3-VL 8B, {layers} layers of the language model and of the tower, on {device}")
        whole = 0
        for bits in PRECISIONS:
            reasoner = LocalReasoner.load(checkpoint, device, "bfloat16", quantization=bits)
            size = sum(p.nbytes for p in reasoner.model.parameters())
            whole = whole or size
            spec = replace(reasoner.spec, max_new_tokens=8, thinking_tokens=0)
            started = time.perf_counter()
            reasoner.generate(asked, spec)
            print(
                f"  {bits or 'bfloat16':9} {size / 1e9:6.3f} GB  {size / whole:5.3f} x  "
                f"one reply of 8 tokens {time.perf_counter() - started:6.1f} s"
            )
            del reasoner
            empty_caches()


def answers(videos: int, device: str) -> None:
    print(f"The embedded model, {videos} videos of the test split, greedy")
    requests = [_request(seed) for seed in range(SEED, SEED + videos)]
    first: list[Trajectory] = []
    for bits in PRECISIONS:
        reasoner = LocalReasoner.load(
            CHECKPOINTS / "revseg-nano", device, "bfloat16", quantization=bits
        )
        started = time.perf_counter()
        found = run_chain(reasoner, reasoner.spec, requests)
        seconds = time.perf_counter() - started
        first = first or found
        pairs = list(zip(found, first, strict=True))
        alike = [(a, b) for a, b in pairs if a.key_frames == b.key_frames]
        overlaps = [
            box_iou(one.box_xyxy_px, other.box_xyxy_px)
            for a, b in alike
            for one, other in zip(a.groundings, b.groundings, strict=True)
            if one is not None and other is not None
        ]
        print(
            f"  {bits or 'bfloat16':9} same status {sum(a.status == b.status for a, b in pairs)}, "
            f"same key frames {len(alike)}, mean IoU of their boxes {np.mean(overlaps):.3f} "
            f"({len(overlaps)}), {seconds:.1f} s"
        )


def _request(seed: int) -> ChainRequest:
    world = make_world(seed, "test")
    frames = world.render()[0]
    indices = uniform_indices(len(frames), FRAMES)
    times = tuple(k / world.fps for k in indices)
    table = FrameTable(indices, times, len(frames), len(frames) / world.fps)
    images = [frames[i] for i in table.indices]
    height, width = frames[0].shape[:2]
    (query,) = pick_queries(world, 1)
    return ChainRequest(query.text, table, images, frames.__getitem__, (width, height))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--device", default=str(choose_device()))
    options = parser.parse_args()
    torch.manual_seed(0)
    memory_and_time(options.layers, options.device)
    if options.videos:
        answers(options.videos, options.device)


if __name__ == "__main__":
    main()
