"""Videos that hang, break or are many, while the model looks again at what was tracked."""

import threading
import time

import numpy as np
import pytest
from fake_models import BoxTracker
from pocket_tracker import pocket_tracker
from scripted_looks import SPEC, Model, choices, verdict

from fiftyone_revseg.engine import LocalEngine
from fiftyone_revseg.pipeline import EngineJob, RevSeg
from fiftyone_revseg.pipeline import work as work_module
from fiftyone_revseg.reasoning import Reply
from fiftyone_revseg.reasoning.rolling import run_talks
from fiftyone_revseg.tracking.lockstep import Ended
from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video import VideoError


class GreyVideo:
    """Frames at one a second; ``reads`` is called before one is given."""

    size, fps, first_frame = (64, 48), 1.0, 0

    def __init__(self, path, count=10, reads=None):
        self.path, self.count, self.reads = path, count, reads or (lambda k: None)
        self.duration = float(count)
        self.closed = False

    def __len__(self):
        return self.count

    def __getitem__(self, k):
        self.reads(k)
        return np.full((48, 64, 3), 5 * k % 256, np.uint8)

    def time(self, k):
        return float(k)

    def sample(self, count):
        indices = tuple(np.linspace(0, self.count - 1, min(count, self.count)).round().astype(int))
        indices = tuple(map(int, indices))
        return FrameTable(indices, tuple(map(float, indices)), self.count, self.duration)

    def frames(self, indices):
        return [self[k] for k in indices]

    def walk(self, start, step=1):
        for k in range(start, self.count if step > 0 else -1, step):
            yield k, self[k]

    def close(self):
        self.closed = True


def jobs(count, *queries):
    return [EngineJob(f"{i}.mp4", queries or ("the cat",), key=i) for i in range(count)]


def engine(model, tracker=None, spec=SPEC, **options):
    return LocalEngine(RevSeg(model, tracker or BoxTracker(), spec), **options)


@pytest.fixture
def go_on():
    event = threading.Event()
    yield event
    event.set()
    for thread in threading.enumerate():
        if thread.name.startswith("revseg"):
            thread.join(10)


def test_a_frame_that_hangs_in_turn_3_holds_up_nobody_for_long(monkeypatch, go_on):
    """The reasoning thread reads frames for turn 3, for all videos."""
    opened = {}

    def opens(path, *_, **__):
        def reads(k):
            if str(path) == "0.mp4" and k in (4, 5):  # none that turn 1 sees
                go_on.wait(60)

        opened[str(path)] = GreyVideo(str(path), reads=reads)
        opened[str(path)].walk = lambda start, step=1: (
            (k, np.zeros((48, 64, 3), np.uint8)) for k in range(start, 10 if step > 0 else -1, step)
        )
        return opened[str(path)]

    monkeypatch.setattr(work_module, "open_video", opens)
    model = Model([[(1, "left")]], [verdict(1)])
    # Visible in frames 4 and 5 alone, which are what tells most of it
    tracker = BoxTracker(hidden={*range(10)} - {4, 5})
    started = time.monotonic()
    answers = {
        job.key: found[0]
        for job, found in engine(model, tracker, SPEC.replace(verdict=True), patience=0.3).run(
            jobs(3)
        )
    }
    assert time.monotonic() - started < 20
    assert [str(answers[key].status) for key in range(3)] == ["ok"] * 3
    certainties = [answers[key].trajectory.certainty for key in range(3)]
    assert [c is None for c in certainties] == [True, False, False]
    go_on.set()
    end = time.monotonic() + 10
    while not opened["0.mp4"].closed and time.monotonic() < end:  # what comes too late is closed
        time.sleep(0.01)
    assert all(video.closed for video in opened.values())


class InWindows(Model):
    """Finds something wherever it looks, and remembers how many frames it saw."""

    def _reply(self, conversation):
        if len(conversation.messages) == 1:
            return Reply(choices([(0, "left")]))
        return super()._reply(conversation)


def test_long_videos_are_read_as_long_as_frames_come(monkeypatch):
    def opens(path, *_, **__):
        return GreyVideo(str(path), count=60, reads=lambda k: time.sleep(0.02))

    monkeypatch.setattr(work_module, "open_video", opens)
    spec = SPEC.replace(max_gap=1.0)
    ((_, (answer,)),) = engine(InWindows([]), spec=spec, patience=0.6).run(jobs(1))
    assert (str(answer.status), answer.reason) == ("ok", "")  # 60 frames take longer than that
    assert len(answer.trajectory.looks) == 15


