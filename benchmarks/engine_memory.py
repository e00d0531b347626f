"""The peak memory of the engine, with few and many videos, short and long ones: it must be flat.

Each case runs in a process of its own. The models are small ones with random weights, as their own
memory does not depend on the videos: so thousands of frames take minutes.

    python benchmarks/engine_memory.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from peak_memory import peak

CASES = ((10, 24), (100, 24), (1000, 24), (1, 200), (1, 1000), (1, 10_000))
ANSWER = '<think>t</think><answer>[{"frame_idx": 1, "object description": "a"}]</answer>'


class Scripted:
    """Always answers the same."""

    name = "scripted"

    def generate(self, conversations, spec):
        from fiftyone_revseg.reasoning import Reply

        return [
            Reply(ANSWER if len(c.messages) == 1 else '[{"bbox_2d": [20, 20, 60, 60]}]')
            for c in conversations
        ]


def small_tracker():
    """SAM2 at 64 pixels with random weights."""
    import torch

    from fiftyone_revseg.tracking import Sam2Tracker
    from fiftyone_revseg.tracking.checkpoints import EMBEDDED, build_model, read_config

    torch.manual_seed(0)
    config = read_config(EMBEDDED / "sam2-nano" / "config.yaml") | {"image_size": 64}
    config["image_encoder"]["trunk"] |= {"window_spec": [8, 4, 4, 2]}
    for part in ("self_attention", "cross_attention"):
        config["memory_attention"]["layer"][part]["feat_sizes"] = [4, 4]
    return Sam2Tracker(build_model(config), "small", "cpu")


class Shades:
    """Grey frames that are made when they are written."""

    def __init__(self, count):
        self.count = count

    def __getitem__(self, k):
        return np.full((240, 320, 3), k % 200, np.uint8)

    def __len__(self):
        return self.count

    def __iter__(self):
        return (self[k] for k in range(self.count))


def run(videos, frames):
    """Runs the engine over the same video so many times; prints the peak of this process."""
    import torch

    from fiftyone_revseg.engine import EngineJob, LocalEngine
    from fiftyone_revseg.pipeline import RevSeg
    from fiftyone_revseg.reasoning import ChainSpec
    from fiftyone_revseg.synthetic import write_video

    torch.set_num_threads(1)
    spec = ChainSpec(frames=4, frame_size=56, key_frame_size=112)
    engine = LocalEngine(RevSeg(Scripted(), small_tracker(), spec), trackers=2)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "video.mp4")
        write_video(path, Shades(frames), 25)
        jobs = (EngineJob(path, ("the star",), key=i) for i in range(videos))
        statuses = [str(a.status) for _, answers in engine.run(jobs) for a in answers]
    print(json.dumps({"done": len(statuses), "statuses": sorted(set(statuses)), "MiB": peak()}))


def memory(cases=CASES):
    """Returns (videos, frames, MiB) of each case."""
    results = []
    for videos, frames in cases:
        command = [sys.executable, __file__, str(videos), str(frames)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        said = json.loads(output.splitlines()[-1])
        if said["done"] != videos or not {"ok", "lost"} >= set(said["statuses"]):
            raise RuntimeError(f"{videos} videos of {frames} frames went wrong: {said}")
        results.append((videos, frames, said["MiB"]))
        print(f"  {videos:5} videos of {frames:6} frames: {said['MiB']:7.0f} MiB", flush=True)
    return results


if __name__ == "__main__":
    if len(sys.argv) > 2:
        run(int(sys.argv[1]), int(sys.argv[2]))
    else:
        memory()
