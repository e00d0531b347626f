"""What a point beside a box is worth to the tracker: J&F with the box alone, and with both.

    python benchmarks/prompts.py --videos 40

Made-up videos of the test split, all bodies of each, from the frame in which each is seen best. The
boxes are the true ones, and ones that are off as those of a model are; the point is the one that is
deepest inside the object. Of the embedded tracker; `--tracker` names another one.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.ndimage import distance_transform_edt
from tqdm import tqdm

from fiftyone_revseg.masks.boxes import box_around
from fiftyone_revseg.measures.metrics import j_and_f
from fiftyone_revseg.synthetic import make_world
from fiftyone_revseg.tracking import load_tracker, track_both_ways
from fiftyone_revseg.tracking.prompts import object_prompt

SEED = 9000  # the test split's
OFF = (0.0, 0.15)  # of a side, how far each corner may be from the truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--tracker", default="sam2-nano")
    options = parser.parse_args()
    tracker = load_tracker(options.tracker)
    scores: dict[tuple[float, str], list[float]] = {}
    rng = np.random.default_rng(0)
    for seed in tqdm(range(SEED, SEED + options.videos)):
        frames, masks = make_world(seed, "test").render()
        for truth in masks:
            areas = truth.reshape(len(truth), -1).sum(axis=1)
            key = int(areas.argmax())
            box = box_around(truth[key])
            if box is None:
                continue
            deepest = distance_transform_edt(np.pad(truth[key], 1))[1:-1, 1:-1]
            y, x = np.unravel_index(deepest.argmax(), deepest.shape)
            for off in OFF:
                moved = _moved(rng, np.array(box, float), off)
                for name, prompt in (
                    ("box", moved[None]),
                    ("box+point", object_prompt(moved, [(x + 0.5, y + 0.5)])[None]),
                ):
                    video = _Frames(frames)
                    (track,) = track_both_ways(tracker, video, key, prompt)
                    scores.setdefault((off, name), []).append(100 * j_and_f(track.masks(), truth))
    for off in OFF:
        alone, both = (np.array(scores[off, name]) for name in ("box", "box+point"))
        won = both - alone
        draws = rng.choice(won, (2000, len(won))).mean(axis=1)
        low, high = np.percentile(draws, (2.5, 97.5))
        print(
            f"corners off by up to {off:.0%}: box {alone.mean():.1f}, box+point {both.mean():.1f}, "
            f"difference {won.mean():+.1f} [{low:+.1f}, {high:+.1f}], {len(won)} objects"
        )


class _Frames:
    def __init__(self, frames):
        self._frames = frames
        self.size = (frames[0].shape[1], frames[0].shape[0])

    def __len__(self):
        return len(self._frames)

    def walk(self, start, step=1):
        stop = len(self._frames) if step > 0 else -1
        return ((k, self._frames[k]) for k in range(start, stop, step))


def _moved(rng: np.random.Generator, box: np.ndarray, off: float) -> np.ndarray:
    sides = np.tile(box[2:] - box[:2], 2)
    moved = box + rng.uniform(-off, off, 4) * sides
    moved[2:] = np.maximum(moved[2:], moved[:2] + 1)
    return moved


if __name__ == "__main__":
    main()
