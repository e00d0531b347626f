"""Worlds as training dialogues, in the very prompts that inference uses.

The dialogues about one video share everything up to the question: the frames, which are most of
the tokens and nearly all of the vision tower's work. So they are trained as one tree: a shared
prefix, and a branch for each question that sees the prefix and itself but not its siblings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from fiftyone_revseg.masks.boxes import box_around
from fiftyone_revseg.reasoning.prompts import fill, split_at
from fiftyone_revseg.reasoning.resize import resize_square
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.synthetic.queries import Query, queries_by_kind, reading_order
from fiftyone_revseg.synthetic.shapes import COLORS, SHAPES
from fiftyone_revseg.synthetic.world import World

GRID = 10  # boxes are answered in steps of 10 of the 0..1000 scale: finer than the pixels
_GROUNDED = 2  # of the questions about a video, with turn 2
IGNORED = -100  # no loss on this token

# Ways in which people open a request; the query's own words follow.
OPENINGS = ("", "", "", "find ", "segment ", "show me ", "where is ", "track ")

# In a reply, what can be concluded without looking, and the one number that cannot.
_FOLLOWS = re.compile(r"(,? fits| is there)?\.( |(?=<))")
_FRAME = re.compile(r'"frame_idx": (\d+)')

_COLOR_INDEX = {c: i for i, c in enumerate(COLORS)}
_SHAPE_INDEX = {s: i for i, s in enumerate(SHAPES)}


@dataclass(frozen=True)
class DenseTargets:
    """What is true at each visual token of one square image, as flat arrays over the tokens.

    Attributes:
        presence: 1 for a body, 0 for background, -100 where a token holds a bit of both
        color: index into the colors, -100 without a body
        shape: index into the shapes, -100 without a body
        box: ``(tokens, 4)`` the body's visible box in steps of the grid, -100 without a body
        reach: ``(tokens, 4)`` float32, how far that box reaches from the token's centre to the
            left, up, right and down, in tenths of the frame
    """

    presence: np.ndarray
    color: np.ndarray
    shape: np.ndarray
    box: np.ndarray
    reach: np.ndarray


@dataclass
class Example:
    """The dialogues about one video (or one image) as a tree of tokens.

    Attributes:
        tokens: prefix and branches, concatenated
        labels: the same length; the token where a reply is trained, else -100
        branch: 0 for the prefix, then 1, 2, ... for each branch
        positions: ``(3, tokens)`` multimodal rotary positions (time, row, column)
        images: normalized square images ``(3, side, side)``, in the order of their tokens
        dense: what is true at each visual token, for each image
    """

    tokens: np.ndarray
    labels: np.ndarray
    branch: np.ndarray
    positions: np.ndarray
    images: list[np.ndarray] = field(default_factory=list)
    dense: list[DenseTargets] = field(default_factory=list)


@dataclass(frozen=True)
class Snapshot:
    """One drawn frame: the picture, and each body's visible box and area."""

    picture: np.ndarray
    masks: np.ndarray
    areas: np.ndarray


