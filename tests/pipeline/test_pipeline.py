"""The pipeline on real video files, with a scripted model and a tracker that copies its box."""

import json

import numpy as np
import pytest
from fake_models import SPEC, BoxTracker, ScriptedReasoner, write_video
from fake_server import FakeServer
from helper_scripts import run_script
from random_weights import save_random_checkpoint

from fiftyone_revseg.models import presets
from fiftyone_revseg.models.builtin import ModelNotFoundError
from fiftyone_revseg.pipeline import Loading, RevSeg, Segmentation, load_pipeline
from fiftyone_revseg.reasoning import ChainSpec
from fiftyone_revseg.tracking import Sam2Tracker
from fiftyone_revseg.types import Status
from fiftyone_revseg.video import VideoError, open_video

WIDTH, HEIGHT, FRAMES = 64, 48, 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, WIDTH, HEIGHT, FRAMES)
    return path


def test_one_query_from_file_to_masks(clip):
    reasoner = ScriptedReasoner({"the cat": [(1, "a grey cat", [25, 50, 75, 100])]})
    tracker = BoxTracker(hidden=(0, 9))
    (answer,) = RevSeg(reasoner, tracker).segment(clip, "the cat")
    assert (answer.status, answer.reason) == (Status.OK, "")
    assert answer.query == "the cat"
    assert answer.trajectory.think == "thinking"
    # 4 of 10 frames: 0, 3, 6, 9; the box in 64 x 48 pixels
    assert answer.trajectory.key_frames == (3,)
    assert answer.trajectory.groundings[0].box_xyxy_px == pytest.approx((16, 24, 48, 48))
    expected = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    expected[1:9, 24:48, 16:48] = True
    assert np.array_equal(answer.masks(), expected)
    assert answer.tracks[0].object_id == 0
    assert answer.object_status(0) is Status.OK
    assert (answer.size, answer.fps, answer.frame_count) == ((WIDTH, HEIGHT), 10, FRAMES)
    assert answer.model == "scripted + box"
    assert set(answer.timings) == {"decode", "reason", "turn1", "turn2", "track"}
    assert all(seconds >= 0 for seconds in answer.timings.values())


class Looking(ScriptedReasoner):
    """Remembers the pictures that it was shown."""

    def __init__(self, answers):
        super().__init__(answers)
        self.seen = []

    def generate(self, conversations, spec):
        for conversation in conversations:
            for message in conversation.messages:
                self.seen += [part.pixels for part in message.content if hasattr(part, "pixels")]
        return super().generate(conversations, spec)


def test_frames_of_huge_videos_are_not_held_and_look_the_same(clip, monkeypatch):
    seen = []
    for held in (2**29, 0):
        monkeypatch.setattr("fiftyone_revseg.pipeline.work._HELD_BYTES", held)
        reasoner = Looking({"the cat": [(1, "a grey cat", [25, 50, 75, 100])]})
        RevSeg(reasoner, BoxTracker()).segment(clip, "the cat")
        seen.append(reasoner.seen)
    assert [image.shape for image in seen[0]].count((56, 56, 3)) >= 4
    assert (100, 100, 3) in [image.shape for image in seen[0]]
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))


def test_survives_json(clip):
    reasoner = ScriptedReasoner(
        {"both": [(1, "a cat", [25, 50, 75, 100]), (2, "a dog", None)]},
    )
    (answer,) = RevSeg(reasoner, BoxTracker(hidden=(2,))).segment(clip, "both")
    again = Segmentation.from_dict(json.loads(json.dumps(answer.to_dict())))
    assert again.to_dict() == answer.to_dict()
    assert again.trajectory == answer.trajectory
    assert again.status is answer.status
    assert np.array_equal(again.masks(), answer.masks())


