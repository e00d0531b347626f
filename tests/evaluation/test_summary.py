"""Summaries against figures made by hand, the intervals, and the tables as files."""

import csv
import html
import json
from dataclasses import replace

import numpy as np
import pytest
from markdown_it import MarkdownIt

from fiftyone_revseg.evaluation.davis import ObjectScore, SharedMasks, assign
from fiftyone_revseg.evaluation.report import write_report
from fiftyone_revseg.evaluation.results import Evaluation, ExpressionScore
from fiftyone_revseg.evaluation.summary import (
    COLUMNS,
    confidence_interval,
    headline,
    protocol_of,
    summarize,
)
from fiftyone_revseg.evaluation.tables import to_markdown, to_text, write_table
from fiftyone_revseg.text.escape import printable


def score(j, f=None, kind="", video="a", **values):
    values = {"no_target": False, "accuracy": 1.0, "annotator": "", "query": "q", **values}
    f = j if f is None else f
    number = values.pop("expression_id", "0")
    return ExpressionScore(video, video, number, kind=kind, frames=4, j=j, f=f, **values)


def rows_of(table):
    return {row["name"]: row for row in table}


def test_revos_by_hand():
    scores = [
        score(0.8, 0.6, "referring", robustness=0.9),
        score(0.4, 0.2, "referring", "b", robustness=0.7),
        score(0.0, 0.0, "reasoning", "b", missing=True, robustness=0.0),
        score(0.9, 0.3, "reasoning"),
        score(0.3, 0.3, "reasoning", robustness=1.0),
        score(1.0, 1.0, "no_target", "b", no_target=True, robustness=0.25),
    ]
    rows = rows_of(summarize(scores, "revos"))
    assert list(rows) == ["referring", "reasoning", "no_target", "overall"]
    assert rows["referring"]["jf"] == pytest.approx((0.6 + 0.4) / 2)
    assert (rows["reasoning"]["j"], rows["reasoning"]["f"]) == pytest.approx((0.4, 0.2))
    # The plain mean of the two subsets, not that of all five expressions
    assert rows["overall"]["j"] == pytest.approx((0.6 + 0.4) / 2)
    assert rows["overall"]["jf"] == pytest.approx((0.5 + 0.3) / 2)
    assert rows["overall"]["robustness"] == pytest.approx((0.8 + 0.5) / 2)
    assert rows["no_target"]["jf"] is None
    assert rows["no_target"]["robustness"] == 0.25
    assert [rows[name]["expressions"] for name in rows] == [2, 3, 1, 5]
    assert rows["overall"]["missing"] == 1
    assert headline(summarize(scores, "revos"))["name"] == "overall"
    assert headline(summarize(scores[-1:], "revos"))["jf"] is None


def test_any_other_dataset_by_hand():
    scores = [score(0.2, kind="b"), score(0.4, kind="b"), score(0.9, kind="a", video="c")]
    rows = rows_of(summarize(scores))
    assert list(rows) == ["a", "b", "overall"]
    assert rows["overall"]["jf"] == pytest.approx(0.5)
    assert rows["overall"]["videos"] == 2
    assert rows["a"]["jf_low"] is None  # of one video there is no spread
    assert [row["name"] for row in summarize([score(0.2)])] == ["overall"]
    assert set(rows["a"]) == set(COLUMNS)


def test_ref_davis_by_hand():
    scores = [
        score(0.5, annotator=a, expression_id=str(i), query=f"{a}{i}")
        for a in "01"
        for i in range(2)
    ]
    objects = [
        ObjectScore("a", "0", 0.8, 0.6),
        ObjectScore("a", "0", 0.4, 0.2),
        ObjectScore("b", "0", 0.0, 0.0),
        ObjectScore("a", "1", 0.3, 0.5),
    ]
    rows = rows_of(summarize(scores, "ref-davis17", objects))
    assert list(rows) == ["annotator 0", "annotator 1", "per annotator", "every expression"]
    assert rows["annotator 0"]["j"] == pytest.approx(1.2 / 3)
    assert rows["annotator 1"]["jf"] == pytest.approx(0.4)
    assert rows["per annotator"]["j"] == pytest.approx((0.4 + 0.3) / 2)
    assert rows["every expression"]["jf"] == pytest.approx(0.5)
    assert "Two protocols".lower() in protocol_of("ref-davis17")


def test_predicted_objects_are_assigned_to_true_ones():
    j = np.array([[0.1, 0.9], [0.8, 0.7]])
    shared = SharedMasks("a", "0", ("x", "y"), j, j / 2)
    found = assign([shared], [score(0, expression_id="x"), score(0, expression_id="y")])
    assert [(o.j, o.f) for o in found] == [(0.8, 0.4), (0.9, 0.45)]
    # A missing one fits nothing, and an unreadable video counts as zero
    scores = [
        score(0, expression_id="y", annotator="0", missing=True),
        score(0, video="b", annotator="0", missing=True),
    ]
    found = assign([shared], scores)
    assert [(o.video, o.j) for o in found] == [("a", 0), ("a", 0.9), ("b", 0)]