class DialogueMaker:
    """Turns worlds into :class:`Example` trees.

    Args:
        tokenizer: the model's tokenizer, with its chat template
        spec: how the checkpoint wants to be asked
        token_side: how many pixels of an image's side one visual token covers
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, spec: ChainSpec, token_side: int):
        self.tokenizer = tokenizer
        self.spec = spec
        self.token_side = token_side
        ids = tokenizer.convert_tokens_to_ids
        self.image_token: Any = ids("<|image_pad|>")
        self.start, self.end = ids("<|im_start|>"), ids("<|im_end|>")
        self.reply_head = tokenizer("<|im_start|>assistant\n", add_special_tokens=False).input_ids

    def grounding(self, world: World, rng: np.random.Generator, side: int) -> Example:
        """Turn 2 alone: one frame, where each body is, and a list of all of them."""
        k = int(rng.integers(world.frame_count))
        shot = snapshot(world, k)
        seen = [i for i in reading_order(world) if shot.areas[i] >= 12]
        dialogues = []
        for i in [seen[j] for j in rng.permutation(len(seen))]:
            name = world.bodies[i].name
            dialogues.append([*self._turn2(name), (box_answer([(name, shot, i)]),)])
        everything = box_answer([(world.bodies[i].name, shot, i) for i in seen])
        dialogues.append([*self._turn2("all objects"), (everything,)])
        return self._tree(dialogues, [[(shot, side)]] * len(dialogues), world)

    def chains(self, world: World, rng: np.random.Generator, questions: int) -> Example:
        """Whole two-turn dialogues over a video: several questions, some of them with turn 2."""
        table = np.linspace(0, world.frame_count - 1, self.spec.frames).round().astype(int)
        shots = [snapshot(world, int(k)) for k in table]
        frames = [(shot, self.spec.frame_size) for shot in shots]
        dialogues, pictures = [], []
        grounded = 0
        for query in choose_queries(world, rng, questions):
            chosen = [(i, key_frame(shots, i, rng)) for i in query.targets]
            turn1 = [*self._turn1(query, rng), (choice_answer(world, query, chosen),)]
            shown = list(frames)
            if chosen and grounded < _GROUNDED:  # a key frame costs as much as four frames
                i, t = chosen[int(rng.integers(len(chosen)))]
                name = world.bodies[i].name
                turn1 += [*self._turn2(name), (box_answer([(name, shots[t], i)]),)]
                shown.append((shots[t], self.spec.key_frame_size))
                grounded += 1
            dialogues.append(turn1)
            pictures.append(shown)
        return self._tree(dialogues, pictures, world)

    def logic(self, world: World, rng: np.random.Generator, questions: int) -> list[Example]:
        """Turn 1 without the video: what follows from each question and from what was seen.

        Only that is trained: whether each object fits, and the answer. No picture is needed for
        it, so that a step costs a tenth and shows a hundred times as many questions.
        """
        rows = []
        for query in choose_queries(world, rng, questions):
            text = OPENINGS[rng.integers(len(OPENINGS))] + query.text
            chosen = [(i, int(rng.integers(self.spec.frames))) for i in query.targets]
            _, after = split_at(self.spec.template("turn1"), "frames")
            asked = [{"type": "text", "text": fill(after, {"query": text})}]
            reply = choice_answer(world, query, chosen)
            messages: list[Any] = [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": reply},
            ]
            shown: Any = self.tokenizer.apply_chat_template(messages, tokenize=False)
            encoded = self.tokenizer(shown, return_offsets_mapping=True, add_special_tokens=False)
            ids = np.array(encoded.input_ids)
            start = shown.index("<think>")
            told = np.zeros(len(shown) + 1, bool)
            for span in _FOLLOWS.finditer(shown, start):
                told[span.start() : span.end()] = True
            told[shown.index("So ", start) :] = True
            for span in _FRAME.finditer(shown, start):
                told[span.start(1) : span.end(1)] = False
            follows = np.array([told[a:b].all() and b > a for a, b in encoded.offset_mapping])
            rows.append(in_words(ids, np.where(follows, ids, IGNORED)))
        return rows

    # A dialogue is a list of user messages (lists of str | None for a picture) and replies
    # (1-tuples of str; (str, False) where it is not to be learned).
    def _turn1(self, query: Query, rng: np.random.Generator) -> list:
        text = OPENINGS[rng.integers(len(OPENINGS))] + query.text
        count = {"frame_count": self.spec.frames, "last_index": self.spec.frames - 1}
        before, after = split_at(self.spec.template("turn1"), "frames")
        message: list[str | None] = [fill(before, {"query": text, **count})]
        for index in range(self.spec.frames):
            message += [fill(self.spec.template("frame"), {"index": index, **count}), None]
        return [[*message, fill(after, {"query": text, **count})]]

    def _turn2(self, description: str) -> list:
        before, after = split_at(self.spec.template("turn2"), "image")
        values = {"description": description}
        return [[fill(before, values), None, fill(after, values)]]

    def _render(self, dialogue: list, sides: list[int]) -> np.ndarray:
        """The tokens of a dialogue, each picture as many tokens as it has."""
        messages = []
        for part in dialogue:
            if isinstance(part, tuple):
                messages.append({"role": "assistant", "content": part[0]})
                continue
            content = [
                {"type": "image"} if p is None else {"type": "text", "text": p}
                for p in part
                if p != ""
            ]
            messages.append({"role": "user", "content": content})
        text = self.tokenizer.apply_chat_template(messages, tokenize=False)
        ids = np.array(self.tokenizer(text, add_special_tokens=False).input_ids)
        counts = np.ones(len(ids), int)
        counts[ids == self.image_token] = [(side // self.token_side) ** 2 for side in sides]
        return np.repeat(ids, counts)

    def _tree(self, dialogues: list, pictures: list, world: World) -> Example:
        rendered = [
            self._render(d, [side for _, side in shown])
            for d, shown in zip(dialogues, pictures, strict=True)
        ]
        shortest = min(len(ids) for ids in rendered)
        same = np.all([ids[:shortest] == rendered[0][:shortest] for ids in rendered], axis=0)
        prefix = shortest if same.all() else int(np.argmin(same))
        if len(rendered) == 1:  # leave the reply to the branch
            prefix = 1
        shared = sum(1 for a in _runs(rendered[0] == self.image_token) if a[1] <= prefix)
        sides = [[side for _, side in shown] for shown in pictures]
        positions = [
            rotary_positions(ids, self.image_token, [side // self.token_side for side in s])
            for ids, s in zip(rendered, sides, strict=True)
        ]
        tokens, labels = [rendered[0][:prefix]], [np.full(prefix, IGNORED)]
        branch, rotary = [np.zeros(prefix, int)], [positions[0][:, :prefix]]
        shots = list(pictures[0][:shared])
        told = [[part[-1] is not False for part in d if isinstance(part, tuple)] for d in dialogues]
        for b, (ids, pos, shown) in enumerate(zip(rendered, positions, pictures, strict=True), 1):
            tokens.append(ids[prefix:])
            labels.append(self._reply_labels(ids, told[b - 1])[prefix:])
            branch.append(np.full(len(ids) - prefix, b))
            rotary.append(pos[:, prefix:])
            shots += shown[shared:]
        return Example(
            np.concatenate(tokens),
            np.concatenate(labels),
            np.concatenate(branch),
            np.concatenate(rotary, axis=1),
            [normalized(resize_square(shot.picture, side)) for shot, side in shots],
            [dense_targets(world, shot, side // self.token_side) for shot, side in shots],
        )

    def _reply_labels(self, ids: np.ndarray, told: list[bool]) -> np.ndarray:
        """Trains what the assistant says, the end mark included, in the replies that are told."""
        labels = np.full(len(ids), IGNORED)
        head = self.reply_head
        replies = iter(told)
        for start in np.flatnonzero(ids == self.start):
            if list(ids[start : start + len(head)]) == head and next(replies):
                begin = start + len(head)
                stop = begin + int(np.argmax(ids[begin:] == self.end)) + 1
                labels[begin:stop] = ids[begin:stop]
        return labels


def in_words(ids: np.ndarray, labels: np.ndarray) -> Example:
    """A dialogue without pictures."""
    positions = np.tile(np.arange(len(ids)), (3, 1))
    return Example(ids, labels, np.ones(len(ids), int), positions)


def snapshot(world: World, k: int) -> Snapshot:
    """Draws frame ``k`` with the visible areas of the bodies."""
    picture, masks = world.draw(k)
    return Snapshot(picture, masks, masks.sum(axis=(1, 2)))


def choose_queries(world: World, rng: np.random.Generator, count: int) -> list[Query]:
    """Random queries, each kind as likely as any other."""
    by_kind = queries_by_kind(world)
    kinds = sorted(by_kind)
    chosen: dict[str, Query] = {}
    for _ in range(4 * count):
        pile = by_kind[kinds[rng.integers(len(kinds))]]
        query = pile[rng.integers(len(pile))]
        chosen.setdefault(query.text, query)
        if len(chosen) == count:
            break
    return list(chosen.values())


def key_frame(shots: Sequence[Snapshot], body: int, rng: np.random.Generator) -> int:
    """Draws a sampled frame in which the body is large, the largest ones most often.

    A single right answer would be arbitrary where several frames are as good. A draw teaches the
    model how good each frame is; greedy decoding then takes the best.
    """
    areas = np.array([shot.areas[body] for shot in shots], float)
    weights = np.where(areas > 0, (areas / max(areas.max(), 1)) ** 8, 0)
    if weights.sum() == 0:  # hidden in all sampled frames: nothing better is known
        return int(rng.integers(len(shots)))
    return int(rng.choice(len(shots), p=weights / weights.sum()))


def visible_box(mask: np.ndarray) -> np.ndarray:
    """The box of a mask in steps of the answer's grid, ``[x1, y1, x2, y2]``."""
    height, width = mask.shape
    box = np.array(box_around(mask)) / [width, height, width, height]
    return np.round(box * (1000 / GRID)).astype(int)


