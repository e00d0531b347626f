"""The engine gives what the pipeline gives, whatever goes wrong with some of the videos."""

import itertools
import threading
import time
from contextlib import closing

import numpy as np
import pytest
from fake_models import ANSWERS, SPEC, BoxTracker, ScriptedReasoner
from waiting import wait_until

from fiftyone_revseg.engine import EngineJob, LocalEngine
from fiftyone_revseg.engine.channel import Channel, Stopped
from fiftyone_revseg.models.batch_size import BatchSize
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.pipeline import work as work_module
from fiftyone_revseg.pipeline.work import Work
from fiftyone_revseg.reasoning.rolling import RollingChain
from fiftyone_revseg.types import FrameTable

QUERIES = ("the cat", "both", "the ghost", "the blur")


class FakeVideo:
    """Ten grey frames; counts what is open, and may hang or break."""

    size, fps, first_frame, duration = (64, 48), 10.0, 0, 1.0
    opened, most_open = 0, 0

    def __init__(self, path):
        if "missing" in path:
            raise OSError(f"there is no {path}")
        self.path = path
        FakeVideo.opened += 1
        FakeVideo.most_open = max(FakeVideo.most_open, FakeVideo.opened)
        self._open = True

    def __len__(self):
        return 10

    def __getitem__(self, k):
        return np.full((48, 64, 3), 20 * k, np.uint8)

    def time(self, k):
        return k / 10

    def sample(self, count):
        return FrameTable((0, 3, 6, 9), (0.0, 0.3, 0.6, 0.9), 10, 1.0)

    def frames(self, indices):
        return [self[k] for k in indices]

    def walk(self, start, step=1):
        for k in range(start, 10 if step > 0 else -1, step):
            if "broken" in self.path and k == 5:
                raise OSError("a scratch")
            yield k, self[k]

    def close(self):
        if self._open:
            self._open = False
            FakeVideo.opened -= 1


class HeldTracker(BoxTracker):
    """Gives masks only once it is let go."""

    def __init__(self):
        super().__init__()
        self.started, self.held = threading.Event(), threading.Event()

    def track(self, frames, boxes):
        self.started.set()
        self.held.wait(30)
        yield from super().track(frames, boxes)


@pytest.fixture(autouse=True)
def _fake_videos(monkeypatch, request):
    if request.node.originalname == "test_equals_the_pipeline":
        return
    monkeypatch.setattr(work_module, "open_video", lambda path, *_, **__: FakeVideo(str(path)))
    monkeypatch.setattr(FakeVideo, "opened", 0)
    monkeypatch.setattr(FakeVideo, "most_open", 0)


def engine(reasoner=None, tracker=None, **options):
    pipeline = RevSeg(reasoner or ScriptedReasoner(ANSWERS), tracker or BoxTracker())
    return LocalEngine(pipeline, **options)


def jobs(count, queries=("the cat",)):
    return [EngineJob(f"{i}.mp4", queries, key=i) for i in range(count)]


def run(one, todo, **options):
    """Answers by key; every job once."""
    answered = {}
    for job, answers in one.run(todo, **options):
        assert job.key not in answered
        assert [a.query for a in answers] == list(job.queries)
        answered[job.key] = answers
    return answered


def threads():
    return [t for t in threading.enumerate() if t.name == "revseg-engine"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"dialogues": 3, "objects": 3, "trackers": 2}])
def test_equals_the_pipeline(tmp_path, options):
    import torch

    import fiftyone_revseg as revseg
    from fiftyone_revseg.synthetic import make_world, write_video
    from fiftyone_revseg.synthetic.queries import pick_queries

    torch.set_num_threads(1)
    pipeline = revseg.load_pipeline("revseg-nano", device="cpu")
    todo = []
    for seed in (0, 5, 7):
        world = make_world(seed, "test", frame_count=9)
        write_video(tmp_path / f"{seed}.mp4", world.render()[0], world.fps)
        texts = tuple(query.text for query in pick_queries(world, 100)[:2])
        todo.append(EngineJob(str(tmp_path / f"{seed}.mp4"), texts, key=seed))
    todo.append(EngineJob(str(tmp_path / "missing.mp4"), ("the star",), key="missing"))
    todo.append(EngineJob(str(tmp_path / "0.mp4"), ("the star", ""), (2, 7), key="clip"))
    answered = run(LocalEngine(pipeline, **options), todo)
    assert len(answered) == len(todo)
    for job in todo:
        expected = pipeline.segment(job.video, job.queries, job.frame_range)
        for ours, theirs in zip(answered[job.key], expected, strict=True):
            assert (ours.status, ours.reason) == (theirs.status, theirs.reason)
            assert (ours.path, ours.fps, ours.model) == (theirs.path, theirs.fps, theirs.model)
            assert ours.first_frame == theirs.first_frame
            assert ours.trajectory.choices == theirs.trajectory.choices
            assert [t.reply for t in ours.trajectory.turns] == [
                t.reply for t in theirs.trajectory.turns
            ]
            assert set(ours.timings) == set(theirs.timings)
            for track, other in zip(ours.tracks, theirs.tracks, strict=True):
                assert track.rles == other.rles
                np.testing.assert_allclose(track.scores, other.scores, atol=1e-5)


