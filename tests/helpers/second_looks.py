"""Results of chains that looked again, written as those of any other, without such a chain."""

from __future__ import annotations

from dataclasses import replace

from fiftyone_revseg.dataset import declare_fields, make_labels
from fiftyone_revseg.dataset.collection import video_of
from fiftyone_revseg.dataset.writer import LabelWriter
from fiftyone_revseg.reasoning.looking_again import Candidate, Look, Repair, Verdict
from fiftyone_revseg.reasoning.trajectory import KeyframeChoice, Turn
from fiftyone_revseg.types import Status

#: What a model may write into each text
SAID = {"think": "why not", "why": "it is the only *cat*", "repair": "the track jumps"}


def write_second_looks(sample, pipeline, queries, label_field="revseg", calibration=None, **known):
    """Segments a video, and writes the answers as a chain would that looked again.

    Args:
        sample: the sample
        pipeline: what segments it
        queries: the queries
        label_field: the label field
        calibration: what makes certainties true
        **known: of each trajectory, values that :func:`second_look` leaves as they are
    """
    found = pipeline.segment(sample.filepath, list(queries))
    found = [replace(s, trajectory=second_look(s.trajectory, **known)) for s in found]
    declare_fields(sample.dataset, label_field)
    labels = make_labels(found, calibration=calibration)
    LabelWriter(sample.dataset, label_field).write(video_of(sample), labels)
    sample.dataset.reload()
    sample.reload()


def second_look(trajectory, said=SAID, **known):
    """All that there can be: looks before, candidates that disagree, verdicts, and a repair."""
    numbers = tuple(range(1, len(trajectory.choices) + 1))
    own = Candidate(
        Status.OK, "", said["think"], trajectory.choices, trajectory.groundings, numbers, 0.75
    )
    none = Candidate(Status.NO_TARGET, "there is none", said["think"], agreement=0.25)
    failed = Candidate(Status.BAD_BOX, said["why"])
    turns = [
        Turn("what?", f"<think>{said['think']}</think>[]", 5, 1.0, candidate=1),
        Turn("where?", "[1, 2]", 5, 1.0, 2, 0, candidate=2),
        Turn("which?", '{"objects": [1]}', 5, 1.0, 3, None, 0, said["why"]),
    ]
    verdicts = (
        Verdict((), (), said["why"], 0.5, (0, 4), 3),
        Verdict(numbers, (1,), said["why"], 0.625, (1, 4, 8), 3),
    )
    values = {
        "certainty": 0.625,
        "agreement": 0.5,
        "candidates": (own, own, none, failed),
        "verdicts": verdicts,
        "repairs": (Repair(0, 6, (1.0, 2.0, 9.0, 9.0), said["repair"], 5, 9),),
        "looks": (
            Look("window", (0, 3), (KeyframeChoice(1, said["why"]),)),
            Look("window", (6, 9), (), said["why"]),
            Look("stretch", (0, 3, 6, 9), (), "", (1, 2)),
        ),
        "turns": (*trajectory.turns, *turns),
    }
    return replace(trajectory, **{**values, **known})
