"""What repair is worth: J&F after a break, with and without, of worlds in which trackers break.

    python benchmarks/repair.py --worlds 12
    python benchmarks/repair.py --worlds 12 --tracker transformers:sam2-nano
    python benchmarks/repair.py --worlds 12 --boxes revseg-nano

Worlds of the test split: a full occlusion of one to two seconds, the same with a look-alike in
sight, a scene cut, and controls without a break. The object is tracked from its true box in a
frame before the break. By default the boxes of repairs are the truth, too ("oracle boxes"), which
shows what the tracker makes of them; `--boxes` names a model that is asked instead, as the chain
asks it. Everything else is the chain's own: where tracks break, what is asked, what is replaced.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from fiftyone_revseg.masks.boxes import box_around
from fiftyone_revseg.measures import contour_accuracy, region_similarity
from fiftyone_revseg.pipeline.found_objects import FoundObject
from fiftyone_revseg.pipeline.repairing import repairing
from fiftyone_revseg.pipeline.steps import Ask
from fiftyone_revseg.reasoning import ChainRequest, ChainSpec
from fiftyone_revseg.reasoning.backend import Conversation
from fiftyone_revseg.reasoning.chain import Pair
from fiftyone_revseg.reasoning.rolling import run_talks
from fiftyone_revseg.reasoning.seeking import Seeking, Sighting, Sightings
from fiftyone_revseg.reasoning.trajectory import Grounding, KeyframeChoice
from fiftyone_revseg.synthetic import BREAKS, BrokenWorld, make_broken_world
from fiftyone_revseg.tracking import load_tracker
from fiftyone_revseg.tracking.both_ways import FoundMasks, walk_both_ways
from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video.cuts import CutFinder, WatchedVideo
from fiftyone_revseg.video.sampling import uniform_indices

SEED = 30_000  # the test split's
SEEN = 60  # pixels


@dataclass
class Row:
    """What came of one world, in [0, 100]."""

    kind: str
    before: float
    after: float
    repaired: float
    repairs: int
    asked: int
    seconds: float  # of tracking once
    more_seconds: float  # of repair, the model's work included


class Rendered:
    def __init__(self, world: BrokenWorld) -> None:
        self.frames, masks = world.render()
        self.truth = masks[world.target]
        self.size = (world.width, world.height)

    def __len__(self) -> int:
        return len(self.frames)

    def walk(self, start, step=1):
        stop = len(self.frames) if step > 0 else -1
        return ((k, self.frames[k]) for k in range(start, stop, step))


@dataclass
class Oracle:
    """Answers with the truth."""

    video: Rendered
    asked: int = 0
    history: Conversation = field(default_factory=Conversation)

    def __call__(self, talk: Seeking) -> Sightings:
        found: list[Sighting | None] = []
        for one in talk.sought:
            seen = None
            for k in one.frames:
                self.asked += 1
                if self.video.truth[k].sum() >= SEEN:
                    x1, y1, x2, y2 = map(float, box_around(self.video.truth[k]))
                    seen = Sighting(k, Grounding((x1, y1, x2, y2), 1.0))
                    break
            found.append(seen)
        return Sightings(tuple(found))


@dataclass
class Model:
    """Asks a model, after a turn 1 that is right."""

    reasoner: Any
    spec: ChainSpec
    request: ChainRequest
    choice: KeyframeChoice
    asked: int = 0

    @property
    def history(self) -> Conversation:
        item = {"frame_idx": self.choice.frame, "object description": self.choice.description}
        reply = f"<think>It fits.</think> <answer>{json.dumps([item])}</answer>"
        return Pair(self.request, self.spec).turn1().conversation.say("assistant", reply)

    def __call__(self, talk: Seeking) -> Sightings:
        (sightings,) = run_talks(self.reasoner, self.spec, [talk])
        self.asked += len(sightings.turns)
        return sightings


def measure(
    seed: int, kind: str, tracker: Any, anchors: int, loaded: tuple[Any, ChainSpec] | None
) -> Row:
    world = make_broken_world(seed, kind)
    video = Rendered(world)
    areas = video.truth.sum(axis=(1, 2))
    key = int(areas[: world.first - 6].argmax())
    box = box_around(video.truth[key])
    finder = CutFinder()
    watched = WatchedVideo(video, finder)

    def track(one: FoundObject) -> None:
        masks = FoundMasks(watched, 1)
        prompts = np.array([one.prompt], float)
        for found in walk_both_ways(
            tracker, watched, one.key_frame, prompts, one.known, one.within
        ):
            masks.add(found)
        (one.track,) = masks.tracks()

    spec = (loaded[1] if loaded else ChainSpec()).replace(anchors=anchors)
    table = table_of(world, spec.frames)
    request = ChainRequest(
        world.query,
        table,
        [video.frames[k] for k in table.indices],
        video.frames.__getitem__,
        video.size,
    )
    nearest = min(range(len(table)), key=lambda i: abs(table.indices[i] - key))
    choice = KeyframeChoice(nearest, f"the {world.bodies[world.target].name}")
    found = FoundObject(choice, Grounding(tuple(map(float, box)), 1.0), key)
    started = time.perf_counter()
    track(found)
    seconds = time.perf_counter() - started
    assert found.track is not None
    before = found.track
    teller: Any = Oracle(video)
    if loaded:
        teller = Model(loaded[0], spec, request, choice)
    steps = repairing(request, spec, [found], {0: teller.history}, lambda: finder.cuts)
    result: Any = None
    started = time.perf_counter()
    while True:
        try:
            want = steps.send(result)
        except StopIteration as end:
            repaired = end.value
            break
        result = None
        if isinstance(want, Ask):
            result = teller(want.talk)
        else:
            for one in want.objects:
                track(one)
    more = time.perf_counter() - started
    judged = slice(0 if kind == "none" else world.after, None)

    def score(masks: np.ndarray) -> float:
        j, f = region_similarity(masks, video.truth), contour_accuracy(masks, video.truth)
        return 50 * float(j[judged].mean() + f[judged].mean())

    j = region_similarity(before.masks(), video.truth)
    return Row(
        kind,
        100 * float(j[: world.first].mean()),
        score(before.masks()),
        score(repaired.tracks[0].masks()),
        len(repaired.repairs),
        teller.asked,
        seconds,
        more,
    )


def table_of(world: BrokenWorld, count: int) -> FrameTable:
    indices = tuple(uniform_indices(world.frame_count, count))
    fps = world.shots[0].fps
    return FrameTable(
        indices, tuple(k / fps for k in indices), world.frame_count, world.frame_count / fps
    )


def interval(values: np.ndarray, of: Callable[..., Any] = np.mean) -> str:
    rng = np.random.default_rng(0)
    draws = of(rng.choice(values, (2000, len(values))), axis=1)
    low, high = np.percentile(draws, (2.5, 97.5))
    return f"{of(values):.1f} [{low:.1f}, {high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=12, help="of each kind")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--tracker", default="sam2-nano")
    parser.add_argument("--anchors", type=int, default=2)
    parser.add_argument("--boxes", help="a model to ask; by default, the truth")
    options = parser.parse_args()
    tracker = load_tracker(options.tracker)
    loaded = None
    if options.boxes:
        from fiftyone_revseg.pipeline.loading import load_pipeline

        pipeline = load_pipeline(options.boxes, tracker=tracker)
        loaded = pipeline.reasoner, pipeline.spec
    rows = [
        measure(seed, kind, tracker, options.anchors, loaded)
        for seed in tqdm(range(options.seed, options.seed + options.worlds))
        for kind in BREAKS
    ]
    boxes = f"boxes of {options.boxes}" if options.boxes else "oracle boxes"
    print(f"{options.tracker}, {boxes}, {options.anchors} anchors, seeds from {options.seed}\n")
    print("| worlds | n | J before | J&F after | with repair | won | repairs | replies | time |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind in BREAKS:
        of = [row for row in rows if row.kind == kind]
        get = {name: np.array([getattr(row, name) for row in of]) for name in Row.__annotations__}
        print(
            f"| {kind} | {len(of)} | {get['before'].mean():.1f} | {interval(get['after'])} "
            f"| {interval(get['repaired'])} | {interval(get['repaired'] - get['after'])} "
            f"| {get['repairs'].mean():.1f} | {get['asked'].mean():.1f} "
            f"| +{100 * get['more_seconds'].sum() / get['seconds'].sum():.0f} % |"
        )


if __name__ == "__main__":
    main()
