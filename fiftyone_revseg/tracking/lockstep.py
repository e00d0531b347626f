"""Tracks of many videos, objects and directions, step by step side by side.

A track starts at its key frame and goes both ways at the same time. Wherever several passes are
ready to go on, they go together: their frames are encoded as one batch, and the model makes one
step for all objects. A frame that several passes come to is encoded once, as long as its features
fit into a given amount of memory meanwhile. A pass that waits for its video's decoder keeps nobody
waiting.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.models.batch_size import BatchSize, is_out_of_memory
from fiftyone_revseg.prefetch import Feed
from fiftyone_revseg.tracking.both_ways import (
    VideoLike,
    Within,
    checked_within,
    read_known,
    walk_within,
)
from fiftyone_revseg.tracking.frame_by_frame import check_frame, scores_of
from fiftyone_revseg.tracking.held_features import HeldFeatures
from fiftyone_revseg.tracking.known import Anchor, Known, check_known, join_anchors
from fiftyone_revseg.tracking.memory import FrameFeatures, Memory, StepOutput
from fiftyone_revseg.tracking.prompts import points_of
from fiftyone_revseg.tracking.side_by_side import can_go_together, fork, form_of
from fiftyone_revseg.tracking.tracker import FrameMasks

if TYPE_CHECKING:
    from fiftyone_revseg.tracking.sam2_tracker import Sam2Tracker

Key = tuple[int, int]  # which video, which frame
_AHEAD = 4  # frames of each pass that are decoded ahead


@dataclass(eq=False)
class Pursuit:
    """Objects to follow both ways from their prompts in one frame.

    Attributes:
        video: has ``walk``, ``size`` and a length; several pursuits may be through the same one
        key_frame: the number of the key frame, 0-based
        prompts: (N, 4) boxes in pixels of the key frame, or (N, P, 3) points with labels, N at
            least 1
        key (None): what the caller knows it by
        frames_found: how many frames have been tracked
        known (()): other frames in which the same objects are known, with their prompts; see
            :func:`fiftyone_revseg.tracking.both_ways.walk_both_ways`
        within (None): the first and the last frame to go to, by default those of the video

    Raises:
        ValueError: if what is known, or the stretch to go through, is not as said
    """

    video: VideoLike
    key_frame: int
    prompts: np.ndarray
    key: Any = None
    frames_found: int = 0
    known: Sequence[Known] = ()
    within: Within | None = None

    @property
    def length(self) -> int:
        """How many frames it goes through."""
        first, last = self.within or (0, len(self.video) - 1)
        return last - first + 1

    def __post_init__(self) -> None:
        check_known(self.known, self.key_frame, self.prompts)
        checked_within(self.video, self.key_frame, self.known, self.within)


@dataclass(frozen=True, eq=False)
class Found:
    """Masks that were found, not encoded yet: :meth:`encode` may be called in another thread.

    Attributes:
        pursuit: whose objects they are
        frame: the frame's number in its video, 0-based
        encode: makes the :class:`~fiftyone_revseg.tracking.tracker.FrameMasks`
        seconds: its share of the time that the step took
    """

    pursuit: Pursuit
    frame: int
    encode: Callable[[], FrameMasks]
    seconds: float


@dataclass(frozen=True, eq=False)
class Ended:
    """No more masks of a pursuit will be found.

    Attributes:
        pursuit: the pursuit
        frames: how many frames were found; those of another thread's last step may still come
        error: why it was given up; None if it came to both ends of its video
    """

    pursuit: Pursuit
    frames: int
    error: Exception | None = None


@dataclass(eq=False)
class _Pass:
    """One direction of a pursuit; before its key frame is done, both of them.

    Known frames come first, each with a memory of its own, and the key frame after them.
    """

    pursuit: Pursuit
    memory: Memory
    feed: Feed
    step: int  # 1, -1; 0 for the known frames and the key frame
    frame: int  # the last one that was tracked
    taken: tuple[int, np.ndarray] | None = None
    busy: bool = False
    alone: bool = False
    since: float = field(default_factory=time.monotonic)  # when it began to wait for a frame
    anchors: list[Anchor] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.pursuit.prompts)

    @property
    def prompts(self) -> np.ndarray:
        """Those of the frame that comes next, as long as it has some."""
        known = self.pursuit.known
        if len(self.anchors) < len(known):
            return np.asarray(known[len(self.anchors)][1], np.float32)
        return self.pursuit.prompts

    def answer(self, k: int) -> StepOutput | None:
        """What is known of a frame that the walk comes to."""
        return next((a.out for a in self.anchors if a.frame == k and self.step), None)


class Lockstep:
    """Follows objects through many videos side by side, with one SAM2 tracker.

    Several threads may call :meth:`step`; passes that one of them works on are left alone by the
    others.

    Args:
        tracker: the tracker
        objects: how many objects to track in one step, at most; a pass with more goes alone. 1
            for results that are bit by bit those of the tracker itself
        held_bytes (256 MiB): the most memory for features that are kept for another pass
        comes_back (False): whether objects of the same videos may be added later, until a video is
            released: then features are kept for them, too, as long as there is room
        patience (None): for how many seconds a pass waits for a frame, before it is given up. By
            default, however long it takes
    """

    def __init__(
        self,
        tracker: Sam2Tracker,
        objects: BatchSize,
        held_bytes: int = 256 * 2**20,
        comes_back: bool = False,
        patience: float | None = None,
    ):
        self._tracker = tracker
        self._objects = objects
        self._held = HeldFeatures(held_bytes, comes_back)
        self._patience = patience
        self._changed = threading.Condition()
        self._passes: list[_Pass] = []  # the oldest first
        self._videos: dict[int, list[_Pass]] = defaultdict(list)  # by the video's id

    @property
    def count(self) -> int:
        """How many passes there are."""
        return len(self._passes)

    def wants_more(self, threads: int = 1) -> bool:
        """Returns whether more pursuits would fill the steps of that many threads better."""
        with self._changed:
            # A pass at its key frame will be two
            objects = sum(one.count * (1 if one.step else 2) for one in self._passes)
        return objects < threads * self._objects.size + 1

    def add(self, pursuits: Sequence[Pursuit]) -> None:
        """Starts pursuits; those through one video are best added together."""
        for pursuit in pursuits:
            feed = self._feed(pursuit, pursuit.key_frame, 1, pursuit.known)
            start = _Pass(pursuit, self._tracker.new_memory(), feed, 0, pursuit.key_frame)
            with self._changed:
                self._add(start)

    def step(self, seconds: float = 0.1) -> list[Found | Ended]:
        """Takes one step with those passes that are ready and can go together.

        Args:
            seconds (0.1): how long to wait until one is ready

        Returns:
            what came of it, in the order of the pursuits; empty if none was ready. What fails is
            in it, too; a step that does not fit into memory is tried again with fewer objects
        """
        results: list[Found | Ended] = []
        with self._changed:
            self._changed.wait_for(lambda: any(map(_is_ready, self._passes)), seconds)
            chosen = self._choose(results)
        try:
            if chosen:
                results += self._go_on(chosen)
        except Exception as error:
            results += self._failed(chosen, error)
        finally:
            with self._changed:
                for one in chosen:
                    one.busy = False
                self._changed.notify_all()
        return results

    def _failed(self, chosen: list[_Pass], error: Exception) -> list[Ended]:
        """Nothing is lost: the frames were taken, but no memory was changed."""
        count = sum(one.count for one in chosen)
        if is_out_of_memory(error):
            self._objects.halve(count)
        else:
            for one in chosen:
                one.alone = True  # so that it shows whose fault it is
        if len(chosen) > 1:
            return []
        with self._changed:
            return [self._end(chosen[0].pursuit, error)]

    def close(self) -> None:
        """Stops decoding."""
        with self._changed:
            for one in self._passes:
                one.feed.close()
            self._passes.clear()
            self._videos.clear()
            self._held.clear()

    def release(self, video: Any) -> None:
        """Lets go of what is kept of a video of which no more objects will come."""
        with self._changed:
            self._held.release(video)

    def _feed(self, of: Pursuit, start: int, step: int, known: Sequence[Known] = ()) -> Feed:
        walk = walk_within(of.video, start, step, of.within)
        return Feed(_one_after_the_other(read_known(of.video, known), walk), _AHEAD, self._changed)

    def _add(self, one: _Pass) -> None:
        self._passes.append(one)
        self._videos[id(one.pursuit.video)].append(one)

    def _choose(self, results: list[Found | Ended]) -> list[_Pass]:
        """Takes the next frame of every pass that is ready, and those to go on with."""
        ready = []
        for one in list(self._passes):
            # It may be gone by now: another pass of its pursuit failed
            if not one.busy and one in self._passes and self._take(one, results):
                ready.append(one)
        if not ready:
            return []
        model = self._tracker.model
        # The oldest first, so that videos are done one after the other, not all at the end
        form = _form(model, ready[0])
        group = [one for one in ready if _form(model, one) == form]
        most = self._objects.size if can_go_together(model) else 1
        chosen: list[_Pass] = []
        for one in group:
            full = sum(p.count for p in chosen) + one.count > most
            if chosen and (full or one.alone or chosen[0].alone):
                break
            chosen.append(one)
        for one in chosen:
            one.busy = True
        return chosen

    def _take(self, one: _Pass, results: list[Found | Ended]) -> bool:
        """Whether the pass has a frame to go on with; ends it at the end of its video."""
        if one.taken is not None:
            return True
        if not one.feed.ready:
            if self._patience is not None and time.monotonic() - one.since > self._patience:
                results.append(self._end(one.pursuit, _stalled(one, self._patience)))
            return False
        try:
            one.taken = one.feed.take()
            if one.taken is not None:
                k, frame = one.taken
                check_frame(k, frame, one.pursuit.video.size[::-1])
                known = one.answer(k)
                if known is None:
                    return True
                one.memory.skip()
                results.append(self._found(one, known, 0.0))
                return False
        except Exception as error:
            results.append(self._end(one.pursuit, error))
            return False
        pursuit = one.pursuit
        self._remove(one)
        if not any(other.pursuit is pursuit for other in self._passes):
            results.append(Ended(pursuit, pursuit.frames_found))
        return False

    def _end(self, pursuit: Pursuit, error: Exception) -> Ended:
        for one in [one for one in self._passes if one.pursuit is pursuit]:
            self._remove(one)
        return Ended(pursuit, pursuit.frames_found, error)

    def _remove(self, one: _Pass) -> None:
        one.feed.close()
        self._passes.remove(one)
        passes = self._videos[id(one.pursuit.video)]
        passes.remove(one)
        self._forget(one.pursuit.video)
        if not passes:
            del self._videos[id(one.pursuit.video)]

    def _go_on(self, chosen: list[_Pass]) -> list[Found | Ended]:
        started = time.perf_counter()
        features = self._features(chosen)
        outputs = self._tracker.step_together(
            features,
            [one.memory for one in chosen],
            [one.prompts for one in chosen],
            [one.pursuit.video.size for one in chosen],
        )
        found: list[Found | Ended] = []
        seconds = (time.perf_counter() - started) / len(chosen)
        scores = [scores_of(out) for out in outputs]
        with self._changed:
            for one, out, sure in zip(chosen, outputs, scores, strict=True):
                if one not in self._passes:  # another pass of its pursuit failed meanwhile
                    continue
                if one.step == 0 and len(one.anchors) < len(one.pursuit.known):
                    self._anchor(one, out)
                    continue
                found.append(self._found(one, out, seconds, sure))
                if one.step == 0:
                    self._part(one)
                self._forget(one.pursuit.video)
        return found

    def _found(
        self, one: _Pass, out: StepOutput, seconds: float, scores: np.ndarray | None = None
    ) -> Found:
        """The pass has come to the frame that it took."""
        size = one.pursuit.video.size[::-1]
        one.frame, one.taken = (one.taken or (one.frame, None))[0], None
        one.since = time.monotonic()
        sure = scores_of(out) if scores is None else scores
        encode = partial(self._tracker.frame_masks, one.frame, size, out.mask_logits, sure)
        one.pursuit.frames_found += 1
        return Found(one.pursuit, one.frame, encode, seconds)

    def _anchor(self, one: _Pass, out: StepOutput) -> None:
        """A known frame is done: the next one has a memory of its own."""
        k, _ = one.taken  # type: ignore[misc]
        one.anchors.append(Anchor(k, one.memory, out))
        one.memory, one.taken, one.since = self._tracker.new_memory(), None, time.monotonic()

    def _part(self, one: _Pass) -> None:
        """Goes on from the key frame in both directions."""
        pursuit, key = one.pursuit, one.frame
        if key > (pursuit.within or (0,))[0]:
            feed = self._feed(pursuit, key - 1, -1)
            back = _Pass(pursuit, fork(one.memory), feed, -1, key, anchors=one.anchors)
            join_anchors(back.memory, one.anchors, key, -1)
            self._passes.insert(self._passes.index(one) + 1, back)
            self._videos[id(pursuit.video)].append(back)
        join_anchors(one.memory, one.anchors, key, 1)
        one.step = 1

    def _features(self, chosen: list[_Pass]) -> list[FrameFeatures]:
        """The features of each pass's frame; a frame that nobody encoded yet is encoded now."""
        wanted: dict[Key, tuple[Any, np.ndarray, FrameFeatures | None]] = {}
        keys = []
        with self._changed:
            for one in chosen:
                k, frame = one.taken  # type: ignore[misc]
                video = one.pursuit.video
                keys.append((id(video), k))
                wanted[keys[-1]] = (video, frame, self._held.get(video, k))
        ready = {key: features for key, (_, _, features) in wanted.items() if features is not None}
        missing = [key for key in wanted if key not in ready]
        # Frames of one size go together
        by_size: dict[tuple[int, ...], list[Key]] = defaultdict(list)
        for key in missing:
            by_size[wanted[key][1].shape].append(key)
        for group in by_size.values():
            encoded = self._tracker.encode([wanted[key][1] for key in group])
            ready.update(zip(group, encoded, strict=True))
        with self._changed:
            for key in missing:
                self._keep(wanted[key][0], key[1], ready[key], chosen)
        return [ready[key] for key in keys]

    def _keep(self, video: Any, k: int, features: FrameFeatures, chosen: list[_Pass]) -> None:
        """Keeps features that another pass will come to, if there is room."""
        passes = self._videos.get(id(video))
        if passes is not None:
            others = [p for p in passes if p not in chosen or (p.taken or (-1,))[0] != k]
            self._held.keep(video, k, features, _is_needed(k, others))

    def _forget(self, video: Any) -> None:
        passes = self._videos[id(video)]
        for k in self._held.needed(video):
            if not _is_needed(k, passes):
                self._held.done(video, k)


def _is_needed(k: int, passes: Sequence[_Pass]) -> bool:
    """Whether one of some passes through a video has yet to come to frame ``k``."""
    return any(
        (p.frame < k and p.step >= 0) or (p.frame > k and p.step <= 0) or p.step == 0
        for p in passes
    )


def _form(model: Any, one: _Pass) -> tuple[Any, int]:
    """What must be the same for passes to go one step together."""
    return form_of(model, one.memory), points_of(one.prompts) if one.step == 0 else 0


def _one_after_the_other(*walks: Iterator[Any]) -> Iterator[Any]:
    """As itertools.chain, but what is closed closes its parts."""
    for walk in walks:
        yield from walk


def _is_ready(one: _Pass) -> bool:
    return not one.busy and (one.taken is not None or one.feed.ready)


def _stalled(one: _Pass, seconds: float) -> TimeoutError:
    after = f"frame {one.frame}" if one.step else "its key frame was asked for"
    return TimeoutError(
        f"the video gave no frame for {seconds:g} seconds after {after}: check the disk or the "
        "network that it is on"
    )
