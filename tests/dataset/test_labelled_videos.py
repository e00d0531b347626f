"""Detections as the database holds them read like FiftyOne's own."""

import fiftyone as fo
import numpy as np
import pytest

from fiftyone_revseg.dataset.stored_detection import StoredDetection


@pytest.fixture
def detection():
    return fo.Detection(
        label="the red circle",
        bounding_box=[0.1, 0.2, 0.3, 0.4],
        mask=np.eye(3, dtype=bool),
        confidence=0.5,
        index=2,
        instance=fo.Instance(),
        query="the circle",
        corners=[1, 2],
    )


def test_a_stored_detection_reads_like_the_label(detection):
    stored = StoredDetection(detection.to_mongo().to_dict())
    for name in ("label", "bounding_box", "confidence", "index", "mask_path"):
        assert getattr(stored, name) == getattr(detection, name)
    np.testing.assert_array_equal(stored.mask, detection.mask)
    assert stored["query"] == "the circle"
    assert stored["corners"] == [1, 2]
    assert str(stored.instance.id) == str(detection.instance.id)
    assert stored.has_field("query")
    assert stored.has_field("mask_path")
    assert not stored.has_field("color")


def test_what_a_stored_detection_lacks_is_missing(detection):
    values = detection.to_mongo().to_dict()
    for name in ("mask", "confidence", "index"):
        del values[name]
    stored = StoredDetection(values)
    assert stored.mask is stored.confidence is stored.index is None
    with pytest.raises(AttributeError):
        _ = stored.color
    with pytest.raises(KeyError):
        stored["color"]
