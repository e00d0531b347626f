"""The peak memory of segmenting one video and writing its labels: it must not grow with its length.

From the file to the database: ``segment_view`` on a video with one object, whose mask is another
one on every frame. The tracker is made up, as its own memory does not depend on the video either
(see ``engine_memory.py``), so that 50,000 frames take a minute. Each case runs in a process of its
own.

    python benchmarks/labels_memory.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from engine_memory import Scripted
from peak_memory import peak

CASES = (2_000, 50_000)
WIDTH, HEIGHT = 64, 48


class BlobTracker:
    """A disk that goes to and fro, with a ragged edge."""

    name = "blob"

    def track(self, frames, boxes):
        from fiftyone_revseg.tracking import FrameMasks, encode_masks

        y, x = np.mgrid[:HEIGHT, :WIDTH]
        for k, _ in frames:
            masks = []
            for n in range(len(boxes)):
                rng = np.random.default_rng([k, n])
                radius = 12 + rng.normal(0, 1, (HEIGHT, WIDTH))
                masks.append((x - 20 - k % 24) ** 2 + (y - 24) ** 2 < radius**2)
            yield FrameMasks(
                frame=k, rles=encode_masks(np.stack(masks)), scores=np.full(len(boxes), 0.5)
            )


def run(frames):
    """Segments a video and prints the peak of this process."""
    import fiftyone as fo

    import fiftyone_revseg as revseg
    from fiftyone_revseg.pipeline import RevSeg
    from fiftyone_revseg.reasoning import ChainSpec
    from fiftyone_revseg.synthetic import write_video

    class Shades:
        def __len__(self):
            return frames

        def __getitem__(self, k):
            if k >= frames:
                raise IndexError
            return np.full((HEIGHT, WIDTH, 3), k % 200, np.uint8)

    spec = ChainSpec(frames=4, frame_size=56, key_frame_size=112)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "video.mp4")
        write_video(path, Shades(), 25)
        dataset = fo.Dataset()
        dataset.add_sample(fo.Sample(path))
        before = peak()
        revseg.segment_view(
            dataset, RevSeg(Scripted(), BlobTracker(), spec), "the disk", progress=False
        )
        after = peak()
        written = dataset._frame_collection.count_documents({"revseg.detections.index": 1})
        dataset.delete()
    print(json.dumps({"frames": frames, "written": written, "before": before, "MiB": after}))


def memory(cases=CASES):
    """Prints the MiB of each case, and their ratio."""
    peaks = []
    for frames in cases:
        command = [sys.executable, __file__, str(frames)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        said = json.loads(output.splitlines()[-1])
        if said["written"] != frames:
            raise RuntimeError(f"{frames} frames went wrong: {said}")
        peaks.append(said["MiB"])
        print(f"  {frames:6} frames: {said['MiB']:7.0f} MiB ({said['before']:.0f} before)")
    print(f"  {peaks[-1] / peaks[0]:.3f} times")
    return peaks


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(int(sys.argv[1]))
    else:
        memory()
