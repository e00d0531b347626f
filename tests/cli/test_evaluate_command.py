"""``revseg evaluate``: what it prints, writes and refuses."""

import pytest
from click.testing import CliRunner
from scored_samples import NOTHING, box, make_sample

from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.evaluation.backend import load_evaluation
from fiftyone_revseg.evaluation.results import Evaluation

A, B = box(2, 2, 12, 12), box(16, 6, 28, 20)
CAT, DOG = Expression("0", "the cat", (1,), "easy"), Expression("1", "the dog", (2,), "hard")


@pytest.fixture
def scored(make_dataset):
    return make_dataset(
        make_sample("a", {1: A, 2: B}, [CAT, DOG], {"the cat": A, "the dog": NOTHING}),
        make_sample("b", {1: A}, [CAT], None),
    )


def run(*args):
    return CliRunner().invoke(main, ["evaluate", *map(str, args)])


def test_the_table_the_notes_and_the_protocol(scored):
    result = run(scored.name)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[3].split()[:5] == ["overall", "2", "3", "1", "33.3"]
    assert any(line.startswith("1 of 3 predictions are missing") for line in lines)
    assert any(line.startswith("Protocol: J is the intersection over union") for line in lines)
    assert scored.list_evaluations() == []


def test_files_and_a_key(scored, tmp_path):
    files = [tmp_path / f"results.{suffix}" for suffix in ("json", "csv", "md")]
    result = run(scored.name, "--key", "nano", *(x for f in files for x in ("-o", f)))
    assert result.exit_code == 0, result.output
    assert "Kept as 'nano'" in result.stderr
    evaluation = Evaluation.load(files[0])
    assert evaluation.table[-1]["missing"] == 1
    assert all("Protocol" in f.read_text() for f in files[1:])
    scored.reload()
    assert load_evaluation(scored, "nano") == evaluation


def test_views_fields_and_rules(scored):
    scored.save_view("first", scored[:1])
    scored.clone_frame_field("revseg", "other")
    scored.clone_sample_field("revseg_answers", "other_answers")
    result = run(scored.name, "--view", "first", "--field", "frames.other", "--benchmark", "revos")
    assert result.exit_code == 0, result.output
    assert "'other' against 'ground_truth'" in result.stdout
    assert "ReVOS: referring and reasoning" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--field", "x"], "There is no field 'frames.x'"),
        (["--gt", "revseg"], "name two label fields"),
        (["--view", "x"], "no saved view 'x'"),
        (["-o", "table.xls"], "ends in .md, .csv or .json"),
        (["--key", "not a key"], "valid variable names"),
        (["--query-field", "x"], "no field 'x' with queries"),
        (["--benchmark", "davis"], "no benchmark 'davis'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(scored, options, message):
    result = run(scored.name, *options)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
