"""Reads the model's replies: key frames and descriptions in turn 1, boxes in turn 2.

Models are free to write anything, so the rules are: accept every form that has one meaning, never
guess, and never mistake an unreadable answer for the answer "no such object". The steps are
:mod:`~fiftyone_revseg.reasoning.regions` (where the answer is),
:mod:`~fiftyone_revseg.reasoning.values` (what lists and objects are in it),
:mod:`~fiftyone_revseg.reasoning.candidates` (which of them count), and what they mean: here, and of
boxes in :mod:`~fiftyone_revseg.reasoning.corners`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fiftyone_revseg.reasoning.candidates import Candidate, choose, find_candidates
from fiftyone_revseg.reasoning.conventions import BoxConvention, find_convention
from fiftyone_revseg.reasoning.corners import (
    ConventionError,
    Corners,
    bare_boxes,
    box_of_text,
    boxes_of,
    check_corners,
    check_order,
    check_scale,
    is_whole_image,
    named_boxes,
    normalized,
    paired_boxes,
    to_source,
    without_box,
    without_doubtful,
)
from fiftyone_revseg.reasoning.points import points_in, read_points, tagged_points, to_point
from fiftyone_revseg.reasoning.regions import MARKS, ParseError, answer_region, tagged_thought
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.reasoning.trajectory import Box, KeyframeChoice, Point
from fiftyone_revseg.reasoning.values import Items, Pairs, walk
from fiftyone_revseg.text.clean import storable

MAX_OBJECTS = 20  # a model caught in a loop lists objects without end; no real answer has more

_FRAME_KEYS = ("frameidx", "frameid", "frameindex", "framenumber", "frame", "keyframe")
_TEXT_KEYS = ("objectdescription", "description", "label", "object", "objectname", "name")
_LIST_KEYS = ("objects", "answer", "answers", "result", "results", "keyframes", "detections")
_REASON_KEYS = ("reason", "reasoning", "thought", "think", "explanation", "comment", "note")
# As frames are named to the model: "Frame 3 (1.5 s): "
_WHOLE = re.compile(
    r"(?:frame)?[ _#]{0,3}([0-9]{1,9})(?:\.0{1,9})?(?: ?\([0-9.]{1,9} ?s\))?:?", re.I
)
#: Descriptions that say there is nothing to describe, whole and without punctuation
NO_OBJECT = (
    "no such object", "no object", "no such object exists", "no such object is in the video",
    "no such object in the video", "no target", "no match", "no object found",
    "no such object found", "none", "n a", "null", "nothing", "not visible", "not present",
    "not found", "not in the video", "object not found", "object not present",
    "object not visible", "no object visible", "does not exist",
)  # fmt: skip
# The same in a sentence, of which nobody has a list: it is asked again
_DENIES = re.compile(
    r"(?:there (?:is|are) no\b|none of (?:the|these|those)\b|no \w{1,30}\.?$"
    r"|no (?!.*\b(?:that|which|who)\b).{1,60}?"
    r" (?:is|are|was|were|can be) (?:visible|present|found|seen|shown)\b"
    r"|[\w' -]{1,60} (?:is|are|was|were) not (?:visible|present|found|seen|shown|there)"
    r"(?: in (?:this|the|any|these|those) (?:video|frames?|images?|pictures?))?\.?$)",
    re.IGNORECASE,
)
_PLACEHOLDERS = ("...", "\u2026")  # the prompt's example, repeated


def parse_choices(
    reply: str, frame_count: int, complete: bool = True, strict: bool = False
) -> list[KeyframeChoice]:
    """Reads the key frames and descriptions from a turn-1 reply.

    A list or a single dict is accepted, in or without ``<answer>`` tags and code fences, with
    several spellings of the keys. Of a damaged or truncated list the complete items are kept,
    duplicates are dropped, and at most :data:`MAX_OBJECTS` are returned. A frame number may be
    written ``3``, ``3.0``, ``"3"`` or ``"Frame 3"``; one outside the sampled frames is never
    clamped. An empty list means that no such object exists if it stands by itself, whatever words
    are around it.

    Args:
        reply: the model's text
        frame_count: the number of frames that were shown
        complete (True): whether the model ended the reply; if it was cut off, what it says before
            a thought is finished is a draft
        strict (False): whether to read JSON only, rather than all that means the same

    Returns:
        one :class:`KeyframeChoice` for each object, empty if the model answered with an empty
        list, which means that no such object exists

    Raises:
        ParseError: if there is no usable answer

    Example::

        parse_choices('<answer>[{"frame_idx": 3, "object description": "a cat"}]</answer>', 16)
        # [KeyframeChoice(frame=3, description='a cat')]
    """
    start, end = answer_region(reply, complete)
    answer = reply[start:end]
    candidates = find_candidates(answer, strict)
    found = choose(candidates, lambda candidate: _read_choices(candidate, frame_count))
    if found is None:
        raise ParseError("it has no JSON list of frame_idx and object description")
    if found.problem and not found.choices:
        raise ParseError(found.problem)
    if strict and not found.choices and "".join(MARKS.sub("", answer).split()) != "[]":
        raise ParseError("its empty list has words around it")
    return list(found.choices)


def parse_boxes(
    reply: str,
    convention: str,
    key_frame_size: int,
    source_size: tuple[int, int],
    complete: bool = True,
    strict: bool = False,
) -> list[Box]:
    """Reads the boxes from a turn-2 reply.

    Boxes are brought from the model's space to source pixels (the square resize of the key frame
    does not keep the aspect ratio, so x and y scale apart), their corners put in order, and
    clipped to the frame; those with a side under one source pixel are rejected. A box whose order
    or scale speaks against the convention is refused.

    Args:
        reply: the model's text
        convention: the name of one of
            :data:`fiftyone_revseg.reasoning.conventions.BOX_CONVENTIONS`, such as "pixels"
        key_frame_size: the side of the resized, square key frame, in pixels
        source_size: the ``(width, height)`` of the source frame, in pixels
        complete (True): whether the model ended the reply; if it was cut off, what it says before
            a thought is finished is a draft
        strict (False): whether to read JSON and pairs of corners only, rather than all that means
            the same

    Returns:
        a list of ``(x1, y1, x2, y2)`` tuples in source pixels, in the reply's order, without
        duplicates, at most :data:`MAX_OBJECTS`; empty if the model answered with an empty list

    Raises:
        ParseError: if there is no usable answer

    Example::

        parse_boxes('[{"bbox_2d": [420, 0, 840, 210]}]', "pixels", 840, (1280, 720))
        # [(640.0, 0.0, 1280.0, 180.0)]
    """
    asked = find_convention(convention)
    side = asked.side(key_frame_size)
    start, end = answer_region(reply, complete)
    answer = reply[start:end]
    candidates = find_candidates(answer, strict)
    if len(candidates) > 1:
        candidates = [
            candidate
            for candidate in candidates
            if not _is_size_of_image(candidate, asked, side, source_size)
        ] or candidates
    corners = choose(candidates, lambda candidate: _read_corners(candidate, asked, strict))
    ended = complete or end < len(reply)  # or else the last number may go on
    if corners is None and ended and not strict:
        alone = box_of_text(MARKS.sub("", answer), asked) if len(answer) < 500 else None
        corners = (alone,) if alone else None
    if corners is None:
        objects = [keys for c in candidates for pairs in _objects(c) for keys in normalized(pairs)]
        raise ParseError(without_box(answer, objects, asked))
    if not corners:
        return []
    check_order(answer, asked)
    known = without_doubtful(corners)
    for one in known:
        check_corners(one, asked)
        check_scale(one, asked, side, source_size)
    boxes = dict.fromkeys(to_source(one, side, source_size) for one in known)
    found = [box for box in boxes if box is not None]
    if not found:
        raise ParseError("the box is empty or outside the image")
    return found[:MAX_OBJECTS]


def parse_prompt(
    reply: str, spec: ChainSpec, source_size: tuple[int, int], complete: bool = True
) -> tuple[Box | None, tuple[Point, ...]]:
    """Reads what the tracker starts from out of a turn-2 reply: one object was asked for.

    Args:
        reply: the model's text
        spec: how the model was asked
        source_size: the ``(width, height)`` of the source frame, in pixels
        complete (True): whether the model ended the reply

    Returns:
        the first box, see :func:`parse_boxes`, and the points beside it; () unless the spec's
        ``prompt`` asks for one, and the reply has one. Of points alone, None and the first object's

    Raises:
        ParseError: if there is no usable box, a point contradicts it, or there is no point
    """
    found = parse_prompt_or_none(reply, spec, source_size, complete)
    if found is None:
        what = "point" if spec.prompt == "point" else "box"
        raise ParseError(f"it has no {what} although the object was seen in this frame")
    return found


def parse_prompt_or_none(
    reply: str, spec: ChainSpec, source_size: tuple[int, int], complete: bool = True
) -> tuple[Box | None, tuple[Point, ...]] | None:
    """As :func:`parse_prompt`, of a frame in which the object need not be.

    Returns:
        None if the model answered with an empty list: the object is not there
    """
    convention, size = spec.box_convention, spec.key_frame_size
    if spec.prompt == "point":
        points = _parse_points(reply, spec, source_size, complete)
        return (None, points) if points else None
    boxes = parse_boxes(reply, convention, size, source_size, complete)
    if not boxes:
        return None
    if spec.prompt == "box":
        return boxes[0], ()
    asked = find_convention(convention)
    side = asked.side(size)
    start, end = answer_region(reply, complete)
    with_box = [
        keys
        for candidate in find_candidates(reply[start:end])
        for pairs in _objects(candidate)
        for keys in normalized(pairs)
        if boxes[0] in [to_source(one, side, source_size) for one in _boxes_of(keys, asked)]
    ]
    if not with_box:
        return boxes[0], ()
    return boxes[0], read_points(with_box[-1], boxes[0], asked, side, source_size)


def parse_think(reply: str) -> str:
    """Returns the thought in a reply, whether or not its tags are complete; "" if there is none.

    Without any tags, it is what stands before the answer.
    """
    thought = tagged_thought(reply)
    if thought is not None:
        return thought
    start, end = answer_span(reply)
    return MARKS.sub("", reply[:start]).strip() if (start, end) != (0, len(reply)) else ""


def answer_span(reply: str) -> tuple[int, int]:
    """Returns where the answer is: ``reply[start:end]``, without tags, prose or fences around it.

    This is the span over which token probabilities are averaged for a confidence.
    """
    try:
        start, end = answer_region(reply)
    except ParseError:
        return 0, len(reply)
    inside = reply[start:end]
    if candidates := find_candidates(inside):
        last = candidates[-1]
        chosen = last if last.alone else next((c for c in candidates if c.alone), last)
        return start + chosen.start, start + chosen.end
    if not inside.strip():
        return start, end
    return end - len(inside.lstrip()), start + len(inside.rstrip())


@dataclass(frozen=True)
class _Choices:
    """What one candidate says in turn 1."""

    choices: tuple[KeyframeChoice, ...] = ()
    problem: str = ""


def _read_choices(candidate: Candidate, frame_count: int) -> _Choices | None:
    if candidate.is_empty_list or _is_empty_object(candidate):
        return _Choices()
    choices: dict[KeyframeChoice, None] = {}
    problem, nothing = "", 0
    for pairs in _objects(candidate):
        objects = [keys for keys in normalized(pairs) if pairs.whole]
        for keys in objects:
            if _is_no_object(keys):
                nothing += 1
                continue
            if first_of(keys, _FRAME_KEYS) is None:
                if len(objects) > 1 and first_of(keys, _TEXT_KEYS) is not None:
                    raise ParseError("it repeats a key within one object: give each its own")
                continue
            read = _choice(keys, frame_count)
            if isinstance(read, str):
                problem = read
                if len(objects) > 1:
                    raise ParseError(f"{read}; give each object its own braces")
            elif len(choices) < MAX_OBJECTS:
                choices[read] = None
    if any(found.value == [] for found in candidate.values) and choices:
        raise ParseError("it has both an object and an empty list: give only one of them")
    if nothing:
        if nothing > 1 or choices or problem or not all(f.value.whole for f in candidate.values):
            raise ParseError('it says "no such object" in a list of objects: write [] alone')
        return _Choices() if candidate.alone or candidate.ends_sentence else None
    return _Choices(tuple(choices), problem) if choices or problem else None


def _is_no_object(keys: dict[str, Any]) -> bool:
    """Whether an object says only that there is none, as in ``{"description": "none"}``."""
    frames = [keys[name] for name in _FRAME_KEYS if name in keys]
    texts = [keys[name] for name in _TEXT_KEYS if name in keys]
    if not frames or not texts:
        return False
    return all(one is None for one in frames + texts) or all(map(_says_no_object, texts))


def _says_no_object(text: Any) -> bool:
    words = re.sub(r"[\W_]+", " ", text).strip().lower() if isinstance(text, str) else ""
    return words in NO_OBJECT


def _choice(keys: dict[str, Any], frame_count: int) -> KeyframeChoice | str:
    """The choice that the keys of an object make; or what is wrong with it."""
    frame, text = first_of(keys, _FRAME_KEYS), first_of(keys, _TEXT_KEYS)
    k = whole_number(frame)
    if k is None:
        return "frame_idx is not a whole number"
    if not 0 <= k < frame_count:
        shown = str(k) if abs(k) < 10**9 else "that large"
        return f"frame_idx {shown} does not exist, the frames are 0 to {frame_count - 1}"
    if not isinstance(text, str) or not one_line(text) or one_line(text) in _PLACEHOLDERS:
        return "the object description is missing"
    if _says_no_object(text) or _DENIES.match(one_line(text)):
        return "the object description says that there is no object"
    return KeyframeChoice(k, one_line(text))


def _read_corners(
    candidate: Candidate, convention: BoxConvention, strict: bool
) -> tuple[Corners, ...] | None:
    """The boxes of one candidate in the model's space: named ones, else bare lists, else pairs."""
    if candidate.is_empty_list:
        return ()
    found = [box for pairs in _objects(candidate) for box in named_boxes(pairs, convention)]
    values = [one for one in candidate.values if isinstance(one.value, Items)]
    if strict:
        values = [one for one in values if not _is_tuple(one.value) or len(one.value) == 2]
    lists = [one.value for one in values if isinstance(one.value, Items)]
    if candidate.is_something_else:
        lists = []
    if not found:
        found = [box for item in _nested(lists) for box in bare_boxes(item, convention)]
    if not found and lists:
        between = [candidate.text[a.end : b.start] for a, b in pairwise(values)]
        found = list(paired_boxes(lists, between, convention))
    return tuple(dict.fromkeys(found)) or None


