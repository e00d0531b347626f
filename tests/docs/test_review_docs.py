"""The pages about reviewing and exporting, run from top to bottom with the embedded pair."""

import contextlib
import io
import re
from pathlib import Path

import fiftyone as fo
import pytest

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset.export import FORMATS
from fiftyone_revseg.dataset.views import VIEWS
from fiftyone_revseg.masks.pictures import write_video
from fiftyone_revseg.synthetic import make_world

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """The dataset that the pages speak of: an object, none, and a video that is not there."""
    monkeypatch.chdir(tmp_path)
    dataset = fo.Dataset("my-videos")
    for seed, query in ((0, "the star"), (9, "the white star")):
        world = make_world(seed, "test")
        path = tmp_path / f"world-{seed}.mp4"
        frames = world.render()[0][::4]
        write_video(path, [(k / world.fps, frame) for k, frame in enumerate(frames)], world.fps)
        dataset.add_sample(fo.Sample(str(path), query=query))
    dataset.add_sample(fo.Sample(str(tmp_path / "gone.mp4"), query="the star"))
    revseg.segment_view(dataset, revseg.load_model(prompt_field="query", device="cpu"))
    assert dataset.values("revseg_status") == ["ok", "no_target", "unreadable"]
    yield dataset
    dataset.delete()


def run_page(page):
    """Runs the code of a page, and returns what it defined and printed."""
    names, said = {}, io.StringIO()
    with contextlib.redirect_stdout(said):
        for code in re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.M | re.S):
            exec(compile(code, page, "exec"), names)
    return names, said.getvalue()


@pytest.mark.slow
def test_review(dataset):
    found, _, gone = dataset.values("id")
    names, said = run_page("review.md")
    for view, count in (("failures", 1), ("no target", 1), ("not yet reviewed", 1)):
        assert f"{view} {count}\n" in said
    assert "1 of 3 compared in 'revseg_vs_second'" in said
    assert dataset.has_saved_view("unsure")
    assert names["failures"].values("id") == [gone]
    # Views are made anew each time, and at its end the page accepts the first answer
    assert names["found_but_not_reviewed"].values("id") == []
    assert names["answer"].tags == ["accepted"]
    assert names["answer"]["reviewer"] == "ann"
    dataset.untag_labels("accepted")
    assert names["found_but_not_reviewed"].values("id") == [found]
    assert len(names["corrected"]) == 0
    assert names["name"] == "revseg_drift"
    assert set(names["jumpy"].values("id")) <= {found}
    assert names["least_agreement_first"].values("id") == [found]
    agreement = dataset.values("revseg_vs_second")
    assert 0 <= agreement[0] <= 1
    assert agreement[1:] == [None, None]
    assert names["very_different"].values("id") == ([found] if agreement[0] < 0.8 else [])


@pytest.mark.slow
def test_correct(dataset):
    names, said = run_page("correct.md")
    assert names["correction"].prompts[1] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert set(names["correction"].prompts) == {1, 2}
    assert "tracked from frames 1, 2" in said
    assert "tracked from frame 3" in said
    (answer,) = dataset.first().revseg_answers.classifications
    assert "accepted" in answer.tags
    assert names["corrected"].values("id") == dataset.values("id")[:1]


@pytest.mark.slow
def test_act_on_answers(dataset):
    names, said = run_page("act-on-answers.md")
    assert names["added"].index == 2
    assert "object 2 is called another thing, no more a thing\n" in said
    assert "object 2 (another thing) is deleted\n" in said
    assert '"the blue circle" in place of "the star"' in said
    assert 'undone: "asked again"' in said
    assert 'undone: "deleted" of object 2' in said
    answers = dataset.first().revseg_answers.classifications
    assert [(a["index"], a.label, a.tags) for a in answers][1:] == [
        (2, "another thing", ["accepted"])
    ]


def test_export(dataset, tmp_path):
    sample = dataset.first()
    sample.revseg_answers.classifications[0].tags.append("accepted")
    sample.save()
    _, said = run_page("export.md")
    assert "2 of 3 exported as 'coco-tracks'" in said
    assert "skipped: there is no file" in said
    assert (tmp_path / "tracks" / "instances.json").is_file()
    assert [p.name for p in (tmp_path / "masks" / "Annotations").iterdir()] == ["world-0"]
    assert [p.name for p in (tmp_path / "masks" / "JPEGImages").iterdir()] == ["world-0"]
    assert sorted(p.name for p in (tmp_path / "boxes").glob("[!.]*")) == [
        "world-0.txt",
        "world-9.txt",
    ]
    assert len((tmp_path / "trajectories" / "trajectories.jsonl").read_text().splitlines()) == 3


def test_the_pages_name_all_views_and_formats():
    review, export = ((DOCS / name).read_text() for name in ("review.md", "export.md"))
    for name in VIEWS:
        assert f"`{name}`" in review
    for name in FORMATS:
        assert name in export
