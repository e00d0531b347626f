"""``revseg filter`` on a real database, with the embedded tracker."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fake_models import BoxTracker

from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset import data_filter
from fiftyone_revseg.dataset.data_filter import DROPPED
from fiftyone_revseg.synthetic import make_dataset as make_world_dataset

PAGE = Path(__file__).parents[2] / "docs" / "data-filter.md"


@pytest.fixture
def dataset(tmp_path):
    dataset = make_world_dataset(tmp_path, count=1, name="my-training-set")
    yield dataset
    dataset.delete()


def run(*arguments, exit_code=0):
    result = CliRunner().invoke(main, ["filter", *map(str, arguments)])
    assert result.exit_code == exit_code, result.output
    return result.output


def test_filter(dataset):
    said = run(dataset.name, "--gt-field", "objects", "--starts", 1, "--device", "cpu")
    assert "1 of 1 kept" in said
    dataset.reload()
    (iou,) = dataset.values("data_filter_iou")
    assert 0.6 <= iou <= 1
    said = run(dataset.name, "--gt-field", "objects", "--threshold", np.ceil(100 * iou) / 100)
    assert "0 of 1 kept, 1 dropped" in said
    assert "measured: 0 " in said
    assert dataset.count_sample_tags()[DROPPED] == 1


def test_what_is_wrong_is_said_in_one_sentence(dataset):
    assert "no dataset 'nowhere'" in run("nowhere", exit_code=1)
    said = run(dataset.name, "--gt-field", "truth", exit_code=1)
    assert "no field 'frames.truth'" in said
    assert "objects" in said
    assert "no-such-tracker" in run(dataset.name, "--tracker", "no-such-tracker", exit_code=1)
    run(dataset.name, "--threshold", 60, exit_code=2)
    run(dataset.name, "--starts", 0, exit_code=2)
    dataset.set_values("filepath", ["/nowhere/clip.mp4"])
    dataset.set_values("metadata", [None])
    said = run(dataset.name, exit_code=1)
    assert "/nowhere/clip.mp4" in said
    assert "1 of 1 could not be measured" in said


def test_the_code_of_the_page(dataset, capsys, monkeypatch):
    monkeypatch.setattr(data_filter, "load_tracker", lambda _: BoxTracker())
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(compile(code, PAGE.name, "exec"), names)
    assert len(names["training"]) + len(names["summary"].dropped) == 1
    assert " of 1 kept" in capsys.readouterr().out
