"""The page about evaluating, run from top to bottom on samples whose masks are given."""

import contextlib
import io
import re
from pathlib import Path

import fiftyone as fo
import pytest
from scored_samples import NOTHING, box, make_sample

from fiftyone_revseg.evaluation.benchmarks import BENCHMARKS
from fiftyone_revseg.evaluation.summary import _OWN_RULES

PAGE = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text()


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = fo.Dataset("my-videos")
    star, circle = box(2, 2, 12, 12), box(16, 6, 28, 20)
    queries = ["the star", "the white circle"]
    good = {"the star": star, "the white circle": star | circle}
    bad = {"the star": circle, "the white circle": NOTHING}
    for name, predicted in (("a", bad), ("b", good)):
        sample = make_sample(name, {1: star, 2: circle}, None, predicted, queries=queries)
        for frame in sample.frames.values():
            for detection in frame.ground_truth.detections:
                detection["query"] = queries[detection.index - 1]
        dataset.add_sample(sample)
    yield dataset
    dataset.delete()


def test_the_page_runs(dataset, tmp_path):
    names, said = {}, io.StringIO()
    with contextlib.redirect_stdout(said):
        for code in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S):
            exec(compile(code, "evaluate.md", "exec"), names)
    assert "overall" in said.getvalue()
    assert names["evaluation"].protocol in said.getvalue()
    assert {p.suffix for p in tmp_path.glob("results.*")} == {".md", ".csv", ".json"}
    assert [score.query for score in names["mine"].scores[:2]] == ["the star", "the white circle"]
    assert names["again"] == names["evaluation"]
    assert dataset.list_evaluations() == []
    assert not dataset.has_field("first_try_jf")


def test_the_page_names_the_benchmarks_with_rules_of_their_own():
    assert set(_OWN_RULES) <= set(BENCHMARKS)
    for name in _OWN_RULES:
        assert f"`{name}`" in PAGE
