"""``revseg review``: what it lists, and in which order."""

import fiftyone as fo
import pytest
from click.testing import CliRunner
from contents import contents
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner, write_video

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.pipeline import RevSeg


@pytest.fixture
def dataset(make_dataset, tmp_path):
    paths = [tmp_path / f"{name}.mp4" for name in "abc"]
    for path in paths:
        write_video(path, 64, 48, 5)
    queries = ["the cat", "both", "the ghost"]
    samples = zip(paths, queries, strict=True)
    dataset = make_dataset(*[fo.Sample(str(path), query=query) for path, query in samples])
    revseg.segment_view(dataset, RevSeg(ScriptedReasoner(ANSWERS), BoxTracker()), None, "query")
    for sample, certainties in zip(dataset, ([0.5], [0.9, 0.25], [0.1]), strict=True):
        for answer, certainty in zip(
            sample.revseg_answers.classifications, certainties, strict=True
        ):
            answer["certainty"] = certainty
        sample.save()
    return dataset


def run(*arguments):
    return CliRunner().invoke(main, ["review", *arguments])


def test_the_least_certain_first(dataset):
    before = contents(dataset)
    result = run(dataset.name)
    assert result.exit_code == 0, result.output
    first, _, *rows = result.output.splitlines()
    assert first == "not yet reviewed: 2 videos, the first 2:"
    assert [row.split()[0] for row in rows] == ["0.25", "0.50"]
    assert "a dog" in rows[0]
    assert rows[0].endswith("b.mp4")
    assert contents(dataset) == before
    assert "the first 1:" in run(dataset.name, "--limit", "1").output
    low = run(dataset.name, "--list", "low confidence", "--label-field", "frames.revseg").output
    assert [row.split()[0] for row in low.splitlines()[2:]] == ["0.10", "0.25"]
    assert "no_target" in low
    assert run(dataset.name, "--list", "failures").output == "failures: 0 videos, the first 0:\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--list", "mistakes"], "There is no view 'mistakes'"),
        (["--label-field", "other"], "no results in label field 'other'"),
        (["--label-field", "1 x"], "letters, digits and underscores"),
    ],
)
def test_wrong_arguments(dataset, arguments, words):
    result = run(dataset.name, *arguments)
    assert result.exit_code == 1
    assert words in result.output
    assert len(result.output.splitlines()) == 1
