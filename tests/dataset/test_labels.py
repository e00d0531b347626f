"""Segmentations, made by hand, as FiftyOne labels."""

import gc
import json
from dataclasses import replace

import fiftyone as fo
import numpy as np
import pytest
from pycocotools import mask as coco

from fiftyone_revseg.dataset import make_labels
from fiftyone_revseg.dataset.certainty_map import CertaintyMap
from fiftyone_revseg.pipeline import Segmentation
from fiftyone_revseg.reasoning import Grounding, KeyframeChoice, Trajectory
from fiftyone_revseg.tracking import MaskTrack, encode_masks
from fiftyone_revseg.types import FrameTable, Status

WIDTH, HEIGHT = 40, 20


def l_shape():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:15, 10:12] = True
    mask[13:15, 10:30] = True
    return mask


def track(masks, scores):
    return MaskTrack(
        object_id=0,
        frame_count=len(masks),
        size=(WIDTH, HEIGHT),
        rles=tuple(None if m is None else encode_masks(m[None])[0] for m in masks),
        scores=tuple(scores),
    )


def segmentation(query, objects, status=Status.OK, reason="", first_frame=0):
    """objects: (sampled key frame, description, confidence, track or None)."""
    table = FrameTable((0, 2, 4), (0.0, 0.2, 0.4), 5, 0.5)
    trajectory = Trajectory(
        query=query,
        frame_table=table,
        source_size=(WIDTH, HEIGHT),
        status=status,
        reason=reason,
        think=f"about {query}",
        choices=tuple(KeyframeChoice(k, d) for k, d, _, _ in objects),
        groundings=tuple(Grounding((1, 2, 30, 15), c) if t else None for _, _, c, t in objects),
    )
    tracks = tuple(t for *_, t in objects)
    return Segmentation(
        trajectory, tracks, status, reason, {"track": 1.0}, "v.mp4", 10.0, first_frame, "m + t"
    )


def test_frames_are_one_based_and_all_there():
    shown = track([None, l_shape(), None, l_shape(), None], [None, 0.9, None, 0.7, None])
    labels = make_labels([segmentation("q", [(1, "an L", 0.8, shown)])])
    assert list(labels.frames) == [1, 2, 3, 4, 5]
    assert [len(labels.frames[k].detections) for k in range(1, 6)] == [0, 1, 0, 1, 0]


def test_detection_holds_the_mask_in_its_box():
    shown = track([l_shape()] * 5, [0.9] * 5)
    labels = make_labels([segmentation("q", [(1, "an L", 0.8, shown)])])
    detection = labels.frames[1].detections[0]
    assert detection.bounding_box == pytest.approx([10 / 40, 5 / 20, 20 / 40, 10 / 20])
    assert detection.mask.dtype == bool
    assert np.array_equal(detection.mask, l_shape()[5:15, 10:30])
    whole = detection.to_segmentation(frame_size=(WIDTH, HEIGHT)).mask > 0
    assert np.array_equal(whole, l_shape())
    assert detection.label == "an L"
    assert detection.query == "q"
    assert detection.confidence == pytest.approx(0.9)


def test_objects_keep_index_and_instance_over_frames_and_queries():
    shown = [track([l_shape()] * 5, [0.9] * 5) for _ in range(3)]
    first = segmentation("two", [(0, "a", 0.5, shown[0]), (1, "b", 0.5, shown[1])])
    labels = make_labels([first, segmentation("one", [(2, "c", 0.5, shown[2])])])
    for k in range(1, 6):
        assert [(d.index, d.label) for d in labels.frames[k].detections] == [
            (1, "a"),
            (2, "b"),
            (3, "c"),
        ]
    instances = [[d.instance for d in labels.frames[k].detections] for k in (1, 5)]
    assert instances[0] == instances[1]
    assert len({str(instance.id) for instance in instances[0]}) == 3


def test_answers_and_keyframes():
    shown = track([l_shape()] * 5, [0.9] * 5)
    labels = make_labels([segmentation("q", [(1, "an L", 0.8, shown)])])
    (answer,) = labels.answers.classifications
    assert (answer.label, answer.confidence, answer.query) == ("an L", 0.8, "q")
    assert (answer.reasoning, answer.keyframe, answer.status) == ("about q", 3, "ok")
    assert (answer.reason, answer.model) == ("", "m + t")
    assert (answer.index, list(answer.support)) == (1, [1, 5])
    (keyframe,) = labels.keyframes.detections
    assert (keyframe.label, list(keyframe.support), keyframe.query) == ("an L", [3, 3], "q")
    assert (labels.reasoning, labels.status) == ("about q", "ok")


def test_failures_leave_an_answer_with_the_reason():
    none = segmentation("ghost", [], Status.NO_TARGET, "there is no ghost")
    ok = segmentation("q", [(1, "an L", 0.8, track([l_shape()] * 5, [1.0] * 5))])
    labels = make_labels([ok, none])
    assert labels.status == "no_target"  # the first that is not ok
    answer = labels.answers.classifications[1]
    assert (answer.label, answer.status, answer.reason) == (
        "no_target",
        "no_target",
        "there is no ghost",
    )
    assert answer.keyframe is None
    assert len(labels.keyframes.detections) == 1
    assert labels.reasoning == "q: about q\n\nghost: about ghost"