def test_every_job_is_answered_with_any_models():
    answered = run(engine(), jobs(20, QUERIES))
    assert sorted(answered) == list(range(20))
    for answers in answered.values():
        assert [str(a.status) for a in answers] == ["ok", "ok", "no_target", "bad_box"]
        assert len(answers[1].tracks[1].visible_frames) == 10
    assert not threads()
    assert FakeVideo.opened == 0


def test_turns_of_different_videos_share_batches():
    reasoner = ScriptedReasoner(ANSWERS)
    run(engine(reasoner, dialogues=4), jobs(8, ("both",)))
    assert sum(reasoner.batches) == 8 * 3  # turn 1, and turn 2 for each object
    assert max(reasoner.batches) == 4


def test_dialogues_wait_for_others_while_there_is_enough_to_track():
    reasoner, tracker = ScriptedReasoner(ANSWERS), HeldTracker()

    def few_at_a_time():
        first, second, *others = jobs(6)
        yield first
        assert wait_until(tracker.started.is_set, 30)
        yield second
        assert wait_until(lambda: sum(reasoner.batches) == 4, 30)  # both turns of two dialogues
        for job in others:
            yield job
            time.sleep(0.05)
        assert wait_until(lambda: sum(reasoner.batches) > 4, 30)
        tracker.held.set()

    try:
        assert len(run(engine(reasoner, tracker, dialogues=4), few_at_a_time())) == 6
    finally:
        tracker.held.set()
    assert reasoner.batches == [1, 1, 1, 1, 4, 4]


@pytest.mark.parametrize("name", ["missing.mp4", "broken.mp4"])
def test_a_bad_video_takes_no_other_along(name):
    todo = jobs(5)
    todo.insert(2, EngineJob(name, ("the cat", "the ghost"), key="bad"))
    answered = run(engine(), todo)
    bad, _ = answered.pop("bad")
    assert str(bad.status) == "error"
    assert {str(a.status) for (a,) in answered.values()} == {"ok"}
    assert FakeVideo.opened == 0


def test_a_reasoner_that_crashes_is_told_from_the_others():
    class Crashing(ScriptedReasoner):
        def generate(self, conversations, spec):
            if any('"the blur"' in c.messages[0].text for c in conversations):
                raise RuntimeError("a bug")
            return super().generate(conversations, spec)

    answered = run(engine(Crashing(ANSWERS)), jobs(3, ("the cat", "the blur")))
    for cat, blur in answered.values():
        assert str(cat.status) == "ok"
        assert (str(blur.status), "a bug" in blur.reason) == ("error", True)


def test_batches_shrink_when_memory_runs_out(caplog):
    import torch

    class Small(ScriptedReasoner):
        def generate(self, conversations, spec):
            if len(conversations) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().generate(conversations, spec)

    one = engine(Small(ANSWERS), dialogues=8)
    answered = run(one, jobs(10))
    assert {str(a.status) for (a,) in answered.values()} == {"ok"}
    assert one.dialogues.size == 2
    said = [r.message for r in caplog.records if "Out of memory" in r.message]
    assert said
    assert len(said) <= 2


def test_a_dialogue_that_never_fits_is_an_error():
    import torch

    class Tiny(ScriptedReasoner):
        def generate(self, conversations, spec):
            raise torch.OutOfMemoryError("CUDA out of memory")

    answered = run(engine(Tiny(ANSWERS)), jobs(2))
    assert all("OutOfMemoryError" in a.reason for (a,) in answered.values())


def test_the_caller_may_stop_early():
    taken = []
    source = (taken.append(job) or job for job in jobs(10_000))
    with closing(engine().run(source)) as answered:
        assert len(list(itertools.islice(answered, 3))) == 3
    assert not threads()
    assert FakeVideo.opened == 0
    assert len(taken) < 200


def test_what_a_report_raises_stops_the_run():
    def stop(job, stage, done, total):
        if (job.key, stage) == (2, "track"):
            raise KeyboardInterrupt

    done = []
    with pytest.raises(KeyboardInterrupt):
        done.extend(job.key for job, _ in engine().run(jobs(50), stop))
    assert not threads()
    assert FakeVideo.opened == 0


def test_reports_come_in_the_order_of_the_stages():
    seen = []
    run(engine(), jobs(3), report=lambda job, *stage: seen.append((job.key, *stage)))
    for key in range(3):
        stages = [stage for k, stage, *_ in seen if k == key]
        assert [stage for stage, _ in itertools.groupby(stages)] == ["decode", "reason", "track"]
        assert (key, "track", 11, 11) in seen  # both directions begin at the key frame


def test_the_callers_own_errors_come_out():
    def source():
        yield from jobs(2)
        raise LookupError("the list of videos is gone")

    with pytest.raises(LookupError, match="the list of videos"):
        list(engine().run(source()))
    assert not threads()


