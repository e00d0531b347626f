"""The table of figures, on a video with known truth and models that err in known ways."""

import chain_report as chain
import numpy as np
import pytest
from chain_report import Case, Question, evaluate_chain, summarize, to_markdown
from fake_models import BoxTracker, ScriptedReasoner, write_video

from fiftyone_revseg.measures import j_and_f
from fiftyone_revseg.pipeline import RevSeg

WIDTH, HEIGHT, FRAMES = 64, 48, 10
# Boxes in pixels of the 100 x 100 key frame, and the same in the 64 x 48 video
LEFT, LEFT_PX = [0, 0, 50, 50], (0, 0, 32, 24)
RIGHT, RIGHT_PX = [50, 50, 100, 100], (32, 24, 64, 48)


def block(box, first=0):
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    x1, y1, x2, y2 = box
    masks[first:, y1:y2, x1:x2] = True
    return masks


@pytest.fixture
def case(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, WIDTH, HEIGHT, FRAMES)
    return Case(
        str(path),
        np.stack([block(LEFT_PX), block(RIGHT_PX, first=5)]),
        (
            Question("the left one", (0,), "attribute"),
            Question("both", (0, 1), "several"),
            Question("the ghost", (), "no_target"),
            Question("the right one", (1,), "attribute"),
        ),
    )


def scores(case, answers, **tracker):
    pipeline = RevSeg(ScriptedReasoner(answers), BoxTracker(**tracker))
    return {score.query: score for score in evaluate_chain(pipeline, [case])}


RIGHT_ANSWERS = {
    "the left one": [(1, "left", LEFT)],
    "both": [(3, "left", LEFT), (3, "right", RIGHT)],
    "the ghost": [],
    "the right one": [(3, "right", RIGHT)],
}


def test_right_answers(case):
    found = scores(case, RIGHT_ANSWERS)
    assert found["the left one"].values["chain J&F"] == 1
    assert found["the ghost"].values["chain J&F"] == 1
    assert found["both"].values["box IoU > 0.5"] == 1
    assert all(score.values["format valid"] == 1 for score in found.values())
    # This tracker goes on where the object is not there yet, so both figures fall alike
    expected = j_and_f(block(RIGHT_PX), block(RIGHT_PX, first=5))
    assert found["the right one"].values["chain J&F"] == pytest.approx(expected)
    assert found["the right one"].values["tracker J&F"] == pytest.approx(expected)
    assert found["the left one"].values["tracker J&F"] == 1


def test_wrong_answers_do_not_touch_the_tracker_alone(case):
    found = scores(
        case,
        {
            "the left one": [(1, "right", RIGHT)],
            "both": [(3, "left", LEFT), (3, "left again", LEFT)],
            "the ghost": [(0, "left", LEFT)],
            "the right one": [(0, "right", RIGHT)],  # a key frame without the object
        },
    )
    assert found["the left one"].values["box IoU > 0.5"] == 0
    assert found["the left one"].values["chain J&F"] < 0.1
    assert found["the left one"].values["tracker J&F"] == 1
    assert found["both"].values["box IoU > 0.5"] == 0.5
    assert found["the ghost"].values["chain J&F"] == 0
    assert found["the ghost"].values["box IoU > 0.5"] is None
    assert found["the ghost"].values["tracker J&F"] is None
    assert found["the right one"].values["box IoU > 0.5"] == 0


def test_unusable_reply_is_not_valid(case):
    found = scores(case, {**RIGHT_ANSWERS, "the left one": [(1, "left", None)]})
    assert found["the left one"].values["format valid"] == 0
    assert found["the left one"].values["chain J&F"] == 0
    assert found["the left one"].status == "bad_box"
    assert found["both"].values["format valid"] == 1


def test_baselines_know_the_truth_but_not_the_question(case):
    found = scores(case, RIGHT_ANSWERS)
    ones = np.ones((FRAMES, HEIGHT, WIDTH), bool)
    assert found["the left one"].values["whole frame J&F"] == j_and_f(ones, block(LEFT_PX))
    picks = {j_and_f(masks, block(LEFT_PX)) for masks in case.masks}
    assert found["the left one"].values["random object J&F"] in picks
    again = scores(case, RIGHT_ANSWERS)
    for query, score in found.items():
        assert again[query].values == score.values


def test_every_object_is_picked_at_random_alike(case):
    picks = [chain._random_object(case, Question(f"q{i}", (0,), "")) for i in range(200)]
    hits = picks.count(0)
    assert 70 < hits < 130


def test_summary_and_table(case):
    rows = summarize(list(scores(case, RIGHT_ANSWERS).values()))
    assert [(row["kind"], row["pairs"]) for row in rows] == [
        ("attribute", 2),
        ("no_target", 1),
        ("several", 1),
        ("all", 4),
    ]
    by_kind = {row["kind"]: row for row in rows}
    assert by_kind["no_target"]["box IoU > 0.5"] is None
    assert by_kind["all"]["box IoU > 0.5"] == 1  # the mean of those that have a target
    table = to_markdown(rows).splitlines()
    assert table[0].startswith("| kind | pairs | format valid |")
    assert table[-len(chain.MEASURES) - 2].startswith("| all | 4 | 100.0 |")
    assert len({line.count("|") for line in table if line.startswith("|")}) == 1


def test_wrong_truth_is_refused(case):
    cut = Case(case.path, case.masks[:, :-1], case.questions)
    with pytest.raises(ValueError, match="its masks"):
        scores(cut, RIGHT_ANSWERS)