def test_lost_and_ungrounded_objects_have_their_own_status():
    shown = track([l_shape()] * 5, [1.0] * 5)
    lost = track([None] * 5, [None] * 5)
    objects = [(0, "seen", 0.5, shown), (1, "lost", 0.5, lost), (2, "unboxed", None, None)]
    labels = make_labels([segmentation("q", objects)])
    statuses = [answer.status for answer in labels.answers.classifications]
    assert statuses == ["ok", "lost", "bad_box"]
    assert labels.status == "ok"


def test_clip_has_the_frame_numbers_of_the_file():
    shown = track([l_shape()] * 5, [0.9] * 5)
    labels = make_labels([segmentation("q", [(1, "an L", 0.8, shown)], first_frame=100)])
    assert list(labels.frames) == [101, 102, 103, 104, 105]
    assert labels.answers.classifications[0].keyframe == 103
    assert list(labels.keyframes.detections[0].support) == [103, 103]


def test_confidence_threshold_drops_detections_but_no_frames():
    shown = track([l_shape()] * 5, [0.9, 0.3, 0.5, None, 0.9])
    labels = make_labels([segmentation("q", [(1, "an L", 0.8, shown)])], confidence_thresh=0.5)
    assert [len(labels.frames[k].detections) for k in range(1, 6)] == [1, 0, 1, 0, 1]


def test_mask_without_pixels_is_no_detection():
    # A run-length code may hold nothing, and Detection.from_mask would raise
    shown = track([l_shape()] * 5, [0.1] * 5)
    nothing = coco.encode(np.zeros((HEIGHT, WIDTH), np.uint8, order="F"))
    shown = replace(shown, rles=(nothing, *shown.rles[1:]))
    labels = make_labels([segmentation("q", [(1, "an L", 0.8, shown)])])
    assert [len(labels.frames[k].detections) for k in range(1, 6)] == [0, 1, 1, 1, 1]


def test_trajectory_is_plain_data_without_masks():
    shown = track([l_shape()] * 5, [0.9] * 5)
    labels = make_labels([segmentation("q", [(1, "an L", 0.8, shown)])])
    (d,) = json.loads(json.dumps(labels.trajectory))["segmentations"]
    assert "tracks" not in d
    assert d["trajectory"]["choices"] == [{"frame": 1, "description": "an L"}]
    assert d["timings"] == {"track": 1.0}


def test_the_labels_of_a_frame_are_made_when_they_are_asked_for():
    shown = [track([l_shape()] * 5, [0.9] * 5) for _ in range(2)]
    objects = [(0, "a", 0.5, shown[0]), (1, "b", 0.5, shown[1])]
    labels = make_labels([segmentation("q", objects)])
    assert list(labels.frames) == [1, 2, 3, 4, 5]
    assert (len(labels.frames), 6 in labels.frames, labels.frames.get(0)) == (5, False, None)
    held = [frame for frame in gc.get_objects() if type(frame) is fo.Detection]
    seen = sum(len(detections.detections) for detections in labels.frames.values())
    assert seen == 10
    gc.collect()
    left = [frame for frame in gc.get_objects() if type(frame) is fo.Detection]
    assert len(left) <= len(held) + 2


def looked_again(found, **known):
    return replace(found, trajectory=replace(found.trajectory, **known))


def test_certainty_and_agreement_are_on_answers_and_detections():
    shown = track([None, l_shape(), l_shape(), None, None], [None, 0.9, 0.8, None, None])
    sure = segmentation("q", [(1, "an L", 0.8, shown), (0, "an I", 0.7, shown)])
    none = segmentation("ghost", [], Status.NO_TARGET)
    labels = make_labels(
        [
            looked_again(sure, certainty=0.75, agreement=0.5),
            looked_again(none, certainty=0.25),
            segmentation("plain", [(1, "an L", 0.8, shown)]),
        ]
    )
    answers = [answer.to_dict() for answer in labels.answers.classifications]
    known = [(a.get("certainty"), a.get("agreement")) for a in answers]
    assert known == [(0.75, 0.5), (0.75, 0.5), (0.25, None), (None, None)]
    found = [d.to_dict() for d in labels.frames[2].detections]
    assert [d.get("certainty") for d in found] == [0.75, 0.75, None]
    assert [d.get("agreement") for d in found] == [0.5, 0.5, None]
    # What is not known takes no room: documents are what they were before there was such a thing
    new = {"certainty", "certainty_raw", "agreement"}
    assert not new & ({*answers[3]} | {*found[2]})
    assert new & {*answers[0]} == {"certainty", "agreement"}
    stored = [r["trajectory"] for r in labels.trajectory["segmentations"]]
    assert [r.get("certainty") for r in stored] == [0.75, 0.25, None]
    assert not {"certainty", "agreement", "candidates", "verdicts", "repairs"} & {*stored[2]}


def test_a_calibrated_certainty_has_the_models_own_beside_it():
    shown = track([l_shape()] * 5, [0.9] * 5)
    found = looked_again(segmentation("q", [(1, "an L", 0.8, shown)]), certainty=0.6)
    calibration = CertaintyMap((0.5, 0.7), (0.1, 0.3), 100, 40, 0.5)
    labels = make_labels([found], calibration=calibration)
    (answer,) = labels.answers.classifications
    assert (answer.certainty, answer.certainty_raw) == (pytest.approx(0.2), 0.6)
    assert labels.frames[1].detections[0].certainty == pytest.approx(0.2)
    (record,) = labels.trajectory["segmentations"]
    assert record["trajectory"]["certainty"] == 0.6
    plain = make_labels([segmentation("q", [(1, "an L", 0.8, shown)])], calibration=calibration)
    assert "certainty_raw" not in plain.answers.classifications[0].to_dict()
