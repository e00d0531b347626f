"""Reports, read back."""

import base64
import gc
import io
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner
from miniatures import write_miniature
from PIL import Image
from png_predictions import write_predictions

from fiftyone_revseg.cli import main
from fiftyone_revseg.evaluation.benchmarks import import_benchmark
from fiftyone_revseg.evaluation.evaluate import evaluate_view
from fiftyone_revseg.evaluation.predictions import load_predictions
from fiftyone_revseg.evaluation.report import write_report
from fiftyone_revseg.evaluation.report_cases import choose_cases, make_cases
from fiftyone_revseg.evaluation.results import ExpressionScore
from fiftyone_revseg.masks import pictures

EVIL = "<script>alert(1)</script> & the *bird* | [x](y)"


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def pictures(self):
        sources = [a["src"] for tag, a in self.tags if tag == "img"]
        return [Image.open(io.BytesIO(base64.b64decode(s.split(",", 1)[1]))) for s in sources]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A benchmark of which one expression is missed, one is half right, and a text is hostile."""
    folder = tmp_path_factory.mktemp("report")
    miniature = write_miniature("mevis", folder / "root", "valid_u")
    first, second = miniature.videos
    dataset = import_benchmark("mevis", miniature.root, "valid_u", f"revseg-test-{folder.name}")
    for sample in dataset:
        sample.expressions.classifications[0].label = EVIL
        sample.save()
    del sample  # FiftyOne cannot delete a dataset while someone holds one whose path is a pattern

    def masks(video, expression):
        truth = miniature.union(video, expression)
        # Of the first video's first expression, another object
        return miniature.videos[video].masks[1] if (video, expression.id) == (first, "0") else truth

    found = write_predictions(miniature, folder / "masks", masks, skip=[f"{second}/1"])
    load_predictions(dataset, found, "theirs")
    yield dataset, evaluate_view(dataset, "theirs", workers=1), miniature
    gc.collect()
    dataset.delete()


def test_everything_is_in_it(world, tmp_path):
    dataset, evaluation, miniature = world
    first, second = miniature.videos
    path = write_report(evaluation, tmp_path / "out", dataset, worst=2, best=1)
    assert path == tmp_path / "out" / "report.html"
    page = Page(path.read_text())
    assert f"J&F {100 * evaluation.table[-1]['jf']:.1f}" in page.text
    for row in evaluation.table:
        assert row["name"] in page.text
    assert evaluation.protocol in page.text
    assert "1 of 6 predictions are missing" in page.text
    assert page.text.index("Worst cases") < page.text.index(f"{first}, expression 0")
    assert "only predicted" in page.text
    assert "one_object" in page.text
    assert f"{second}, expression 1" not in page.text  # there is nothing to be seen of it
    assert len(page.pictures()) == 2 + 3  # no key frames are known, so no plot of their quality

    # It is one file: nothing is fetched, and what data says is text
    assert not [t for t, a in page.tags if t in ("script", "link", "iframe", "bird")]
    assert all(a["src"].startswith("data:image/") for t, a in page.tags if t == "img")
    assert EVIL in page.text

    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "<script>" not in markdown
    assert r"\<script\>alert(1)\</script\> \& the \*bird\* \| \[x\](y)" in markdown
    linked = re.findall(r"\]\((pictures/[^)]+)\)", markdown)
    there = [f"pictures/{p.name}" for p in (tmp_path / "out" / "pictures").iterdir()]
    assert sorted(linked) == sorted(there)
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in table}) == 1


def test_the_pictures_show_what_is_right_and_wrong(world):
    dataset, evaluation, _ = world
    worst, _ = choose_cases(evaluation.scores, 1, 0)
    (case,) = make_cases(evaluation, dataset, worst)
    assert case.score.query == EVIL
    colours = [pictures.object_color(i) for i in range(3)]
    only_predicted, only_true, both = (
        int(np.all(case.picture == colour, axis=2).sum()) for colour in colours
    )
    assert only_predicted > 0
    assert only_true > 0
    assert both == 0
    (right,) = make_cases(evaluation, dataset, choose_cases(evaluation.scores, 0, 1)[1])
    counts = [int(np.all(right.picture == colour, axis=2).sum()) for colour in colours]
    assert counts[:2] == [0, 0]
    assert counts[2] > 0


def test_the_thought_is_beside_the_picture(world, tmp_path):
    dataset, evaluation, _ = world
    sample = dataset.first()
    (answer,) = (a for a in sample.theirs_answers.classifications if a.query == EVIL)
    answer["reasoning"] = "It <b>flies</b>, so it is the bird."
    sample.save()
    page = Page(write_report(evaluation, tmp_path, dataset, worst=1, best=0).read_text())
    assert "It <b>flies</b>, so it is the bird." in page.text


def test_a_later_report_replaces_an_earlier_one(world, tmp_path):
    dataset, evaluation, _ = world
    write_report(evaluation, tmp_path, dataset)
    (tmp_path / "pictures" / "mine.png").write_text("")
    write_report(evaluation, tmp_path, dataset, worst=1, best=0)
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {"mine.png", "plot-1.png", "plot-2.png", "worst-1.jpg"}
    with pytest.raises(ValueError, match="Nothing can be written to"):
        write_report(evaluation, tmp_path / "report.md")


@pytest.mark.parametrize("name", ["report.md", "report.html", "pictures/plot-1.png"])
def test_no_file_is_replaced_that_is_none_of_a_report(world, tmp_path, name):
    dataset, evaluation, _ = world
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match="was not written by revseg"):
        write_report(evaluation, tmp_path, dataset)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [(path.read_text(), path) for path in files] == [("mine", tmp_path / name)]


def test_without_dataset_videos_or_matplotlib(world, tmp_path, monkeypatch):
    dataset, evaluation, miniature = world
    page = Page(write_report(evaluation, tmp_path / "a").read_text())
    assert "no pictures of single cases, as the dataset was not given" in page.text
    assert len(page.pictures()) == 2

    changed = replace(evaluation, pred_field="gone")
    page = Page(write_report(changed, tmp_path / "b", dataset).read_text())
    assert "no pictures of single cases: There is no field 'frames.gone'" in page.text

    moved = miniature.images.with_name("moved")
    shutil.move(miniature.images, moved)
    try:
        page = Page(write_report(evaluation, tmp_path / "c", dataset, 1, 0).read_text())
    finally:
        shutil.move(moved, miniature.images)
    assert "The video cannot be shown: " in page.text
    assert len(page.pictures()) == 2

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    page = Page(write_report(evaluation, tmp_path / "d").read_text())
    assert "There are no plots, as matplotlib is missing" in page.text
    assert page.pictures() == []

    other = replace(evaluation.scores[0], sample_id="0" * 24)
    (case,) = make_cases(evaluation, dataset, [other])
    assert case.note == "The video is not in the dataset any more"


def score(video, jf, number=0, **values):
    named = {"no_target": False, "frames": 5, "accuracy": jf, "kind": "", "annotator": ""} | values
    return ExpressionScore("id", video, str(number), "query", j=jf, f=jf, **named)


def test_cases_are_of_many_videos():
    scores = [score("a", 0.0), score("a", 0.1, 1), score("b", 0.2), score("c", 0.9)]
    scores += [score("d", 0.0, missing=True), score("e", 1.0, no_target=True)]
    worst, best = choose_cases(scores, 2, 1)
    assert [(s.video, s.jf) for s in worst] == [("a", 0.0), ("b", 0.2)]
    assert [(s.video, s.jf) for s in best] == [("c", 0.9)]
    worst, best = choose_cases(scores, 10, 10)
    assert [s.jf for s in worst] == [0.0, 0.1, 0.2, 0.9, 1.0]
    assert best == []
    assert choose_cases([], 3, 3) == ([], [])


def test_command(world, tmp_path):
    dataset, evaluation, _ = world
    results = evaluation.save(tmp_path / "results.json")
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["report", str(results), "-o", str(out), "--worst", "1"])
    assert result.exit_code == 0, result.output
    assert "Worst cases" in (out / "report.html").read_text()

    replace(evaluation, dataset="gone").save(results)
    result = CliRunner().invoke(main, ["report", str(results), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "There will be no pictures of single cases. There is no dataset 'gone'" in result.stderr
    assert "Worst cases" not in (out / "report.html").read_text()
    result = CliRunner().invoke(
        main, ["report", str(results), "-o", str(out), "--dataset", dataset.name]
    )
    assert result.exit_code == 0, result.output
    assert "Worst cases" in (out / "report.html").read_text()
    results.write_text("[]")
    result = CliRunner().invoke(main, ["report", str(results), "-o", str(out)])
    assert result.exit_code == 1
    assert "holds no evaluation" in result.output