def test_queries_of_one_video_share_frames_and_batch(clip):
    class CountingVideo:
        def __init__(self, video):
            self.video, self.decoded = video, []

        def __getattr__(self, name):
            return getattr(self.video, name)

        def __len__(self):
            return len(self.video)

        def frames(self, indices):
            self.decoded += list(indices)
            return self.video.frames(indices)

        def __getitem__(self, k):
            self.decoded.append(k)
            return self.video[k]

    queries = ["the cat", "the dog", "the bird"]
    reasoner = ScriptedReasoner({q: [(2, f"{q}!", [10, 10, 50, 50])] for q in queries})
    with open_video(clip) as video:
        counting = CountingVideo(video)
        answers = RevSeg(reasoner, BoxTracker()).segment(counting, queries)
        assert counting.decoded == [0, 3, 6, 9]  # the key frame is not read a second time
        assert video[0].shape == (HEIGHT, WIDTH, 3)  # still open: it is not ours to close
    assert [answer.query for answer in answers] == queries
    assert reasoner.batches == [3, 3]


def test_objects_that_share_a_key_frame_are_tracked_together(clip):
    reasoner = ScriptedReasoner(
        {
            "all": [
                (1, "one", [0, 0, 50, 50]),
                (3, "two", [50, 0, 100, 50]),
                (1, "three", [0, 50, 50, 100]),
            ]
        }
    )
    tracker = BoxTracker()
    (answer,) = RevSeg(reasoner, tracker).segment(clip, "all")
    # Each key frame once forward and once backward
    assert [(k, len(boxes)) for k, boxes in tracker.calls] == [(3, 2), (3, 2), (9, 1), (9, 1)]
    assert [track.object_id for track in answer.tracks] == [0, 1, 2]
    boxes = [tuple(track.box_xyxy_px(5)) for track in answer.tracks]
    assert boxes == [(0, 0, 32, 24), (32, 0, 64, 24), (0, 24, 32, 48)]


