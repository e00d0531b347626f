"""The demonstration model says where it cannot know a video, and nothing else changes by it."""

import fiftyone as fo
import pytest
from click.testing import CliRunner
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset.demonstration import demonstration_notice
from fiftyone_revseg.masks.pictures import write_video as write_real
from fiftyone_revseg.pipeline import Loading, RevSeg
from fiftyone_revseg.pipeline.segmentation import Segmentation
from fiftyone_revseg.synthetic import make_world, write_video
from fiftyone_revseg.synthetic.made_up import is_made_up

NOTHING = "answers mean nothing"


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """One made-up video, and the same pictures in a file that does not say so."""
    folder = tmp_path_factory.mktemp("videos")
    world = make_world(0, "test")
    frames = world.render()[0][::6]
    write_video(folder / "made-up.mp4", frames, world.fps)
    write_real(folder / "50%d real.mp4", [(k / 5, frame) for k, frame in enumerate(frames)], 5)
    return [str(folder / "made-up.mp4"), str(folder / "50%d real.mp4")]


class Named(ScriptedReasoner):
    def __init__(self, name):
        super().__init__(ANSWERS)
        self.name = name


def pipeline(model="revseg-nano", tracker="box"):
    box = BoxTracker()
    box.name = tracker
    return RevSeg(Named(model), box)


def test_the_mark_is_in_the_file(paths, tmp_path):
    assert [is_made_up(path) for path in paths] == [True, False]
    (tmp_path / "text.mp4").write_text("no video")
    for other in (tmp_path / "gone.mp4", tmp_path / "text.mp4", tmp_path, ["a.jpg"]):
        assert not is_made_up(other)


@pytest.mark.parametrize(
    ("model", "tracker", "named"),
    [
        ("revseg-nano", "box", "revseg-nano"),
        ("other", "sam2-nano", "sam2-nano"),
        ("other", "box", None),
    ],
)
def test_an_answer_says_so_and_is_the_same(paths, model, tracker, named):
    (known,), (unknown,) = (pipeline(model, tracker).segment(path, "the cat") for path in paths)
    assert known.caveat == ""
    assert (known.status, known.reason) == (unknown.status, unknown.reason) == ("ok", "")
    assert known.tracks[0].rles == unknown.tracks[0].rles
    assert Segmentation.from_dict(unknown.to_dict()).caveat == unknown.caveat
    if named is None:
        assert unknown.caveat == ""
    else:
        assert unknown.caveat.startswith(f"{named} knows only made-up videos")


def test_labels_and_summary(make_dataset, paths):
    dataset = make_dataset(*map(fo.Sample, paths))
    for query, status in (("the cat", "ok"), ("the ghost", "no_target")):
        summary = revseg.segment_view(dataset, pipeline(), query, overwrite=True)
        assert summary.counts == {status: 2}
        assert (summary.unknown, summary.failed) == (1, 0)
        assert "1 is not known to be made up, and revseg-nano" in str(summary)
        reasons = [sample.revseg_answers.classifications[0].reason for sample in dataset]
        assert NOTHING not in reasons[0]
        assert NOTHING in reasons[1]
    summary = revseg.segment_view(dataset, pipeline(), "the blur", overwrite=True)
    reason = dataset.last().revseg_answers.classifications[0].reason
    assert reason.endswith(NOTHING)
    assert not reason.startswith("revseg-nano")
    assert NOTHING not in "".join(summary.failures)  # those are why, and one for both
    assert len(summary.failures) == 1


def test_what_is_said_before(make_dataset, paths):
    dataset = make_dataset(*map(fo.Sample, paths))
    words = demonstration_notice(dataset, Loading("revseg-nano"))
    assert "50%d real.mp4 is not known to be one" in words
    assert "revseg models" in words
    assert demonstration_notice(dataset.limit(1), Loading("revseg-nano")) is None
    assert demonstration_notice(dataset, Loading("owner/model")) is None
    assert demonstration_notice(dataset, Loading("owner/model", "sam2-nano")).startswith("sam2-na")


def test_the_commands(make_dataset, paths, tmp_path, monkeypatch):
    monkeypatch.setattr(Loading, "load", lambda self: pipeline())
    dataset = make_dataset(*map(fo.Sample, paths))

    def run(*arguments):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        return result.stderr, result.stdout

    for path, is_known in zip(paths, (True, False), strict=True):
        out = str(tmp_path / f"out-{is_known}")
        before, after = run("segment", path, "the cat", "-o", out)
        assert "No --model was named, so this asks revseg-nano" in before
        assert before.count("real footage needs a model such as revseg-qwen2.5-vl-7b") == 1
        assert (NOTHING in before, NOTHING in after) == (not is_known, not is_known)
    before, _ = run("segment", path, "the cat", "-o", str(tmp_path / "b"), "--model", "revseg-nano")
    assert "No --model" not in before
    assert NOTHING in before

    before, after = run("apply", dataset.name, "--query", "the cat")
    assert "50%d real.mp4 is not known to be one" in before
    assert "1 is not known to be made up" in after
