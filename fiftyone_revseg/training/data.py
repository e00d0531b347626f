"""Rows to learn from: a query, the frames that the model is shown, and the true boxes in them.

Rows come from the synthetic world, drawn in memory, or from videos with labelled objects, see
:mod:`fiftyone_revseg.dataset.training_rows`. A row is small until it is loaded, and loading it
gives the same every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from fiftyone_revseg.masks.boxes import box_around
from fiftyone_revseg.synthetic.queries import KINDS, queries_by_kind
from fiftyone_revseg.synthetic.world import make_world
from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video import open_video
from fiftyone_revseg.video.sampling import uniform_indices


@dataclass(frozen=True, eq=False)
class Scene:
    """A loaded row: what the model sees, and what is true about it.

    Attributes:
        frame_table: which source frames were sampled
        frames: the sampled frames, ``(H, W, 3)`` uint8 RGB arrays of source size
        boxes: ``(objects, T, 4)`` float, the true ``(x1, y1, x2, y2)`` box of each object that
            answers the query in each sampled frame, in source pixels; NaN where it is absent.
            Objects that are in none of the sampled frames are left out
        source_size: the ``(width, height)`` of the source frames in pixels
        unseen: whether objects answer the query but none is in a sampled frame: nothing can be
            learned from that
        masks: ``(objects, T, H, W)`` bool, the true masks of these objects; None if only their
            boxes are known
    """

    frame_table: FrameTable
    frames: tuple[np.ndarray, ...]
    boxes: np.ndarray
    source_size: tuple[int, int]
    unseen: bool = False
    masks: np.ndarray | None = None

    @property
    def areas(self) -> np.ndarray:
        """``(objects, T)`` areas of the true boxes in square pixels, 0 where absent."""
        sides = np.nan_to_num(self.boxes[..., 2:] - self.boxes[..., :2])
        return sides[..., 0] * sides[..., 1]

    def boxes_at(self, k: int) -> list[tuple[float, float, float, float]]:
        """The true boxes of the objects that are in sampled frame ``k``."""
        there = self.boxes[:, k]
        return [tuple(box) for box in there[~np.isnan(there[:, 0])].tolist()]


class Row(Protocol):
    """A (video, query) pair.

    Attributes:
        id: names it in logs
        query: what to look for
        kind: the kind of the query; "" if it has none
    """

    @property
    def id(self) -> str: ...
    @property
    def query(self) -> str: ...
    @property
    def kind(self) -> str: ...

    def load(self, frames: int) -> Scene:
        """Loads the row with that many sampled frames; an exception says why that failed."""
        ...


@dataclass(frozen=True)
class WorldRow:
    """A question about a synthetic world, which is drawn when it is needed.

    Attributes:
        seed: of the world
        split: "train", "val" or "test"
        query: the question
        kind: one of :data:`fiftyone_revseg.synthetic.KINDS`
        targets: the indices of the bodies that answer it
    """

    seed: int
    split: str
    query: str
    kind: str
    targets: tuple[int, ...]

    has_masks: ClassVar[bool] = True

    @property
    def id(self) -> str:
        """The name that the world's video would have."""
        return f"{self.split}_{self.seed:06d}"

    def load(self, frames: int) -> Scene:
        """Draws the sampled frames."""
        world = make_world(self.seed, self.split)
        indices = uniform_indices(world.frame_count, frames)
        drawn = [world.draw(k) for k in indices]
        shape = (len(self.targets), len(indices))
        boxes = np.full((*shape, 4), np.nan)
        masks = np.zeros((*shape, world.height, world.width), bool)
        for t, (_, visible) in enumerate(drawn):
            for i, body in enumerate(self.targets):
                masks[i, t] = visible[body]
                boxes[i, t] = box_around(visible[body]) or np.nan
        table = FrameTable(
            indices,
            tuple(k / world.fps for k in indices),
            world.frame_count,
            world.frame_count / world.fps,
        )
        pictures = [frame for frame, _ in drawn]
        return _scene(table, pictures, boxes, (world.width, world.height), masks)


@dataclass(frozen=True, eq=False)
class VideoRow:
    """A question about a video on disk with true boxes on its frames.

    Attributes:
        id: names it in logs
        query: the question
        kind: the kind of the query; "" if it has none
        source: what :func:`fiftyone_revseg.video.open_video` takes
        frame_range: the 0-based, half-open range of the frames of a clip; None for all of them
        boxes: ``(objects, frames, 4)`` float32 true ``(x1, y1, x2, y2)`` boxes, relative to the
            frame's width and height; NaN where absent
    """

    id: str
    query: str
    kind: str
    source: Any
    frame_range: tuple[int, int] | None
    boxes: np.ndarray = field(repr=False)

    def load(self, frames: int) -> Scene:
        """Decodes the sampled frames.

        Raises:
            VideoError: if the video cannot be read
        """
        with open_video(self.source, self.frame_range) as video:
            table = video.sample(frames)
            pictures = video.frames(table.indices)
            width, height = video.size
        boxes = np.full((len(self.boxes), len(table), 4), np.nan)
        known = [t for t, k in enumerate(table.indices) if k < self.boxes.shape[1]]
        boxes[:, known] = self.boxes[:, [table.indices[t] for t in known]]
        return _scene(table, pictures, boxes * [width, height, width, height], (width, height))


def world_rows(
    count: int, split: str = "train", seed: int = 0, kinds: Sequence[str] | None = None
) -> list[WorldRow]:
    """Makes rows from the synthetic world, one for each of ``count`` worlds.

    Args:
        count: how many
        split ("train"): "train", "val" or "test": disjoint worlds
        seed (0): the first world's seed; the others follow
        kinds (None): the kinds of queries, see :data:`fiftyone_revseg.synthetic.KINDS`; by default
            all, each as likely as any other. A world that has none of them is left out

    Returns:
        a list of rows

    Raises:
        ValueError: if there is no such split or kind
    """
    unknown = sorted(set(kinds or ()) - set(KINDS))
    if unknown:
        raise ValueError(f"there are no queries of kind {unknown}: choose of {', '.join(KINDS)}")
    rows: list[WorldRow] = []
    number = seed
    while len(rows) < count:
        asked = queries_by_kind(make_world(number, split))
        there = sorted(kind for kind in asked if kinds is None or kind in kinds)
        if there:
            rng = np.random.default_rng([number, 7])
            pile = asked[there[rng.integers(len(there))]]
            query = pile[rng.integers(len(pile))]
            rows.append(WorldRow(number, split, query.text, query.kind, query.targets))
        number += 1
    return rows


def _scene(
    table: FrameTable,
    frames: Sequence[np.ndarray],
    boxes: np.ndarray,
    size: tuple[int, int],
    masks: np.ndarray | None = None,
) -> Scene:
    seen = ~np.isnan(boxes[..., 0]).all(axis=1)
    unseen = bool(len(boxes)) and not seen.any()
    return Scene(
        table, tuple(frames), boxes[seen], size, unseen, None if masks is None else masks[seen]
    )
