import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fiftyone_revseg.reasoning import ChainSpec, Grounding, KeyframeChoice, Trajectory, Turn
from fiftyone_revseg.reasoning.looking_again import Candidate, Repair, Verdict
from fiftyone_revseg.types import FrameTable, Status

numbers = st.floats(0, 1e5)
tables = st.lists(st.integers(0, 999), unique=True, max_size=16).map(
    lambda ks: FrameTable(
        tuple(sorted(ks)), tuple(k / 24 for k in sorted(ks)), 1000, duration=1000 / 24
    )
)
turns = st.builds(
    Turn,
    prompt=st.text(),
    reply=st.text(),
    tokens=st.integers(0, 9),
    seconds=numbers,
    turn=st.sampled_from([1, 2]),
    object=st.none() | st.integers(0, 3),
    attempt=st.integers(0, 3),
    error=st.none() | st.text(),
    confidence=st.none() | st.floats(0, 1),
    prompt_tokens=st.integers(0, 9),
)
groundings = st.none() | st.builds(
    Grounding, st.tuples(numbers, numbers, numbers, numbers), st.none() | st.floats(0, 1)
)
objects = st.lists(
    st.tuples(st.builds(KeyframeChoice, st.integers(0, 15), st.text()), groundings), max_size=4
)


@st.composite
def trajectories(draw):
    found = draw(objects)
    return Trajectory(
        query=draw(st.text()),
        frame_table=draw(tables),
        source_size=draw(st.tuples(st.integers(1, 9999), st.integers(1, 9999))),
        status=draw(st.sampled_from(Status)),
        reason=draw(st.text()),
        think=draw(st.text()),
        choices=tuple(choice for choice, _ in found),
        groundings=tuple(grounding for _, grounding in found),
        turns=tuple(draw(st.lists(turns, max_size=4))),
        model=draw(st.text()),
        spec=draw(st.none() | st.builds(ChainSpec, frames=st.integers(1, 20))),
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trajectories())
def test_survives_json_without_loss(trajectory):
    assert Trajectory.from_json(trajectory.to_json()) == trajectory
    assert Trajectory.from_dict(trajectory.to_dict()) == trajectory


def test_key_frames_are_source_frames():
    table = FrameTable((0, 10, 25), (0.0, 1.0, 2.5), 26, 2.6)
    trajectory = Trajectory(
        "q", table, (8, 8), Status.OK, choices=(KeyframeChoice(2, "a"),), groundings=(None,)
    )
    assert trajectory.key_frames == (25,)


def test_objects_are_aligned():
    table = FrameTable((0,), (0.0,), 1, 0.1)
    with pytest.raises(ValueError, match="1 choices but 0 groundings"):
        Trajectory("q", table, (8, 8), Status.OK, choices=(KeyframeChoice(0, "a"),))


def test_what_was_looked_at_again_survives_json():
    table = FrameTable((0, 4), (0.0, 0.5), 5, 0.6)
    choice, grounding = KeyframeChoice(1, "a cat"), Grounding((1.0, 2.0, 3.0, 4.0), 0.5)
    trajectory = Trajectory(
        "q",
        table,
        (8, 8),
        Status.OK,
        choices=(choice,),
        groundings=(grounding,),
        turns=(Turn("p", "r", 1, 0.1, turn=3), Turn("p", "r", 1, 0.1, candidate=1)),
        spec=ChainSpec(samples=1, verdict=True),
        certainty=0.25,
        agreement=0.5,
        candidates=(
            Candidate(Status.OK, "", "hm", (choice,), (grounding,), (1,), 0.5),
            Candidate(Status.NO_TARGET, "none"),
            Candidate(Status.BAD_BOX, "no box", "", (choice,), (None,), (None,), 0.0),
        ),
        verdicts=(Verdict((1,), (0,), "why", 0.25, (0, 4), 2), Verdict((), count=1)),
        repairs=(Repair(0, 3, (0.0, 0.0, 2.0, 2.0), "lost", 2, 4),),
    )
    assert Trajectory.from_json(trajectory.to_json()) == trajectory
    assert trajectory.candidates[0].numbers == {1}
    assert not trajectory.candidates[2].numbers


def test_an_answer_that_was_not_looked_at_again_is_stored_as_before():
    stored = Trajectory("q", FrameTable((), (), 0, 0.0), (0, 0), Status.ERROR, spec=ChainSpec())
    assert "certainty" not in stored.to_dict()
    assert "candidates" not in stored.to_dict()
    assert "samples" not in stored.to_dict()["spec"]
    assert "candidate" not in Turn("p", "r", 1, 0.1).to_dict()
