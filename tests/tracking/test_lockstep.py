"""Passes side by side give what they give alone."""

import threading

import pytest
import torch
from passes import ONE, TWO, Noise, aged_tracker, follow
from pocket_tracker import pocket_tracker

from fiftyone_revseg.models.batch_size import BatchSize
from fiftyone_revseg.prefetch import Feed
from fiftyone_revseg.tracking import track_both_ways
from fiftyone_revseg.tracking.lockstep import Ended, Lockstep, Pursuit


def assert_equal(tracker, pursuit, found, exact):
    tracks = track_both_ways(tracker, pursuit.video, pursuit.key_frame, pursuit.prompts)
    assert sorted(found) == list(range(len(pursuit.video)))
    for n, track in enumerate(tracks):
        for k, masks in found.items():
            assert masks.rles[n] == track.rles[k]
            if exact:  # up to the last bit, in which the kernels of some processors differ
                assert float(masks.scores[n]) == pytest.approx(track.scores[k], abs=1e-6)
            assert masks.scores[n] == pytest.approx(track.scores[k], abs=1e-5)


@pytest.mark.parametrize("make", [pocket_tracker, aged_tracker])
@pytest.mark.parametrize("objects", [1, 3, 16])
def test_equals_the_tracker_alone(make, objects):
    tracker = make()
    short, long = Noise(9), Noise(23, seed=1)
    pursuits = [
        Pursuit(short, 0, ONE),
        Pursuit(long, 4, TWO),
        Pursuit(long, 15, ONE),
        Pursuit(Noise(14, seed=2), 13, TWO),
        Pursuit(Noise(1, seed=3), 0, ONE),
    ]
    found, ended = follow(Lockstep(tracker, BatchSize("tracking", objects)), pursuits)
    assert set(ended.values()) == {None}
    for pursuit, masks in zip(pursuits, found, strict=True):
        assert_equal(tracker, pursuit, masks, exact=objects == 1)


@pytest.mark.parametrize(("held_bytes", "most"), [(2**30, 40), (0, 80), (100_000, 79)])
def test_a_frame_is_encoded_once_for_all_as_far_as_memory_goes(held_bytes, most, monkeypatch):
    tracker, encoded = pocket_tracker(), []
    encode = tracker.encode
    monkeypatch.setattr(tracker, "encode", lambda f: encoded.extend(f) or encode(f))
    video = Noise(40)
    lockstep = Lockstep(tracker, BatchSize("tracking", 8), held_bytes=held_bytes)
    pursuits = [Pursuit(video, 12, ONE), Pursuit(video, 25, TWO)]
    follow(lockstep, pursuits)
    assert 40 <= len(encoded) <= most
    assert lockstep._held.room == held_bytes  # all features are gone


def test_a_video_that_breaks_takes_no_other_along():
    tracker = pocket_tracker()
    pursuits = [Pursuit(Noise(12, breaks_at=8), 3, ONE), Pursuit(Noise(12, seed=1), 3, ONE)]
    found, ended = follow(Lockstep(tracker, BatchSize("tracking", 8)), pursuits)
    assert isinstance(ended[0], OSError)
    assert ended[1] is None
    assert_equal(tracker, pursuits[1], found[1], exact=False)


