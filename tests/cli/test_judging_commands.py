"""``revseg export``, ``views``, ``compare``, ``accept`` and ``reject``: as in the App."""

import json

import fiftyone as fo
import pytest
from click.testing import CliRunner
from contents import contents
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner, write_video

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.cli.export import _FORMATS
from fiftyone_revseg.dataset.asked import asked_queries
from fiftyone_revseg.dataset.export import FORMATS
from fiftyone_revseg.pipeline import RevSeg


@pytest.fixture
def dataset(make_dataset, tmp_path):
    paths = [tmp_path / "one" / "a.mp4", tmp_path / "b.mp4", tmp_path / "a.mp4"]
    paths[0].parent.mkdir()
    for path in paths:
        write_video(path, 64, 48, 5)
    queries = [["the cat", "the ghost"], ["both"], ["the ghost"]]
    samples = zip(paths, queries, strict=True)
    dataset = make_dataset(*[fo.Sample(str(path), query=asked) for path, asked in samples])
    revseg.segment_view(dataset, RevSeg(ScriptedReasoner(ANSWERS), BoxTracker()), None, "query")
    return dataset


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output if code else result.stdout  # progress goes elsewhere


def tags(dataset):
    dataset.reload()
    found = dataset.values("revseg_answers.classifications")
    return [[answer.tags for answer in answers] for answers in found]


def test_what_was_asked(dataset):
    assert asked_queries(dataset, "revseg") == {"the ghost": 2, "both": 1, "the cat": 1}
    assert asked_queries(dataset.limit(1), "revseg") == {"the cat": 1, "the ghost": 1}
    assert asked_queries(dataset, "other") == asked_queries(dataset, None) == {}


def test_export(dataset, tmp_path):
    assert set(_FORMATS) == set(FORMATS)
    out = tmp_path / "out"
    assert "3 of 3 exported as 'coco-tracks'" in run("export", dataset.name, "-o", out)
    found = json.loads((out / "instances.json").read_text())
    assert [a["query"] for a in found["annotations"]] == ["the cat", "both", "both"]

    (out / "mine.txt").write_text("mine")
    said = run("export", dataset.name, "-o", out, code=1)
    assert "or --overwrite, which replaces" in said
    run("export", dataset.name, "-o", out, "--format", "mot", "--overwrite")
    assert (out / "b.txt").read_text().count("\n") == 10
    assert (out / "mine.txt").read_text() == "mine"


def test_export_of_queries_and_objects(dataset, tmp_path):
    def exported(kind, *arguments):
        out = tmp_path / f"{kind}-{len(list(tmp_path.iterdir()))}"
        said = run("export", dataset.name, "-o", out, "--format", kind, *arguments)
        return out, said

    out, said = exported("coco-tracks", "--query", "the cat", "--query", " both ")
    found = json.loads((out / "instances.json").read_text())
    assert [a["query"] for a in found["annotations"]] == ["the cat", "both", "both"]
    assert "2 of 3 exported" in said
    assert "skipped: it was asked 'the ghost', not 'both' or 'the cat'" in said

    # A query with the answer that there is none is exported: as no object
    out, said = exported("coco-frames", "--query", "the ghost")
    assert "2 of 3 exported" in said
    found = json.loads((out / "instances.json").read_text())
    assert (len(found["images"]), found["annotations"]) == (10, [])

    out, said = exported("youtube-vos", "--object", "2")
    assert "1 of 3 exported" in said
    assert "skipped: there is no object 2 (2 samples" in said
    meta = json.loads((out / "meta.json").read_text())
    assert list(meta["videos"]["b"]["objects"]) == ["2"]
    assert [p.name for p in (out / "Annotations").iterdir()] == ["b"]

    out, said = exported("jsonl", "--query", "both", "--object", "1")
    (line,) = map(json.loads, (out / "trajectories.jsonl").read_text().splitlines())
    assert line["query"] == "both"
    assert [answer["index"] for answer in line["answers"]] == [1]

    nothing = tmp_path / "nothing"
    said = run("export", dataset.name, "-o", nothing, "--query", "the dog", code=1)
    assert "it was asked 'the cat', 'the ghost', not 'the dog'" in said
    assert not nothing.exists()
    run("export", dataset.name, "-o", nothing, "--images", code=1)
    assert not nothing.exists()


