"""Compares the answers of a model on a server with those of the same model in this process.

    python scripts/compare_server.py --server http://localhost:8000/v1

Both run the two-turn chain on the same videos and queries of the synthetic world, this process in
float32 on the CPU. Prints how many statuses, key frames and boxes are equal and which are not, and
how many pairs a second either does. The exit code is 1 if fewer are equal than asked for.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from fiftyone_revseg.models.builtin import PRESETS
from fiftyone_revseg.reasoning import (
    ChainRequest,
    LocalReasoner,
    Reasoner,
    ServerReasoner,
    Trajectory,
    run_chain,
)
from fiftyone_revseg.synthetic import make_world
from fiftyone_revseg.synthetic.queries import pick_queries
from fiftyone_revseg.types import FrameTable

PER_VIDEO = 2
FRAMES = 8  # that the embedded model is shown


def requests(pairs: int) -> Iterator[ChainRequest]:
    """Makes (video, query) pairs that no training has seen."""
    for seed in range(-(-pairs // PER_VIDEO)):
        world = make_world(seed, "test")
        frames, _ = world.render()
        last = len(frames) - 1
        indices = tuple(round(i * last / (FRAMES - 1)) for i in range(FRAMES))
        times = tuple(i / world.fps for i in indices)
        table = FrameTable(indices, times, len(frames), last / world.fps)
        images, size = [frames[i] for i in indices], frames[0].shape[1::-1]
        for query in pick_queries(world, min(PER_VIDEO, pairs)):
            yield ChainRequest(query.text, table, images, frames.__getitem__, size)
        pairs -= PER_VIDEO


def timed(
    reasoner: Reasoner, asked: Sequence[ChainRequest], batch: int | None
) -> tuple[list[Trajectory], float]:
    """Runs the chain; returns what was found, and the pairs a second."""
    started = time.perf_counter()
    found = run_chain(reasoner, reasoner.spec, asked, batch)
    return found, len(asked) / (time.perf_counter() - started)


def boxes(found: Trajectory) -> list[tuple[float, ...] | None]:
    return [grounding and grounding.box_xyxy_px for grounding in found.groundings]


def first_difference(here: Trajectory, there: Trajectory) -> str:
    """Says where two dialogues begin to differ."""
    if here.status != there.status:
        said = f"{here.status} and {there.status} ({there.reason}); "
    else:
        said = f"boxes {boxes(here)} and {boxes(there)}; "
    for one, other in zip(here.turns, there.turns, strict=False):
        if one.reply != other.reply:
            pairs = enumerate(zip(f"{one.reply}\0", f"{other.reply}\0", strict=False))
            at = next(i for i, (a, b) in pairs if a != b)
            start = max(at - 20, 0)
            return (
                f"{said}turn {one.turn}: {one.reply[start : at + 20]!r} and "
                f"{other.reply[start : at + 20]!r}"
            )
    return f"{said}the replies are the same"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", required=True, help="the server's address")
    parser.add_argument("--model", help="its name there (the only one)")
    parser.add_argument("--pairs", type=int, default=40, help="how many pairs (40)")
    parser.add_argument("--concurrency", type=int, help="requests at a time")
    parser.add_argument("--image-format", default="png", choices=["png", "jpeg"])
    parser.add_argument("--least", type=int, help="boxes that have to be equal (all)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")

    checkpoint = PRESETS["revseg-nano"].reasoner
    local = LocalReasoner.load(checkpoint, device="cpu", dtype="float32")
    served = ServerReasoner.connect(
        args.server,
        args.model or checkpoint,
        local.spec,
        concurrency=args.concurrency,
        image_format=args.image_format,
    )
    asked = list(requests(args.pairs))
    timed(served, asked[:2], None)  # what is compiled or loaded with the first request
    timed(local, asked[:2], None)
    here, local_pace = timed(local, asked, 16)
    there, served_pace = timed(served, asked, None)
    served.close()

    pairs = list(zip(here, there, strict=True))
    statuses = sum(a.status == b.status for a, b in pairs)
    frames = sum(a.key_frames == b.key_frames for a, b in pairs)
    equal = sum(a.status == b.status and boxes(a) == boxes(b) for a, b in pairs)
    grounded = [g for found in there for g in found.groundings if g is not None]
    sure = sum(grounding.confidence is not None for grounding in grounded)
    counts = Counter(str(found.status) for found in there)
    for a, b in pairs:
        if a.status != b.status or boxes(a) != boxes(b):
            print(f"differs: {a.query!r}: {first_difference(a, b)}")
    print(f"statuses equal: {statuses} of {len(pairs)}, key frames: {frames}, boxes: {equal}")
    print(f"statuses: {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}")
    print(f"boxes with a confidence: {sure} of {len(grounded)}")
    print(f"pairs a second: {served_pace:.2f} on the server, {local_pace:.2f} here")
    least = args.pairs if args.least is None else args.least
    if statuses < len(pairs) or equal < least:
        raise SystemExit(f"fewer are equal than {least}")


if __name__ == "__main__":
    main()
