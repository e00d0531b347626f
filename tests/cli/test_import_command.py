"""``revseg import``, on a real database."""

import gc
import uuid

import fiftyone as fo
import pytest
from click.testing import CliRunner
from miniatures import write_miniature

from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset.expressions import expressions_of


@pytest.fixture
def run():
    """Runs the command into datasets that are deleted."""
    names = []

    def run(*arguments):
        if "--name" not in arguments:
            names.append(f"revseg-test-{uuid.uuid4().hex}")
            arguments = (*arguments, "--name", names[-1])
        result = CliRunner().invoke(main, ["import", *map(str, arguments)])
        name = arguments[arguments.index("--name") + 1]
        return result, fo.load_dataset(name) if fo.dataset_exists(name) else None

    yield run
    gc.collect()
    for name in names:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


def test_it_imports_and_says_what_to_do_next(run, tmp_path):
    miniature = write_miniature("revos", tmp_path)
    result, dataset = run("revos", tmp_path)
    assert result.exit_code == 0, result.output
    assert len(dataset) == len(miniature.videos)
    assert "2 of 2 videos were imported" in result.stdout
    assert f"revseg apply {dataset.name} --query-field queries" in result.stdout
    assert f"revseg evaluate {dataset.name}" in result.stdout


def test_without_truth_there_is_nothing_to_evaluate(run, tmp_path):
    write_miniature("mevis", tmp_path, "valid")
    result, _ = run("mevis", tmp_path)  # the only split that is there
    assert result.exit_code == 0, result.output
    assert "revseg evaluate" not in result.stdout


def test_options(run, tmp_path):
    write_miniature("mevis", tmp_path)
    options = ("--max-videos", 1, "--no-masks", "--videos", tmp_path / "mp4")
    result, dataset = run("mevis", tmp_path, *options)
    assert result.exit_code == 0, result.output
    assert dataset.values("filepath") == [str(tmp_path / "mp4" / "0ab4afe7fb46.mp4")]
    assert not dataset.has_frame_field("ground_truth")


def test_broken_videos_are_named_at_the_end(run, tmp_path):
    miniature = write_miniature("mevis", tmp_path)
    (miniature.images / "0ab4afe7fb46" / "00002.jpg").unlink()
    result, dataset = run("mevis", tmp_path)
    assert result.exit_code == 0, result.output
    assert len(dataset) == 1
    assert "1 of 2 videos were imported, 1 cannot be used" in result.stdout
    assert "00002.jpg' is missing" in result.stdout


@pytest.mark.parametrize("name", ["mevis", "no-such-benchmark"])
def test_errors_are_one_sentence(name, run, tmp_path):
    result, dataset = run(name, tmp_path)
    assert result.exit_code == 1
    assert dataset is None
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_nothing_imported_is_an_error(run, tmp_path):
    miniature = write_miniature("mevis", tmp_path)
    for folder in miniature.images.iterdir():
        folder.rename(folder.with_name(f"{folder.name}-old"))
    result, _ = run("mevis", tmp_path)
    assert result.exit_code == 1
    assert "No video could be imported" in result.stderr


def test_the_synthetic_world_goes_through_the_same_door(run, tmp_path):
    result, dataset = run("synthetic", tmp_path, "--count", 4)
    assert result.exit_code == 0, result.output
    assert dataset.info["benchmark"]["name"] == "mevis"
    kinds = {e.kind for sample in dataset for e in expressions_of(sample)}
    assert kinds & {"attribute", "motion", "order", "comparison", "relation"}


def test_the_list_says_what_each_layout_is():
    result = CliRunner().invoke(main, ["import", "--list"])
    assert result.exit_code == 0
    for name in ("revos", "reasonvos", "mevis", "ref-youtube-vos", "ref-davis17", "lv-vis"):
        assert name in result.output
    assert "mask_dict.json" in result.output