def test_views(dataset):
    before = contents(dataset)
    said = run("views", dataset.name)
    assert "not yet reviewed" in said
    assert "drift suspected" in said
    assert contents(dataset) == before

    said = run("views", dataset.name, "not yet reviewed", "no target")
    assert said.splitlines() == [
        "not yet reviewed: 2 samples, saved as 'revseg not yet reviewed'",
        "no target: 2 samples, saved as 'revseg no target'",
    ]
    dataset.reload()
    view = dataset.load_saved_view("revseg no target")
    assert view.values("id") == [dataset.values("id")[0], dataset.values("id")[2]]
    assert run("views", dataset.name, "low confidence", "--threshold", "0")

    dataset.save_view("revseg failures", dataset.limit(1))  # a person's own
    assert "saved as 'revseg failures (ReVSeg)'" in run("views", dataset.name, "failures")
    before = contents(dataset)
    assert "no view 'mistakes'" in run("views", dataset.name, "rejected", "mistakes", code=1)
    assert "no threshold" in run("views", dataset.name, "rejected", "--threshold", "1", code=1)
    run("views", dataset.name, "--threshold", "1", code=2)
    assert "no results" in run("views", dataset.name, "failures", "--label-field", "x", code=1)
    assert contents(dataset) == before


def test_compare(dataset):
    model = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker(hidden=[0, 1]))
    revseg.segment_view(dataset, model, None, "query", label_field="second")
    said = run("compare", dataset.name, "revseg", "second", "--limit", "1")
    first, *_, listed, saved = said.splitlines()
    assert first.startswith("3 of 3 compared in 'revseg_vs_second': mean J&F ")
    dataset.reload()
    worst = dataset.exists("revseg_vs_second").sort_by("revseg_vs_second").first()
    assert listed.split() == [f"{100 * worst.revseg_vs_second:.1f}", worst.filepath]
    assert saved == ("The saved view 'revseg_vs_second disagreement' has the least agreement first")
    assert dataset.has_saved_view("revseg_vs_second disagreement")
    assert "always agrees with itself" in run("compare", dataset.name, "second", "second", code=1)
    assert "There is no field 'frames.x'" in run("compare", dataset.name, "revseg", "x", code=1)


def test_accept_and_reject(dataset, monkeypatch):
    assert run("accept", dataset.name, "--video", "b.mp4") == "2 answers accepted\n"
    assert tags(dataset)[1] == [["accepted"], ["accepted"]]
    said = run("reject", dataset.name, "--video", "b.mp4", "--object", "2", "--by", "anna")
    assert said == "1 answer rejected\n"
    assert tags(dataset)[1] == [["accepted"], ["rejected"]]
    assert tags(dataset)[0][0] == []
    frame = dataset.skip(1).first().frames[1]
    assert [d.tags for d in frame.revseg.detections] == [["accepted"], ["rejected"]]

    answers = dataset.values("revseg_answers.classifications")
    assert answers[1][1]["reviewer"] == "anna"
    # That there is none is an answer, too
    assert run("accept", dataset.name, "--all", "--query", "the ghost") == "2 answers accepted\n"
    assert [own[-1] for own in tags(dataset)] == [["accepted"], ["rejected"], ["accepted"]]

    sample_id, path = dataset.values("id")[0], dataset.values("filepath")[0]
    monkeypatch.chdir(dataset.values("filepath")[2].removesuffix("a.mp4"))
    for name in (sample_id, path, "one/a.mp4"):
        run("accept", dataset.name, "--video", name)
        assert tags(dataset)[0][0] == ["accepted"]
        run("reject", dataset.name, "--all", "--object", "1")
        assert tags(dataset)[0][0] == ["rejected"]


def test_what_is_not_named_is_not_judged(dataset):
    before = contents(dataset)
    for arguments, words in (
        ([], "--video NAME, --view NAME, or --all"),
        (["--all", "--video", "b.mp4"], "--all takes neither"),
    ):
        assert words in run("reject", dataset.name, *arguments, code=2)
    for arguments, words in (
        (["--video", "a.mp4"], "There are 2 videos called 'a.mp4'"),
        (["--video", "c.mp4"], "There is no video 'c.mp4': there is a.mp4"),
        (["--video", "b.mp4", "--object", "3"], "no object with index 3"),
        (["--all", "--label-field", "other"], "no label field 'other'"),
        (["--view", "mine"], "no saved view 'mine'"),
    ):
        assert words in run("accept", dataset.name, *arguments, code=1)
    assert contents(dataset) == before
