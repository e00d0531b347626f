"""Which frames turn 1 is to see of a video in which a few that are spread over it miss too much.

Two ways lead to them. Where sampled frames would lie far apart, the video is cut into windows of as
many frames, each of which is asked about by itself; frames around what was found are what turn 1
then compares. And a model may answer with a stretch of the video that it wants to see closer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from fiftyone_revseg.reasoning.candidates import Candidate, choose, find_candidates
from fiftyone_revseg.reasoning.chain import ChainRequest, Pair
from fiftyone_revseg.reasoning.corners import normalized
from fiftyone_revseg.reasoning.dialogue import Dialogue, in_words
from fiftyone_revseg.reasoning.looking_again import Look
from fiftyone_revseg.reasoning.parse import parse_choices, whole_number
from fiftyone_revseg.reasoning.prompts import fill
from fiftyone_revseg.reasoning.regions import ParseError, answer_region
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.reasoning.trajectory import KeyframeChoice, Turn
from fiftyone_revseg.reasoning.values import Items, Pairs
from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video.sampling import uniform_indices

logger = logging.getLogger(__name__)

_AT_A_TIME = 8  # windows whose frames are in memory
_MOST_WINDOWS = 1e6  # beyond what any video has frames for


@dataclass(frozen=True)
class Stretch:
    """A part of the sampled frames that the model wants to see closer; both ends belong to it."""

    start: int
    end: int


@dataclass(frozen=True)
class FirstTurn:
    """What a turn 1 came to that is there to look closer.

    Attributes:
        look: what was shown, and what was found
        turns: every prompt and reply
        stretch: what it wants to see closer; None if nothing
    """

    look: Look
    turns: tuple[Turn, ...] = ()
    stretch: Stretch | None = None

    @property
    def confidence(self) -> float:
        """That of the answer, in [0, 1]; 0 if it is not known."""
        return (self.turns[-1].confidence or 0.0) if self.turns else 0.0


class Windows:
    """The talk that asks turn 1 about each of several windows of a video.

    Its result is one :class:`FirstTurn` for each. Only a few windows are in memory at a time.

    Args:
        request: the (video, query) pair; its frame table has the frames of all windows
        spec: how to ask
    """

    def __init__(self, request: ChainRequest, spec: ChainSpec):
        self._request, self._spec = request, spec
        count = len(request.frame_table)
        self._windows = [
            range(start, min(start + spec.frames, count)) for start in range(0, count, spec.frames)
        ]
        self._results: list[FirstTurn | None] = [None] * len(self._windows)
        self._dialogues = self._make()
        self._places: dict[int, int] = {}  # id of a dialogue -> which window

    def start(self) -> list[Dialogue]:
        """Makes the first few."""
        return list(islice(self._dialogues, _AT_A_TIME))

    def after(self, dialogue: Dialogue) -> list[Dialogue]:
        """Makes the next one."""
        place = self._places.pop(id(dialogue))
        turns = tuple(dialogue.turns)
        if place:  # as that of the first window, but for the pictures
            turns = tuple(replace(turn, prompt="") for turn in turns)
        found = dialogue.result if dialogue.history is not None else ()
        error = "" if dialogue.history is not None else dialogue.error or "no reply"
        self._results[place] = FirstTurn(self._look(place, found, error), turns)
        return list(islice(self._dialogues, 1))

    def finish(self, model: str) -> list[FirstTurn]:
        """Puts together what came of each window."""
        return [one for one in self._results if one is not None]

    def _make(self) -> Iterator[Dialogue]:
        for place, window in enumerate(self._windows):
            try:
                dialogue = Pair(part_of(self._request, window), self._spec).turn1()
            except Exception as e:
                logger.warning("Window %d could not be asked about", place, exc_info=True)
                self._results[place] = FirstTurn(self._look(place, (), in_words(e)))
                continue
            self._places[id(dialogue)] = place
            yield dialogue

    def _look(self, place: int, found: Sequence[KeyframeChoice], error: str) -> Look:
        table = self._request.frame_table
        frames = tuple(table.indices[i] for i in self._windows[place])
        return Look("window", frames, tuple(found), error)


class CloserLook:
    """The talk that asks turn 1, and lets it answer with a stretch; ends with a FirstTurn.

    Args:
        request: the (video, query) pair
        spec: how to ask
    """

    def __init__(self, request: ChainRequest, spec: ChainSpec):
        self._request, self._spec = request, spec
        self._dialogue: Dialogue | None = None
        self._error = ""

    def start(self) -> list[Dialogue]:
        """Makes turn 1, with the offer."""
        count = len(self._request.frame_table)
        try:
            dialogue = Pair(self._request, self._spec).turn1()
        except Exception as e:
            logger.warning("A closer look could not be asked for", exc_info=True)
            self._error = in_words(e)
            return []
        offer = fill(self._spec.template("closer"), {"last_index": count - 1})
        *earlier, last = dialogue.conversation.messages
        asked = replace(last, content=(*last.content, f"\n{offer}"))
        conversation = replace(dialogue.conversation, messages=(*earlier, asked), pattern=None)
        self._dialogue = replace(
            dialogue,
            conversation=conversation,
            parse=lambda text, complete: parse_closer(text, count, complete),
        )
        return [self._dialogue]

    def after(self, dialogue: Dialogue) -> list[Dialogue]:
        """Makes nothing more."""
        return []

    def finish(self, model: str) -> FirstTurn:
        """Puts together what came of it."""
        dialogue, frames = self._dialogue, self._request.frame_table.indices
        if dialogue is None:
            return FirstTurn(Look("stretch", frames, (), self._error))
        turns = tuple(dialogue.turns)
        if dialogue.history is None:
            return FirstTurn(Look("stretch", frames, (), dialogue.error or "no reply"), turns)
        if isinstance(dialogue.result, Stretch):
            stretch = dialogue.result
            return FirstTurn(
                Look("stretch", frames, (), "", (stretch.start, stretch.end)), turns, stretch
            )
        return FirstTurn(Look("stretch", frames, tuple(dialogue.result)), turns)


def frames_to_sample(spec: ChainSpec, duration: float) -> int:
    """Returns how many frames of a video are sampled, so that none lie too far apart.

    Args:
        spec: how to ask
        duration: of the video, in seconds

    Returns:
        ``frames``, or a multiple of it where these would lie more than ``max_gap`` seconds apart
    """
    if not spec.max_gap or duration <= spec.max_gap * spec.frames:
        return spec.frames
    windows = min(duration / spec.max_gap / spec.frames, _MOST_WINDOWS)
    return math.ceil(windows) * spec.frames


def part_of(request: ChainRequest, positions: Sequence[int]) -> ChainRequest:
    """Returns a request about some of the sampled frames of another.

    Args:
        request: the other one
        positions: which of its sampled frames, in ascending order
    """
    table = request.frame_table
    times = tuple(table.times[i] for i in positions)
    return _with_frames(request, tuple(table.indices[i] for i in positions), times)


def stretch_of(request: ChainRequest, stretch: Stretch, count: int) -> ChainRequest:
    """Returns a request about frames within a stretch.

    Args:
        request: the (video, query) pair that the stretch was the answer to
        stretch: what is to be seen closer
        count: how many frames, at most
    """
    table = request.frame_table
    first, last = table.indices[stretch.start], table.indices[stretch.end]
    if first == last:  # one frame: what is around it
        first = table.indices[max(stretch.start - 1, 0)]
        last = table.indices[min(stretch.end + 1, len(table) - 1)]
    indices = tuple(first + i for i in uniform_indices(last - first + 1, count))
    return _with_frames(request, indices, tuple(request.time(k) for k in indices))


def _with_frames(
    request: ChainRequest, indices: tuple[int, ...], times: tuple[float, ...]
) -> ChainRequest:
    """Returns a request about other frames of the same video, which are read for it."""
    table = request.frame_table
    span = times[-1] - times[0] + 1 / table.fps if times else 0.0
    table = replace(table, indices=indices, times=times, duration=span)
    look: Callable[[int], Any] = request.look or request.read_frame
    return replace(request, frame_table=table, images=[look(k) for k in table.indices])


def compared(found: Sequence[FirstTurn], table: FrameTable, count: int) -> list[int]:
    """Chooses the frames in which what windows found can be compared.

    Args:
        found: what came of each window
        table: the frames of all windows
        count: how many frames, at most

    Returns:
        positions in the table, in ascending order: the key frames of the windows that are most
        confident, then what is next to them in these windows, then beyond; frames spread over all
        where nothing was found
    """
    place = {frame: i for i, frame in enumerate(table.indices)}
    ranked = sorted((one for one in found if one.look.choices), key=lambda one: -one.confidence)
    windows: dict[int, range] = {}  # key frame -> the window that it was found in
    for one in ranked:
        first, last = (place[one.look.frames[i]] for i in (0, -1))
        for choice in one.look.choices:
            if len(windows) < count:
                windows.setdefault(place[one.look.frames[choice.frame]], range(first, last + 1))
    # What could not be shown before cannot be now
    asked = [one for one in found if one.turns or not one.look.error]
    there = {place[frame] for one in asked for frame in one.look.frames} or set(place.values())
    if not windows:
        usable = sorted(there)
        return [usable[i] for i in uniform_indices(len(usable), count)]
    chosen = dict.fromkeys(windows)
    # What was found was seen in its window: that, before what lies beyond
    for inside in (True, False):
        for distance in range(1, len(table)):
            for key, window in windows.items():
                for near in (key + distance, key - distance):
                    is_in = near in window if inside else near in there
                    if is_in and len(chosen) < count:
                        chosen.setdefault(near)
            if len(chosen) >= count:
                return sorted(chosen)
    return sorted(chosen)


def parse_closer(reply: str, count: int, complete: bool = True) -> list[KeyframeChoice] | Stretch:
    """Reads a reply to turn 1 that may be a stretch to look at closer.

    Args:
        reply: the model's text
        count: how many frames were shown
        complete (True): whether the model ended the reply

    Returns:
        the choices, or a :class:`Stretch`

    Raises:
        ParseError: if it is neither, or both

    Example::

        parse_closer('{"start": 3, "end": 5}', count=16)  # Stretch(3, 5)
    """
    start, end = answer_region(reply, complete)
    stretch = choose(find_candidates(reply[start:end]), lambda one: _stretch(one, count))
    return parse_choices(reply, count, complete) if stretch is None else stretch


def _stretch(candidate: Candidate, count: int) -> Stretch | None:
    told = [
        keys
        for found in candidate.values
        for value in (found.value if isinstance(found.value, Items) else [found.value])
        if isinstance(value, Pairs)
        for keys in normalized(value)
        if "start" in keys and "end" in keys
    ]
    if not told:
        return None
    if len(told) > 1:
        raise ParseError("it has several stretches: give one")
    ends = [whole_number(told[0][name]) for name in ("start", "end")]
    first, last = ends
    if first is None or last is None or not 0 <= first <= last < count:
        raise ParseError(f"a stretch begins and ends with a frame from 0 to {count - 1}")
    return Stretch(first, last)