def test_unreadable_video_says_why_for_every_query(tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("this is not a video")
    tracker = BoxTracker()
    for path in (text, tmp_path / "missing.mp4"):
        answers = RevSeg(ScriptedReasoner({}), tracker).segment(path, ["a", "b"])
        assert [a.query for a in answers] == ["a", "b"]
        assert {a.status for a in answers} == {Status.UNREADABLE}
        assert all(path.name in a.reason for a in answers)
        assert all(a.trajectory.status is Status.UNREADABLE for a in answers)
        assert answers[0].masks().shape == (0, 0, 0)
        assert Segmentation.from_dict(answers[0].to_dict()).reason == answers[0].reason
    assert tracker.calls == []


def test_failing_tracker_is_an_error_with_a_reason_and_stays_with_its_query(clip):
    reasoner = ScriptedReasoner(
        {"early": [(0, "e", [0, 0, 50, 50])], "none": [], "late": [(3, "l", [0, 0, 50, 50])]}
    )

    class FailsOnce(BoxTracker):
        def track(self, frames, boxes):
            self.fails_at = 5 if not self.calls else None
            return super().track(frames, boxes)

    early, none, late = RevSeg(reasoner, FailsOnce()).segment(clip, ["early", "none", "late"])
    assert early.status is Status.ERROR
    assert "RuntimeError: out of memory" in early.reason
    assert early.object_status(0) is Status.ERROR
    assert none.status is Status.NO_TARGET
    assert late.status is Status.OK


def test_video_that_breaks_while_tracking_is_unreadable(clip):
    class Breaks(BoxTracker):
        def track(self, frames, boxes):
            raise VideoError("'clip.mp4' is damaged at frame 5")
            yield

    reasoner = ScriptedReasoner({"it": [(0, "e", [0, 0, 50, 50])]})
    (answer,) = RevSeg(reasoner, Breaks()).segment(clip, "it")
    assert answer.status is Status.UNREADABLE
    assert "damaged at frame 5" in answer.reason


def test_lost_where_every_track_is_empty(clip):
    reasoner = ScriptedReasoner({"it": [(0, "e", [0, 0, 50, 50])]})
    (answer,) = RevSeg(reasoner, BoxTracker(hidden=range(FRAMES))).segment(clip, "it")
    assert answer.status is Status.LOST
    assert answer.reason == answer.object_reason(0) != ""
    assert not answer.masks().any()


def test_one_bad_box_of_two_leaves_the_other_object(clip):
    reasoner = ScriptedReasoner({"two": [(0, "seen", [0, 0, 50, 50]), (1, "unseen", None)]})
    (answer,) = RevSeg(reasoner, BoxTracker()).segment(clip, "two")
    assert answer.status is Status.OK
    assert "object 2" in answer.reason
    assert answer.tracks[0] is not None
    assert answer.tracks[1] is None
    assert answer.object_status(1) is Status.BAD_BOX
    assert answer.object_reason(0) == ""
    assert answer.object_reason(1) != ""


def test_no_box_at_all_is_not_tracked(clip):
    reasoner = ScriptedReasoner({"it": [(0, "unseen", None)]})
    tracker = BoxTracker()
    (answer,) = RevSeg(reasoner, tracker).segment(clip, "it")
    assert answer.status is Status.BAD_BOX
    assert tracker.calls == []


@pytest.mark.parametrize("nothing", ["", "  ", None, 7])
def test_query_that_says_nothing_is_an_error_and_the_others_go_on(clip, nothing):
    reasoner = ScriptedReasoner({"it": [(0, "e", [0, 0, 50, 50])]})
    blank, good = RevSeg(reasoner, BoxTracker()).segment(clip, [nothing, "it"])
    assert blank.status is Status.ERROR
    assert "query" in blank.reason
    assert good.status is Status.OK


def test_no_queries(clip):
    assert RevSeg(ScriptedReasoner({}), BoxTracker()).segment(clip, []) == []


def test_clip_is_a_video_of_its_own(clip):
    reasoner = ScriptedReasoner({"it": [(0, "e", [0, 0, 50, 50])]})
    (answer,) = RevSeg(reasoner, BoxTracker()).segment(clip, "it", frame_range=(4, 8))
    assert (answer.first_frame, answer.frame_count) == (4, 4)
    assert answer.trajectory.key_frames == (0,)
    assert answer.tracks[0].frame_count == 4


def test_progress_ends_where_it_said_it_would(clip):
    reasoner = ScriptedReasoner(
        {"it": [(1, "e", [0, 0, 50, 50]), (2, "f", [0, 0, 50, 50])], "none": []}
    )
    reports = []
    RevSeg(reasoner, BoxTracker()).segment(
        clip, ["it", "none"], progress=lambda *report: reports.append(report)
    )
    for stage in ("decode", "reason", "track"):
        done = [d for s, d, _ in reports if s == stage]
        totals = {t for s, _, t in reports if s == stage}
        assert done == sorted(done)
        assert totals == {done[-1]}


def test_spec_of_the_reasoner_is_the_default():
    assert RevSeg(ScriptedReasoner({}), BoxTracker()).spec == SPEC
    other = SPEC.replace(frames=8)
    assert RevSeg(ScriptedReasoner({}), BoxTracker(), other).spec.frames == 8


def test_what_to_load_travels_with_whole_paths_and_without_its_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    loading = Loading("mine", "sam2-nano", server_key="sk-secret")
    assert "sk-secret" not in repr(loading)
    there = loading.anywhere()
    assert (there.name, there.tracker) == (str((tmp_path / "mine").resolve()), "sam2-nano")
    assert (loading.server_key, there.server_key) == ("sk-secret", None)


def test_how_a_server_is_asked_reaches_its_reasoner():
    options = {"server_concurrency": 3, "server_timeout": 400.0, "image_format": "png"}
    with FakeServer(None) as server:
        pipeline = load_pipeline("revseg-nano", BoxTracker(), server=server.url, **options)
        reasoner = pipeline.reasoner
        assert (reasoner.concurrency, reasoner.timeout, reasoner.deadline) == (3, 400, 1200)
        assert pipeline.settings()["images"] == "png"
        reasoner.close()
    with pytest.raises(ValueError, match="server_concurrency, server_timeout, image_format: for"):
        load_pipeline("revseg-nano", BoxTracker(), **options)


def test_load_pipeline_takes_objects_and_changes_settings():
    reasoner, tracker = ScriptedReasoner({}), BoxTracker()
    pipeline = load_pipeline(reasoner, tracker=tracker, spec={"frames": 6})
    assert pipeline.reasoner is reasoner
    assert pipeline.tracker is tracker
    assert pipeline.spec == SPEC.replace(frames=6)
    with pytest.raises(ValueError, match="frmes"):
        load_pipeline(reasoner, tracker=tracker, spec={"frmes": 6})


@pytest.mark.parametrize("name", ["revseg-nanoo", "./no/such/folder", "/no/such/folder", "a/b/c"])
def test_unknown_names_are_refused_before_anything_is_loaded(name):
    with pytest.raises(ModelNotFoundError, match="revseg-nano, revseg-qwen") as error:
        load_pipeline(name, tracker=BoxTracker())
    assert name in str(error.value)


def test_unknown_trackers_are_refused():
    with pytest.raises(ValueError, match="no-such-tracker"):
        load_pipeline(ScriptedReasoner({}), tracker="no-such-tracker")


def test_what_is_wrong_with_the_model_is_said_before_the_tracker_is_loaded(tmp_path, monkeypatch):
    def load(*_, **__):
        raise AssertionError("the tracker was loaded")

    monkeypatch.setattr(Sam2Tracker, "load", load)
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ValueError, match="In which space does a 'llava' model give its boxes"):
        load_pipeline(tmp_path)
    with pytest.raises(ValueError, match="box_convention must be one of"):
        load_pipeline(tmp_path, spec={"box_convention": "xywh"})
    with pytest.raises(ValueError, match="spec is 'pixels': give a ChainSpec or a dict"):
        load_pipeline(tmp_path, spec="pixels")
    with pytest.raises(ValueError, match="'frmes'"):
        load_pipeline("revseg-nano", spec={"frmes": 3})