def test_intervals_are_the_same_every_time_and_sane():
    generator = np.random.default_rng(1)
    values = [(f"v{i}", float(x)) for i, x in enumerate(generator.normal(0.6, 0.1, 100))]
    low, high = confidence_interval([values])
    assert (low, high) == confidence_interval([values])
    assert (low, high) != confidence_interval([values], seed=1)
    mean = np.mean([x for _, x in values])
    error = 1.96 * np.std([x for _, x in values]) / 10
    assert low == pytest.approx(mean - error, abs=0.2 * error)
    assert high == pytest.approx(mean + error, abs=0.2 * error)


def test_videos_are_drawn_not_expressions():
    # Twenty expressions of each video say no more than one
    values = [(f"v{i}", float(i % 2)) for i in range(20)]
    assert confidence_interval([values * 20]) == confidence_interval([values])


def test_intervals_of_few_videos():
    assert confidence_interval([[("a", 0.1), ("a", 0.9)]]) == (None, None)
    low, high = confidence_interval([[("a", 0.2)], [("b", 0.6)]])
    assert low == high == pytest.approx(0.4)  # where both were drawn at all


@pytest.fixture
def evaluation():
    scores = (score(0.5, kind="a|b"), score(1.0, kind="c", video="b"))
    return Evaluation(
        dataset="d",
        benchmark="",
        protocol=protocol_of(""),
        pred_field="revseg",
        gt_field="ground_truth",
        model="m",
        created="2026-01-01T00:00:00+00:00",
        scores=scores,
        table=tuple(summarize(scores)),
        notes=("1 of 2 is odd",),
    )


def test_tables_state_their_protocol(evaluation, tmp_path):
    for suffix in ("md", "csv", "json"):
        path = write_table(evaluation, tmp_path / "new" / f"table.{suffix}")
        assert evaluation.protocol in path.read_text()
        assert "1 of 2 is odd" in path.read_text()
    assert Evaluation.load(tmp_path / "new" / "table.json") == evaluation
    assert json.loads((tmp_path / "new" / "table.json").read_text())["table"][-1]["jf"] == 0.75
    lines = (tmp_path / "new" / "table.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [float(row["jf"]) for row in rows] == [0.5, 1, 0.75]
    assert rows[0]["robustness"] == ""
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "table.csv",
        "table.json",
        "table.md",
    ]
    with pytest.raises(ValueError, match=r"ends in \.md, \.csv or \.json"):
        write_table(evaluation, tmp_path / "table.xlsx")


def test_names_of_kinds_and_datasets_are_only_text(evaluation, tmp_path):
    """As benchmarks, imports and people may name them."""
    image = "![x](http://evil.example/a.png)"
    kinds = ["=cmd|'/c'!A1", f"{image} | <b>", "$\\frac$\n* _odd_\x1b[31m"]
    rows = [{**evaluation.table[0], "name": kind} for kind in kinds]
    scores = tuple(replace(evaluation.scores[0], kind=kind) for kind in kinds)
    hostile = replace(
        evaluation,
        table=(*rows, *evaluation.table),
        scores=scores,
        dataset=f"{image}\n=1",
        notes=(image, "+1\n=2"),
    )
    lines = to_markdown(hostile).splitlines()
    assert len([line for line in lines if line.startswith("|")]) == 2 + len(hostile.table)
    kinds_of_tokens = {
        child.type
        for token in MarkdownIt().enable("table").parse("\n".join(lines))
        for child in token.children or ()
    }
    assert kinds_of_tokens == {"text"}
    text = to_text(hostile)
    assert len(text.splitlines()) == len(to_text(evaluation).splitlines()) + 3 + 1
    path = write_table(hostile, tmp_path / "table.csv")
    with path.open(newline="") as file:
        records = [row for row in csv.reader(file) if not row[0].startswith("#")]
    assert [row[0] for row in records[1:4]] == [f"'{kinds[0]}", kinds[1], printable(kinds[2])]
    assert len(records) == 1 + len(hostile.table)
    write_report(hostile, tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "evil.example" not in page.replace(html.escape(image), "")


def test_tables_for_people(evaluation):
    lines = to_markdown(evaluation).splitlines()
    assert lines[0].startswith("|  | videos | expressions | missing | J&F | 95 % interval |")
    assert len({line.replace("\\|", "").count("|") for line in lines[:5]}) == 1
    assert lines[4] == "| overall | 2 | 2 | 0 | 75.0 | 50.0 - 100.0 | 75.0 | 75.0 | 100.0 |"
    text = to_text(evaluation).splitlines()
    assert text[3].split() == [
        "overall",
        "2",
        "2",
        "0",
        "75.0",
        "50.0",
        "-",
        "100.0",
        "75.0",
        "75.0",
        "100.0",
    ]