@pytest.mark.parametrize("held", [1000, 8])
def test_a_frame_that_cannot_be_read_costs_its_window_alone(monkeypatch, held):
    def opens(path, *_, **__):
        def reads(k):
            if k == 21:
                raise OSError("a scratch")

        video = GreyVideo(str(path), count=60, reads=reads)
        video.walk = lambda start, step=1: (
            (k, np.zeros((48, 64, 3), np.uint8)) for k in range(start, 60 if step > 0 else -1, step)
        )
        return video

    monkeypatch.setattr(work_module, "open_video", opens)
    monkeypatch.setattr(work_module, "_HELD_BYTES", held * 3 * SPEC.frame_size**2)

    class Nowhere(Model):
        def _reply(self, conversation):
            return Reply(choices([]))

    spec = SPEC.replace(max_gap=1.0)
    ((_, (answer,)),) = engine(InWindows([]), spec=spec).run(jobs(1))
    assert str(answer.status) == "ok"
    errors = {look.frames: look.error for look in answer.trajectory.looks if look.error}
    assert list(errors) == [(20, 21, 22, 23)]
    assert "a scratch" in errors[20, 21, 22, 23]
    # Nor is it among those that are compared where nothing was found
    ((_, (answer,)),) = engine(Nowhere([]), spec=spec).run(jobs(1))
    assert str(answer.status) == "bad_keyframe"
    assert "1 of 15 parts of the video have no usable reply" in answer.reason
    assert len(answer.trajectory.frame_table) == 4


def test_what_waits_does_not_grow_with_the_number_of_samples(monkeypatch):
    opened, most = [], []

    def opens(path, *_, **__):
        opened.append(GreyVideo(str(path)))
        most.append(sum(not video.closed for video in opened))
        return opened[-1]

    monkeypatch.setattr(work_module, "open_video", opens)
    go = threading.Event()

    class Waiting(Model):
        def _reply(self, conversation):
            go.wait(5)
            return super()._reply(conversation)

    spec = SPEC.replace(samples=9)
    running = engine(Waiting([[(1, "left")]] * 10), spec=spec)
    assert running.dialogues.size == 80

    def let_go():
        time.sleep(0.5)
        go.set()

    threading.Thread(target=let_go).start()
    answered = 0
    for _ in running.run(jobs(100)):
        assert answered or len(opened) < 40
        answered += 1
    assert answered == 100


def test_stopping_early_while_jobs_are_handed_back(monkeypatch):
    monkeypatch.setattr(work_module, "open_video", lambda path, *_, **__: GreyVideo(str(path)))
    for stop_after in range(1, 6):
        model = Model([[(1, "left")], [(3, "right")]], [verdict()], again=[(0, "right")])
        spec = SPEC.replace(samples=1, verdict=True, rounds=2)
        running = engine(model, spec=spec, dialogues=2, objects=1).run(jobs(50, "the cat", "a dog"))
        for _ in range(stop_after):
            next(running)
        running.close()
        assert not [t for t in threading.enumerate() if t.name == "revseg-engine"]


def test_small_batches_and_many_queries_all_end(monkeypatch):
    monkeypatch.setattr(work_module, "open_video", lambda path, *_, **__: GreyVideo(str(path)))
    model = Model([[(1, "left")], [(3, "right")]], [verdict()], again=[(2, "near")])
    spec = SPEC.replace(samples=1, verdict=True, rounds=1)
    for dialogues in (1, 3):
        running = engine(model, spec=spec, dialogues=dialogues, objects=1)
        done = list(running.run(jobs(20, *(f"query {i}" for i in range(7)))))
        assert len(done) == 20
        assert all(str(a.status) == "ok" for _, answers in done for a in answers)


def test_where_a_walk_stalled_no_more_frames_are_waited_for(monkeypatch):
    read = []
    monkeypatch.setattr(
        work_module, "open_video", lambda path, *_, **__: GreyVideo(path, reads=read.append)
    )
    model = Model([[(1, "left")]])
    pipeline = RevSeg(model, BoxTracker(), SPEC.replace(verdict=True))
    work = work_module.Work(pipeline, jobs(1)[0])
    work.open(60)
    work.take(run_talks(model, pipeline.spec, work.talks()))
    ask = work._requests()[0].read_frame
    assert ask(4) is not None
    (pursuit,) = work.pursuits()
    work.ended(Ended(pursuit, 0, TimeoutError("the video gave no frame for 60 seconds")))
    seen = len(read)
    with pytest.raises(VideoError, match="gave no frame for 60 seconds"):
        ask(5)
    assert len(read) == seen
    assert not work.go_on()
    (answer,) = work.finish()
    assert "gave no frame for 60 seconds" in answer.reason


@pytest.mark.parametrize("anchors", [0, 1])
def test_what_is_kept_for_later_candidates_is_let_go_with_its_video(monkeypatch, anchors):
    monkeypatch.setattr(work_module, "open_video", lambda path, *_, **__: GreyVideo(str(path)))
    tracker, made = pocket_tracker(), []
    start = tracker.lockstep
    encoded = []
    encode = tracker.encode

    def counting(frames):
        encoded.extend(frames)
        return encode(frames)

    def lockstep(*args, **options):
        made.append(start(*args, **options))
        return made[-1]

    tracker.lockstep, tracker.encode = lockstep, counting
    model = Model([[(1, "left")], [(3, "right")]])
    pipeline = RevSeg(model, tracker, SPEC.replace(samples=1, anchors=anchors))
    running = LocalEngine(pipeline, dialogues=2, objects=2, trackers=1).run(jobs(3))
    rooms = []
    for _ in running:
        rooms.append(made[0]._held.room)
    assert len(rooms) == 3
    assert rooms[-1] == 256 * 2**20
    assert not made[0]._held._videos
    # The second candidate is tracked through frames that were encoded for the first
    assert len(encoded) == 3 * 10