def dense_targets(world: World, shot: Snapshot, grid: int) -> DenseTargets:
    """What is true at each of the ``grid x grid`` visual tokens of a frame."""
    cover = np.stack([resize_mask(mask, grid) for mask in shot.masks]).reshape(-1, grid * grid)
    best, most = cover.argmax(axis=0), cover.max(axis=0)
    owned = most >= 0.25
    presence = np.where(owned, 1, np.where(most > 0.05, IGNORED, 0))
    colors = np.array([_COLOR_INDEX[b.color] for b in world.bodies])
    shapes = np.array([_SHAPE_INDEX[b.shape] for b in world.bodies])
    boxes = np.array([visible_box(m) if m.any() else [IGNORED] * 4 for m in shot.masks])
    row, column = np.divmod(np.arange(grid * grid), grid)
    centre = np.stack([column + 0.5, row + 0.5], axis=1) * (1000 / GRID / grid)
    box = boxes[best]
    return DenseTargets(
        presence,
        np.where(owned, colors[best], IGNORED),
        np.where(owned, shapes[best], IGNORED),
        np.where(owned[:, None], box, IGNORED),
        np.concatenate([centre - box[:, :2], box[:, 2:] - centre], axis=1).astype(np.float32) / 10,
    )


def resize_mask(mask: np.ndarray, grid: int) -> np.ndarray:
    """The covered share of each cell of a grid over a mask."""
    height, width = mask.shape
    y, x = np.arange(height) * grid // height, np.arange(width) * grid // width
    rows = np.add.reduceat(mask.astype(np.float32), np.searchsorted(y, np.arange(grid)), axis=0)
    cells = np.add.reduceat(rows, np.searchsorted(x, np.arange(grid)), axis=1)
    return cells * (grid * grid / (height * width))


