"""Queries that nobody can ask, and odd ones that one can, by every way in."""

import fiftyone as fo
import pytest
from click.testing import CliRunner
from fake_models import SPEC, BoxTracker, write_video

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.reasoning import Reply
from fiftyone_revseg.reasoning.queries import MAX_LENGTH, refusal

REFUSED = {
    "": "is empty",
    " \t\n": "is empty",
    "\u200b\ufeff\u202e": "is empty",  # nobody sees them
    "\x00\x07": "is empty",
    "d" * (MAX_LENGTH + 1): r"has 10,001 characters, and at most 10,000",
    "d" * 2**20: r"has 1,048,576 characters",
    "a dog \ud83d": "holds broken characters",
}
ASKED = [
    "d" * MAX_LENGTH,
    "a\x00b\x1b[31mc",
    "\u202edog",
    "two\nlines\r\n",
    'a "b" \\ {query} {frames} <|im_end|> <think>',
    "$where",
    "a.b.c",
    "🐕👩‍👩‍👧 犬",
    "7",
    "null",
]


class Finder:
    """Finds an object, whatever it is asked."""

    name, spec = "finder", SPEC

    def generate(self, conversations, spec):
        return [Reply(self._reply(conversation)) for conversation in conversations]

    def _reply(self, conversation):
        if any(message.role == "assistant" for message in conversation.messages):
            return '[{"bbox_2d": [10, 10, 60, 60], "label": 7}]'
        return '<think>t</think><answer>[{"frame_idx": 1, "object description": "x"}]</answer>'


@pytest.fixture
def sample(tmp_path):
    write_video(tmp_path / "clip.mp4", 64, 48, 10)
    return fo.Sample(str(tmp_path / "clip.mp4"))


@pytest.mark.parametrize("query", REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_asked(make_dataset, sample, query):
    dataset = make_dataset(sample)
    model = RevSeg(Finder(), BoxTracker())
    with pytest.raises(ValueError, match=REFUSED[query]) as caught:
        revseg.segment_view(dataset, model, ["the cat", query])
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match=REFUSED[query]):
        revseg.load_model(model, query=query)
    assert not dataset.has_field("revseg_status")
    for command in (["segment", sample.filepath, query], ["apply", "x", "--query", query]):
        said = CliRunner().invoke(main, command)
        assert said.exit_code == 2
        assert refusal(query).removeprefix("The query") in " ".join(said.output.split())


@pytest.mark.parametrize("query", [7, 1.5, float("nan"), True, {"a": 1}, b"dog", [["a"]], [None]])
def test_what_is_no_text(make_dataset, sample, query):
    with pytest.raises(ValueError, match=r"The query is (no text, but|empty)"):
        revseg.segment_view(make_dataset(sample), RevSeg(Finder(), BoxTracker()), query)


def test_what_cannot_be_asked_in_a_field_ends_no_run(make_dataset, sample):
    queries = [text for text in REFUSED if "\ud83d" not in text]  # no field can hold that
    path = sample.filepath
    dataset = make_dataset(*[fo.Sample(path, query=text) for text in [*queries, "the cat"]])
    summary = revseg.segment_view(dataset, RevSeg(Finder(), BoxTracker()), prompt_field="query")
    assert summary.done == len(queries) + 1
    assert dataset.values("revseg_status") == ["error"] * len(queries) + ["ok"]
    model = revseg.load_model(
        RevSeg(Finder(), BoxTracker()), prompt_field="query", label_field="other"
    )
    dataset.apply_model(model, label_field="other")
    assert dataset.values("other_status") == dataset.values("revseg_status")


def test_odd_queries_are_asked_and_kept(make_dataset, sample):
    dataset = make_dataset(sample)
    model = RevSeg(Finder(), BoxTracker())
    revseg.segment_view(dataset, model, ASKED)
    answers = dataset.first().revseg_answers.classifications
    assert [(a.query.strip(), a.status, a.label) for a in answers] == [
        (query.strip(), "ok", "x") for query in ASKED
    ]
    again = revseg.segment_view(dataset, model, ASKED)
    assert (again.skipped, again.done) == (1, 0)
