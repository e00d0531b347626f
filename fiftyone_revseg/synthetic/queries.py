"""Questions about a world, each with the objects that answer it and the thought that finds them.

A thought states what has to be known about every body (always in the same order, so that it
can be learned) and then names the ones that fit. It is the chain that the embedded model is
taught to write between its think tags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fiftyone_revseg.synthetic.shapes import COLORS, SHAPES
from fiftyone_revseg.synthetic.world import World, _generator

KINDS = ("attribute", "motion", "order", "comparison", "relation", "several", "no_target")

# A difference that a person sees at a glance, below which a question would be a trick.
_CLEARLY_LATER = 0.12  # of the video's frames
_CLEARLY_LARGER = 1.25  # times the other's radius
_CLEARLY_BESIDE = 0.15  # of the shorter side


@dataclass(frozen=True)
class Query:
    """A question about a world.

    Attributes:
        kind: one of :data:`KINDS`
        text: the question in words
        targets: the indices of the bodies that answer it; () when there is none
        thought: a short correct line of reasoning
    """

    kind: str
    text: str
    targets: tuple[int, ...]
    thought: str


def all_queries(world: World) -> list[Query]:
    """Everything that can be asked about a world with one right answer."""
    asked = (_attributes, _motions, _orders, _comparisons, _relations, _several)
    return [query for ask in asked for query in ask(world)]


def queries_by_kind(world: World) -> dict[str, list[Query]]:
    """Sorts all questions that have a clear answer by their kinds."""
    by_kind: dict[str, list[Query]] = {}
    for query in all_queries(world):
        by_kind.setdefault(query.kind, []).append(query)
    return by_kind


def pick_queries(world: World, count: int) -> list[Query]:
    """Picks queries of different kinds, the same ones for the same world.

    Args:
        world: a :class:`~fiftyone_revseg.synthetic.world.World`
        count: how many

    Returns:
        up to ``count`` queries: one of each available kind before a second one of any
    """
    rng = _generator(world.seed, world.split, "queries")
    by_kind = queries_by_kind(world).values()
    piles = [[pile[i] for i in rng.permutation(len(pile))] for pile in by_kind]
    picked: list[Query] = []
    while len(picked) < count and any(piles):
        order = rng.permutation(len(piles))
        picked += [piles[i].pop() for i in order if piles[i]]
    return picked[:count]


def reading_order(world: World) -> list[int]:
    """Body indices in the order in which thoughts and lists name them: by color, then shape."""
    colors = list(COLORS)
    return sorted(
        range(len(world.bodies)),
        key=lambda i: (colors.index(world.bodies[i].color), SHAPES.index(world.bodies[i].shape)),
    )


def _attributes(world: World) -> Iterator[Query]:
    names = {(b.color, b.shape) for b in world.bodies}
    for i, body in enumerate(world.bodies):
        yield _query(world, "attribute", f"the {body.name}", [i])
        if sum(b.color == body.color for b in world.bodies) == 1:
            yield _query(world, "attribute", f"the {body.color} object", [i])
        if sum(b.shape == body.shape for b in world.bodies) == 1:
            yield _query(world, "attribute", f"the {body.shape}", [i])
        # Absent, but only just: one of its two traits is there.
        for color in COLORS:
            if (color, body.shape) not in names:
                yield _query(world, "no_target", f"the {color} {body.shape}", [])
        for shape in SHAPES:
            if (body.color, shape) not in names:
                yield _query(world, "no_target", f"the {body.color} {shape}", [])


def _motions(world: World) -> Iterator[Query]:
    # A body that stands until it is hit, or from then on, both moves and stands.
    if any(body.hits is not None for body in world.bodies):
        return
    for motion in ("left", "right", "up", "down", "still"):
        found = [i for i, b in enumerate(world.bodies) if b.motion == motion]
        text = f"the object that {'stands' if motion == 'still' else 'moves'} {motion}"
        if len(found) <= 1:
            kind = "motion" if found else "no_target"
            yield _query(world, kind, text, found, _motion_fact)


def _orders(world: World) -> Iterator[Query]:
    if len(world.bodies) < 2:
        return
    gap = _CLEARLY_LATER * world.frame_count
    firsts = [b.first for b in world.bodies]
    last_to_come = int(np.argmax(firsts))
    if firsts[last_to_come] - sorted(firsts)[-2] >= gap:
        yield _query(
            world, "order", "the object that appears last", [last_to_come], _life_fact, True
        )
    lasts = [b.last for b in world.bodies]
    first_to_go = int(np.argmin(lasts))
    if sorted(lasts)[1] - lasts[first_to_go] >= gap:
        text = "the object that disappears first"
        yield _query(world, "order", text, [first_to_go], _life_fact, True)


def _comparisons(world: World) -> Iterator[Query]:
    for growth in ("grows", "shrinks"):
        found = [i for i, b in enumerate(world.bodies) if b.growth == growth]
        if len(found) <= 1:
            kind = "comparison" if found else "no_target"
            yield _query(world, kind, f"the object that {growth}", found, _growth_fact)
    steady = all(b.growth == "keeps" for b in world.bodies)
    if len(world.bodies) >= 2 and steady:
        radii = [b.radius for b in world.bodies]
        order = np.argsort(radii)
        if radii[order[-1]] >= _CLEARLY_LARGER * radii[order[-2]]:
            yield _query(
                world, "comparison", "the largest object", [int(order[-1])], _size_fact, True
            )
        if radii[order[1]] >= _CLEARLY_LARGER * radii[order[0]]:
            yield _query(
                world, "comparison", "the smallest object", [int(order[0])], _size_fact, True
            )


def _relations(world: World) -> Iterator[Query]:
    for body in world.bodies:
        if body.hits is not None:
            text = f"the object that the {body.name} bumps into"
            yield _query(world, "relation", text, [body.hits], _motion_fact)
    if len(world.bodies) < 2:
        return
    sides: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "to the left of": lambda a, b: b[:, 0] - a[:, 0],
        "to the right of": lambda a, b: a[:, 0] - b[:, 0],
        "above": lambda a, b: b[:, 1] - a[:, 1],
        "below": lambda a, b: a[:, 1] - b[:, 1],
    }
    if any(b.first > 0 or b.last < world.frame_count - 1 for b in world.bodies):
        return
    for i, anchor in enumerate(world.bodies):
        for words, distance in sides.items():
            gaps = {j: distance(b.path, anchor.path) for j, b in enumerate(world.bodies) if j != i}
            always = [j for j, gap in gaps.items() if gap.min() >= _CLEARLY_BESIDE]
            never = [j for j, gap in gaps.items() if gap.max() <= 0]
            if len(always) == 1 and len(always) + len(never) == len(gaps):
                text = f"the object {words} the {anchor.name}"
                yield _query(world, "relation", text, always, _place_fact, True)


def _several(world: World) -> Iterator[Query]:
    for trait in ("color", "shape"):
        for value in {getattr(b, trait): None for b in world.bodies}:
            found = [i for i, b in enumerate(world.bodies) if getattr(b, trait) == value]
            if len(found) >= 2:
                text = f"all {value} objects" if trait == "color" else f"all {_plural(value)}"
                yield _query(world, "several", text, found)
    if any(body.hits is not None for body in world.bodies):
        return
    moving = [i for i, b in enumerate(world.bodies) if b.motion != "still"]
    if len(moving) >= 2:
        yield _query(world, "several", "all moving objects", moving, _motion_fact)


def _both_moves_and_stands(world: World, i: int) -> bool:
    return world.bodies[i].hits is not None or any(b.hits == i for b in world.bodies)


def _plural(shape: str) -> str:
    return shape + ("es" if shape.endswith("s") else "s")


# What a thought says of one body, by what the question is about.
def _motion_fact(world: World, i: int) -> str:
    body = world.bodies[i]
    words = "stands still" if body.motion == "still" else f"moves {body.motion}"
    if _both_moves_and_stands(world, i):
        order = ["stands still", f"moves {body.motion}"]
        words = ", then ".join(reversed(order) if body.hits is not None else order)
    return words


def _life_fact(world: World, i: int) -> str:
    body, n = world.bodies[i], world.frame_count
    if body.first == 0 and body.last == n - 1:
        return "is always there"
    # In tenths of the video: the same words whatever the number of sampled frames.
    if body.first > 0 and body.last < n - 1:
        return f"comes at {_tenths(body.first, n)} and goes at {_tenths(body.last, n)}"
    if body.first > 0:
        return f"comes at {_tenths(body.first, n)}"
    return f"goes at {_tenths(body.last, n)}"


def _tenths(frame: int, frame_count: int) -> int:
    return round(10 * frame / (frame_count - 1)) * 10


def _growth_fact(world: World, i: int) -> str:
    growth = world.bodies[i].growth
    return "keeps its size" if growth == "keeps" else growth


def _size_fact(world: World, i: int) -> str:
    # The diameter in percent of the shorter side, in steps that can be told apart.
    return f"is {round(world.bodies[i].radius * 100) * 2} wide"


def _place_fact(world: World, i: int) -> str:
    # The mean place in percent of width and height, in steps of ten.
    body, side = world.bodies[i], min(world.width, world.height)
    x, y = body.path.mean(axis=0) * side
    return f"is at {round(10 * x / world.width) * 10} {round(10 * y / world.height) * 10}"


def _query(
    world: World,
    kind: str,
    text: str,
    targets: list[int],
    fact: Callable[[World, int], str] | None = None,
    superlative: bool = False,
) -> Query:
    """Makes a query. Unless bodies must be compared, each one is judged as soon as it is named."""
    said = []
    for i in reading_order(world):
        verdict = "fits" if i in targets and not superlative else ""
        told = [fact(world, i)] if fact else [] if verdict else ["is there"]
        said.append(f"The {world.bodies[i].name} {', '.join([*told, *filter(None, [verdict])])}.")
    named = [f"the {world.bodies[i].name}" for i in reading_order(world) if i in targets]
    answer = " and ".join(named) if named else "nothing"
    return Query(
        kind=kind,
        text=text,
        targets=tuple(i for i in reading_order(world) if i in targets),
        thought=" ".join([*said, f"So {answer} fits." if len(named) < 2 else f"So {answer} fit."]),
    )