def test_a_video_that_hangs_holds_up_nobody(monkeypatch):
    go_on = threading.Event()

    def open_slowly(path, *_, **__):
        if str(path) == "0.mp4":
            go_on.wait(60)
        return FakeVideo(str(path))

    monkeypatch.setattr(work_module, "open_video", open_slowly)
    answered = []
    for job, _ in engine().run(jobs(12)):
        answered.append(job.key)
        if len(answered) == 11:
            assert 0 not in answered
            go_on.set()
    assert answered[-1] == 0


def test_videos_that_hang_for_good_are_given_up(monkeypatch):
    go_on = threading.Event()

    def open_slowly(path, *_, **__):
        if str(path) in ("0.mp4", "1.mp4", "2.mp4"):  # more than there are threads that decode
            go_on.wait(60)
        return FakeVideo(str(path))

    monkeypatch.setattr(work_module, "open_video", open_slowly)
    answered = run(engine(patience=0.3), jobs(8))
    for key, (answer,) in answered.items():
        assert str(answer.status) == ("unreadable" if key < 3 else "ok")
    assert "could not be read within 0.3 seconds" in answered[0][0].reason
    go_on.set()
    end = time.monotonic() + 10
    while FakeVideo.opened and time.monotonic() < end:  # what comes too late is closed
        time.sleep(0.01)
    assert FakeVideo.opened == 0


def test_the_caller_may_stop_while_a_video_does_not_close(monkeypatch):
    from fiftyone_revseg.engine import local

    def stop(job, stage, done, total):
        if stage == "reason":
            raise KeyboardInterrupt

    go_on, closed = threading.Event(), []
    monkeypatch.setattr(local, "_PATIENCE", 0.2)
    monkeypatch.setattr(FakeVideo, "close", lambda self: closed.append(go_on.wait(60)))
    with pytest.raises(KeyboardInterrupt):
        run(engine(), jobs(10), report=stop)
    assert not closed
    go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("revseg"):
            thread.join(10)


@pytest.mark.parametrize("count", [20, 400])
def test_what_is_open_does_not_grow_with_the_number_of_videos(count):
    run(engine(dialogues=4, objects=2), jobs(count))
    # Every queue and every thread may hold some, but each only as many as it may
    assert FakeVideo.most_open <= 4 + 2 + 2 + 4 + 64 + 8
    assert FakeVideo.opened == 0


def test_a_slow_caller_holds_everything_up():
    opened = []
    source = (opened.append(job) or job for job in jobs(1000))
    with closing(engine(dialogues=2, objects=2).run(source)) as answered:
        next(answered)
        time.sleep(0.5)
        assert len(opened) < 150


def test_second_turns_go_with_first_turns_of_similar_length():
    reasoner = ScriptedReasoner(ANSWERS)
    spec = SPEC.replace(frame_size=448, frames=4)
    chain = RollingChain(reasoner, spec, BatchSize("r", 2))
    pipeline = RevSeg(reasoner, BoxTracker(), spec)
    for key, job in enumerate(jobs(3)):
        work = Work(pipeline, job)
        work.open()
        chain.add(key, work.talks())
    done = []
    while chain.waiting:
        done += chain.step()
    assert sorted(key for key, _ in done) == [0, 1, 2]
    assert sum(reasoner.batches) == 6
    assert max(reasoner.batches) == 2


def test_numbers_below_one_are_refused():
    for options in ({"dialogues": 0}, {"objects": -1}, {"trackers": 0}):
        with pytest.raises(ValueError, match="give 1 or more"):
            engine(**options)
    with pytest.raises(ValueError, match="patience of 0"):
        engine(patience=0)


def test_channels_end_when_the_engine_stops():
    stop = threading.Event()
    full, empty = Channel(1, stop), Channel(2, stop)
    full.put(1)
    raised = []

    def expect(call):
        try:
            call()
        except Stopped:
            raised.append(call)

    waiting = [lambda: full.put(2), lambda: empty.get()]
    started = [threading.Thread(target=expect, args=(call,)) for call in waiting]
    for thread in started:
        thread.start()
    stop.set()
    for thread in started:
        thread.join(10)
    assert len(raised) == 2


def test_a_channel_ends_with_the_last_of_its_writers():
    channel = Channel(4, threading.Event())
    channel.writers = 2
    channel.put("one")
    channel.close()
    assert not channel.ended
    channel.put("two")
    channel.close()
    assert [channel.get(), channel.get(), channel.get()] == ["one", "two", None]
    assert channel.ended


def test_order_is_kept_but_not_at_any_price():
    channel = Channel(4, threading.Event(), patience=0.2)
    first, second, third = (channel.begin() for _ in range(3))
    channel.put("second", second)
    assert channel.get(wait=False) is None  # the first may come any moment
    channel.put("first", first)
    assert [channel.get(), channel.get()] == ["first", "second"]
    slow = channel.begin()
    channel.put("later")
    channel.cancel(third)
    assert channel.get() == "later"  # after a while
    channel.put("slow", slow)
    channel.close()
    assert [channel.get(), channel.get()] == ["slow", None]
