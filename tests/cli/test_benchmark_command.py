"""``revseg benchmark``: from a folder to a table, interrupted and resumed."""

import gc
import json
import uuid

import fiftyone as fo
import pytest
from click.testing import CliRunner
from fake_models import BoxTracker, ScriptedReasoner
from miniatures import write_miniature

from fiftyone_revseg.cli import main
from fiftyone_revseg.evaluation.benchmark_run import run_benchmark
from fiftyone_revseg.evaluation.results import Evaluation
from fiftyone_revseg.pipeline import RevSeg

# The box of the first object in the first frame, in the 100 x 100 key frame: 2 to 10 of 48 pixels
# across, 1 to 8 of 32 down
ANSWERS = {
    "Which animal would win a race?": [(0, "the fast one", [100 / 24, 100 / 32, 1000 / 48, 25])],
    "the fastest animal": [],
    "What is it running away from?": [(0, "all", [0, 0, 100, 100])],
    "The bird flying away": [(0, "the bird", [10, 10, 50, 50])],
    "two birds standing still": [],
    "a cat walking": [],
}


def model(**options):
    return RevSeg(ScriptedReasoner(ANSWERS), BoxTracker(**options))


@pytest.fixture
def name():
    """The name of a dataset, which is deleted."""
    found = f"revseg-test-{uuid.uuid4().hex}"
    yield found
    gc.collect()
    if fo.dataset_exists(found):
        fo.delete_dataset(found)


def test_from_the_folder_to_the_table(name, tmp_path):
    miniature = write_miniature("reasonvos", tmp_path / "root")
    run = run_benchmark(
        "reasonvos", miniature.root, model(), out=tmp_path / "out", dataset_name=name
    )
    assert [path.name for path in run.files] == [
        *("results.md", "results.csv", "results.json", "report.html")
    ]
    assert all(path.is_file() for path in run.files)
    assert run.evaluation.benchmark == "reasonvos"
    assert len(run.evaluation.scores) == 6
    assert Evaluation.load(tmp_path / "out" / "results.json") == run.evaluation
    assert "thinking" in (tmp_path / "out" / "report.html").read_text()
    by_query = {s.query: s for s in run.evaluation.scores if s.video == "a1b2c3"}
    assert by_query["What is it running away from?"].status == "ok"
    assert by_query["the fastest animal"].status == "no_target"
    # It hides on the fifth frame, and is not in any prediction
    assert by_query["the fastest animal"].j == pytest.approx(1 / 5)


def test_what_is_done_is_not_done_again(name, tmp_path):
    miniature = write_miniature("reasonvos", tmp_path / "root")
    reasoner = ScriptedReasoner(ANSWERS)

    class Stopped:
        """Stops in the middle of segmenting."""

        def __init__(self, title):
            self.title = title

        def __call__(self, progress):
            if self.title == "Segmenting" and progress.done == 1:
                raise KeyboardInterrupt

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    options = {"out": tmp_path / "out", "dataset_name": name}
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(
            "reasonvos", miniature.root, RevSeg(reasoner, BoxTracker()), bars=Stopped, **options
        )
    assert not (tmp_path / "out").exists()
    reasoner.batches.clear()
    run_benchmark("reasonvos", miniature.root, RevSeg(reasoner, BoxTracker()), **options)
    # Of the other one of the two videos, three queries, and two boxes
    assert sum(reasoner.batches) == 3 + 2
    run_benchmark("reasonvos", miniature.root, RevSeg(reasoner, BoxTracker()), **options)
    assert sum(reasoner.batches) == 3 + 2


def test_figures_are_not_those_of_another_model(name, tmp_path):
    miniature = write_miniature("reasonvos", tmp_path / "root")
    options = {"out": tmp_path / "out", "dataset_name": name}
    run_benchmark("reasonvos", miniature.root, model(), **options)

    class OtherReasoner(ScriptedReasoner):
        name = "other"

    other = RevSeg(OtherReasoner(ANSWERS), BoxTracker())
    with pytest.raises(ValueError, match=r"were segmented with other settings .*: name another"):
        run_benchmark("reasonvos", miniature.root, other, **options)
    run = run_benchmark("reasonvos", miniature.root, other, overwrite=True, **options)
    assert "other" in run.evaluation.model


def test_a_part_of_it(name, tmp_path):
    miniature = write_miniature("mevis", tmp_path / "root")
    options = {"out": tmp_path / "out", "dataset_name": name}
    run = run_benchmark("mevis", miniature.root, model(), max_videos=1, **options)
    assert {score.video for score in run.evaluation.scores} == {"0ab4afe7fb46"}
    run = run_benchmark("mevis", miniature.root, model(), **options)
    assert len({score.video for score in run.evaluation.scores}) == 2
    run = run_benchmark("mevis", miniature.root, model(), max_videos=1, **options)
    assert len({score.video for score in run.evaluation.scores}) == 1


def test_videos_that_cannot_be_used_are_named(name, tmp_path):
    miniature = write_miniature("mevis", tmp_path / "root")
    for image in (miniature.images / "1fea0cb75a25").iterdir():
        image.unlink()
    run = run_benchmark("mevis", miniature.root, model(), out=tmp_path / "out", dataset_name=name)
    (note,) = run.evaluation.notes
    assert note.startswith("Not imported, so not counted: ")
    assert "1fea0cb75a25" in note


def test_what_only_a_server_can_score_becomes_an_archive(name, tmp_path):
    miniature = write_miniature("mevis", tmp_path / "root", "valid")
    run = run_benchmark(
        "mevis", miniature.root, model(), "valid", out=tmp_path / "out", dataset_name=name
    )
    assert run.evaluation is None
    assert (run.problems, run.submission.missing, run.submission.videos) == ((), [], 2)
    assert run.files == (tmp_path / "out" / "submission.zip",)


def test_command_line(tmp_path):
    result = CliRunner().invoke(main, ["benchmark", "nothing", str(tmp_path)])
    assert result.exit_code == 1
    assert "There is no benchmark 'nothing': choose from " in result.output
    assert "synthetic" in result.output
    result = CliRunner().invoke(main, ["benchmark", "mevis", str(tmp_path), "--device", "cpu"])
    assert result.exit_code == 1
    assert str(tmp_path) in result.output


@pytest.mark.slow
def test_the_nano_model_on_made_up_videos(name, tmp_path):
    arguments = ["benchmark", "synthetic", str(tmp_path / "worlds"), "--max-videos", "1"]
    arguments += ["--dataset", name, "-o", str(tmp_path / "out"), "--device", "cpu"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "overall" in result.stdout
    assert "Protocol: " in result.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert all(score["kind"] for score in results["scores"])
    assert "revseg-nano" in results["model"]