def _parse_points(
    reply: str, spec: ChainSpec, source_size: tuple[int, int], complete: bool
) -> tuple[Point, ...]:
    """The points of the first object, in source pixels: by key, in a tag of Molmo, or bare.

    None are the answer "not there".
    """
    asked = find_convention(spec.box_convention)
    side = asked.side(spec.key_frame_size)
    start, end = answer_region(reply, complete)
    answer = reply[start:end]
    check_order(answer, asked)
    pairs = tagged_points(answer)
    if pairs is None:
        pairs = choose(find_candidates(answer), lambda candidate: _read_pairs(candidate, asked))
    if pairs is None:
        raise ParseError(f"it has no point: write {asked.example('point')}")
    points = [to_point(*pair, asked, side, source_size) for pair in pairs]
    return tuple(dict.fromkeys(points))


def _read_pairs(
    candidate: Candidate, convention: BoxConvention
) -> tuple[tuple[float, float], ...] | None:
    """The points of the first object of a candidate in the model's space; () of an empty list."""
    if candidate.is_empty_list:
        return ()
    for pairs in _objects(candidate):
        for keys in normalized(pairs):
            if found := points_in(keys, convention):
                return found
    bare = [found.value for found in candidate.values if isinstance(found.value, Items)]
    found = points_in({"points": bare[0]}, convention) if len(bare) == 1 and bare[0].whole else None
    return found or None