def normalized(image: np.ndarray) -> np.ndarray:
    """A square uint8 RGB image as the processor normalizes it: ``(3, side, side)`` in [-1, 1]."""
    return image.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1


def rotary_positions(ids: np.ndarray, image_token: int, grids: Sequence[int]) -> np.ndarray:
    """Qwen's multimodal rotary positions for text with square images of ``grids`` tokens a side.

    The same as ``Qwen3VLModel.get_rope_index`` (tested), for one dialogue, in numpy.
    """
    positions = np.empty((3, len(ids)), int)
    at, done = 0, 0
    for (start, stop), grid in zip(_runs(ids == image_token), grids, strict=True):
        positions[:, done:start] = at + np.arange(start - done)
        at += start - done
        rows, columns = np.divmod(np.arange(grid * grid), grid)
        positions[:, start:stop] = at + np.stack([np.zeros_like(rows), rows, columns])
        at, done = at + grid, stop
    positions[:, done:] = at + np.arange(len(ids) - done)
    return positions


def _runs(flags: np.ndarray) -> Iterator[tuple[int, int]]:
    """The (start, stop) of each run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def choice_answer(world: World, query: Query, chosen: list[tuple[int, int]]) -> str:
    items = [{"frame_idx": t, "object description": world.bodies[i].name} for i, t in chosen]
    return f"<think>{query.thought}</think> <answer>{json.dumps(items)}</answer>"


def box_answer(found: list[tuple[str, Snapshot, int]]) -> str:
    items = [
        {"bbox_2d": (visible_box(shot.masks[i]) * GRID).tolist(), "label": name}
        for name, shot, i in found
        if shot.masks[i].any()
    ]
    return json.dumps(items)
