"""Fields are declared once, with their attributes, and never over something else."""

import uuid

import fiftyone as fo
import pytest

from fiftyone_revseg.dataset import declare_fields, field_names
from fiftyone_revseg.dataset.schema import valid_label_field


@pytest.fixture
def dataset():
    dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    dataset.media_type = "video"
    yield dataset
    dataset.delete()


def test_every_field_and_attribute_is_declared(dataset):
    declare_fields(dataset)
    types = {
        "frames.revseg": fo.Detections,
        "revseg_answers": fo.Classifications,
        "revseg_keyframes": fo.TemporalDetections,
    }
    for path, label_type in types.items():
        assert dataset.get_field(path).document_type is label_type
    assert isinstance(dataset.get_field("revseg_reasoning"), fo.StringField)
    assert isinstance(dataset.get_field("revseg_status"), fo.StringField)
    assert isinstance(dataset.get_field("revseg_trajectory"), fo.DictField)
    assert set(field_names()) == {
        *types,
        "revseg_reasoning",
        "revseg_status",
        "revseg_trajectory",
    }
    for attribute in ("query", "reasoning", "status", "reason", "model"):
        field = dataset.get_field(f"revseg_answers.classifications.{attribute}")
        assert isinstance(field, fo.StringField)
    assert isinstance(dataset.get_field("revseg_answers.classifications.keyframe"), fo.IntField)
    assert isinstance(dataset.get_field("frames.revseg.detections.query"), fo.StringField)
    for labels in ("revseg_answers.classifications", "frames.revseg.detections"):
        for attribute in ("certainty", "agreement"):
            assert isinstance(dataset.get_field(f"{labels}.{attribute}"), fo.FloatField)
    raw = dataset.get_field("revseg_answers.classifications.certainty_raw")
    assert isinstance(raw, fo.FloatField)
    assert isinstance(dataset.get_field("revseg_keyframes.detections.query"), fo.StringField)


def test_declaring_twice_changes_nothing(dataset):
    declare_fields(dataset, "other")
    before = (dataset.get_field_schema(flat=True), dataset.get_frame_field_schema(flat=True))
    declare_fields(dataset, "other")
    after = (dataset.get_field_schema(flat=True), dataset.get_frame_field_schema(flat=True))
    assert [set(schema) for schema in before] == [set(schema) for schema in after]
    assert "other_status" in before[0]
    assert "other" in before[1]


@pytest.mark.parametrize(
    ("name", "field"), [("revseg_status", fo.IntField), ("revseg_trajectory", fo.StringField)]
)
def test_a_field_of_another_type_is_refused(dataset, name, field):
    dataset.add_sample_field(name, field)
    with pytest.raises(ValueError, match=f"'{name}'.*another label_field"):
        declare_fields(dataset)


def test_a_label_field_of_another_type_is_refused(dataset):
    dataset.add_frame_field("revseg", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    with pytest.raises(ValueError, match=r"'frames\.revseg'"):
        declare_fields(dataset)


def test_frames_are_no_label_field():
    for name in ("frames", "frames.frames"):
        with pytest.raises(ValueError, match="cannot be 'frames'"):
            valid_label_field(name)


def test_the_app_can_make_forms_for_all_fields(dataset):
    from fiftyone.core.annotation.generate_label_schemas import generate_label_schemas

    declare_fields(dataset)
    schemas = generate_label_schemas(dataset)
    assert {"frames.revseg", "revseg_answers", "revseg_keyframes", "revseg_status"} <= set(schemas)