def _boxes_of(keys: dict[str, Any], convention: BoxConvention) -> list[Corners]:
    try:
        return list(boxes_of(keys, convention))
    except ConventionError:  # of a draft: the answer has a box
        return []


def _is_size_of_image(
    candidate: Candidate, convention: BoxConvention, side: int, source_size: tuple[int, int]
) -> bool:
    try:
        corners = _read_corners(candidate, convention, strict=False)
    except ConventionError:
        return False
    named = next(iter(_objects(candidate)), None) is not None
    return (
        not named
        and bool(corners)
        and all(is_whole_image(one, side, source_size) for one in corners or ())
    )


def _objects(candidate: Candidate) -> Iterable[Pairs]:
    return (v for found in candidate.values for v in walk(found.value) if isinstance(v, Pairs))


def _nested(lists: list[Items]) -> Iterable[Items]:
    """Lists within lists, but not within objects."""
    for item in lists:
        yield item
        yield from _nested([inner for inner in item if isinstance(inner, Items)])


def _is_tuple(value: Items | Pairs) -> bool:
    return isinstance(value, Items) and value.opening == "("


def _is_empty_object(candidate: Candidate) -> bool:
    """Whether this is ``{"objects": [], "reason": "none is seen"}``, by any name of a list."""
    if len(candidate.values) != 1 or not isinstance(candidate.values[0].value, Pairs):
        return False
    pairs = candidate.values[0].value
    values = [value for _, value in pairs if not isinstance(value, str)]
    if not pairs.whole or values != [[]] or not isinstance(values[0], Items):
        return False
    (keys, *more) = normalized(pairs)
    lists = [name for name in keys if name not in _REASON_KEYS]
    return not more and len(lists) == 1 and lists[0] in _LIST_KEYS


def whole_number(value: Any) -> int | None:
    """The number that a value is, as ``3``, ``3.0``, ``"3"`` or ``"Frame 3"``; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    match = _WHOLE.fullmatch(value.strip()) if isinstance(value, str) and len(value) < 50 else None
    return int(match[1]) if match else None


def first_of(keys: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first of some names that has one; else None."""
    return next((keys[name] for name in names if keys.get(name) is not None), None)


def one_line(text: str) -> str:
    """A text without what cannot be stored, its blanks and line breaks made one blank each."""
    # JSON may hold half a character, as "\ud800", and zeros, which end a name for many programs
    return " ".join(storable(text).replace("\0", "?").split())