def test_settings_of_objects():
    settings = RevSeg(ScriptedReasoner({}), BoxTracker()).settings()
    assert settings.pop("spec") == SPEC.to_dict()
    assert len(settings.pop("weights")) == 16
    assert settings == {"model": "scripted", "tracker": "box"}


def test_names_resolve(tmp_path):
    seven = presets.resolve("revseg-qwen2.5-vl-7b")
    assert seven.reasoner == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert seven.tracker == "sam2.1-hiera-large"
    assert presets.resolve("owner/name").reasoner == "owner/name"
    assert presets.resolve(tmp_path).reasoner == str(tmp_path)


def test_missing_embedded_weights_are_explained(tmp_path, monkeypatch):
    preset = presets.Preset(str(tmp_path / "revseg-nano"), "sam2-nano", "")
    monkeypatch.setitem(presets.PRESETS, "revseg-nano", preset)
    with pytest.raises(ModelNotFoundError, match="no weights"):
        presets.resolve("revseg-nano")


def test_checkpoint_in_a_folder_runs_and_goes_by_the_folders_name(clip, tmp_path):
    spec = ChainSpec(frames=2, frame_size=56, key_frame_size=56, max_new_tokens=8, retries=0)
    save_random_checkpoint(tmp_path / "my-model", "tiny-qwen2.5-vl", spec=spec)
    pipeline = load_pipeline(tmp_path / "my-model", tracker=BoxTracker(), device="cpu")
    assert pipeline.spec == spec
    (answer,) = pipeline.segment(clip, "the cat")
    assert answer.status is Status.BAD_KEYFRAME  # random weights say nothing readable
    assert answer.reason
    assert answer.model == "my-model + box"
    assert str(tmp_path) not in json.dumps(answer.trajectory.to_dict())


def test_torch_works_after_a_video_was_read(clip):
    # decord used to load NVBLAS, which took over torch's matrix products and crashed
    code = (
        "import sys; from fiftyone_revseg.video import open_video; "
        "print(len(open_video(sys.argv[1])[0])); "
        "import torch; print((torch.ones(9, 500) @ torch.ones(500, 500)).mean().item())"
    )
    assert run_script(code, clip).split() == [str(HEIGHT), "500.0"]


def test_import_is_light():
    code = (
        "import sys, fiftyone_revseg.pipeline; "
        "print([m for m in ('torch', 'transformers', 'sam2', 'fiftyone') if m in sys.modules])"
    )
    assert run_script(code).strip() == "[]"