def test_less_goes_together_once_memory_ran_out(monkeypatch, caplog):
    tracker, counts = pocket_tracker(), []
    step = tracker.step_together

    def limited(features, memories, boxes, sizes):
        counts.append(sum(map(len, boxes)))
        if counts[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(features, memories, boxes, sizes)

    monkeypatch.setattr(tracker, "step_together", limited)
    size = BatchSize("tracking", 8)
    pursuits = [Pursuit(Noise(10, seed=i), 3, ONE) for i in range(6)]
    found, ended = follow(Lockstep(tracker, size), pursuits)
    assert set(ended.values()) == {None}
    assert size.size <= 2
    assert "Out of memory with" in caplog.text
    assert sum(count > 2 for count in counts) <= 2
    monkeypatch.undo()
    for pursuit, masks in zip(pursuits, found, strict=True):
        assert_equal(tracker, pursuit, masks, exact=False)


def test_what_never_fits_fails_alone(monkeypatch):
    tracker = pocket_tracker()
    step = tracker.step_together

    def limited(features, memories, boxes, sizes):
        if any(len(b) > 1 for b in boxes):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(features, memories, boxes, sizes)

    monkeypatch.setattr(tracker, "step_together", limited)
    pursuits = [Pursuit(Noise(6), 2, TWO), Pursuit(Noise(6, seed=1), 2, ONE)]
    _, ended = follow(Lockstep(tracker, BatchSize("tracking", 8)), pursuits)
    assert isinstance(ended[0], torch.OutOfMemoryError)
    assert ended[1] is None


def test_a_fault_of_one_pass_is_told_from_the_others(monkeypatch):
    tracker = pocket_tracker()
    step = tracker.step_together

    def picky(features, memories, boxes, sizes):
        if any((b == TWO[1:]).all() for b in boxes):
            raise RuntimeError("a bug")
        return step(features, memories, boxes, sizes)

    monkeypatch.setattr(tracker, "step_together", picky)
    pursuits = [Pursuit(Noise(6, seed=i), 2, box) for i, box in enumerate((ONE, TWO[1:], ONE))]
    _, ended = follow(Lockstep(tracker, BatchSize("tracking", 8)), pursuits)
    assert [type(ended[i]) for i in range(3)] == [type(None), RuntimeError, type(None)]


def test_nobody_waits_for_a_decoder_that_hangs():
    go_on = threading.Event()

    class Hanging(Noise):
        def walk(self, start, step=1):
            for item in super().walk(start, step):
                if item[0] == 5:
                    go_on.wait(60)
                yield item

    tracker = pocket_tracker()
    lockstep = Lockstep(tracker, BatchSize("tracking", 8))
    hanging, other = Pursuit(Hanging(12), 3, ONE), Pursuit(Noise(12, seed=1), 3, ONE)
    lockstep.add([hanging, other])
    results = []
    while not any(isinstance(r, Ended) for r in results):
        results += lockstep.step()
    assert results[-1].pursuit is other
    go_on.set()
    while sum(isinstance(r, Ended) for r in results) < 2:
        results += lockstep.step()
    assert lockstep.count == 0


def test_a_video_that_gives_no_more_frames_is_given_up():
    go_on = threading.Event()

    class Hanging(Noise):
        def walk(self, start, step=1):
            for item in super().walk(start, step):
                if item[0] == 5:
                    go_on.wait(60)
                yield item

    lockstep = Lockstep(pocket_tracker(), BatchSize("tracking", 8), patience=0.3)
    pursuits = [Pursuit(Hanging(8), 3, ONE), Pursuit(Noise(8, seed=1), 3, ONE)]
    found, ended = follow(lockstep, pursuits)
    assert isinstance(ended[0], TimeoutError)
    assert "no frame for 0.3 seconds after frame 4" in str(ended[0])
    assert ended[1] is None
    assert sorted(found[1]) == list(range(8))
    go_on.set()


def test_threads_share_the_work():
    tracker = pocket_tracker()
    lockstep = Lockstep(tracker, BatchSize("tracking", 2))
    pursuits = [Pursuit(Noise(15, seed=i), 5, ONE) for i in range(6)]
    lockstep.add(pursuits)
    results = []

    def work():
        while lockstep.count:
            results.extend(lockstep.step(0.01))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pursuit in pursuits:
        found = {r.frame: r.encode() for r in results if r.pursuit is pursuit and not ended(r)}
        assert_equal(tracker, pursuit, found, exact=False)
    assert sum(map(ended, results)) == 6


def ended(result):
    return isinstance(result, Ended)


def test_a_feed_makes_no_more_than_may_wait():
    made, changed = [], threading.Condition()
    feed = Feed((made.append(i) or i for i in range(100)), 3, changed)
    taken = []
    while (item := take(feed, changed)) is not None:
        taken.append(item)
        assert len(made) - len(taken) <= 4
    assert taken == list(range(100))
    feed.close()


def test_a_feed_raises_after_what_came_before():
    def items():
        yield 1
        raise OSError("a scratch")

    changed = threading.Condition()
    feed = Feed(items(), 3, changed)
    assert take(feed, changed) == 1
    with pytest.raises(OSError, match="a scratch"):
        take(feed, changed)


def take(feed, changed):
    with changed:
        assert changed.wait_for(lambda: feed.ready, 60)
    return feed.take()
