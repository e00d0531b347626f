"""No door replaces labels that a run of ours did not write, and none a person's work."""

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
import pytest
from click.testing import CliRunner
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.segment import Segment
from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset import list_runs
from fiftyone_revseg.dataset.correct import propagate
from fiftyone_revseg.pipeline import RevSeg

URI = "fiftyone_revseg/segment"
FRAMES = 10
OVERWRITE = {"none": False, "changed": "changed", "all": True}  # of the command, and of Python
EXISTING = {"none": "keep", "changed": "changed", "all": "all"}  # of the operator


def pipeline():
    return RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())


@pytest.fixture(autouse=True)
def _fake_models(monkeypatch):
    monkeypatch.setattr(models, "get_model", lambda loading: revseg.load_model(pipeline()))
    monkeypatch.setattr("fiftyone_revseg.pipeline.Loading.load", lambda loading: pipeline())


def documents(dataset):
    """The documents of all samples and frames, as they are in the database."""
    collections = [dataset._sample_collection]
    if dataset.media_type != "image":
        collections.append(dataset._frame_collection)
    return [list(collection.find().sort("_id", 1)) for collection in collections]


def by_apply_model(samples, field, query, overwrite, **replace):
    model = revseg.load_model(pipeline(), query=query, label_field=field, **replace)
    samples.apply_model(model, label_field=field)


def by_segment_view(samples, field, query, overwrite, **replace):
    revseg.segment_view(
        samples,
        pipeline(),
        queries=query,
        label_field=field,
        overwrite=OVERWRITE[overwrite],
        **replace,
    )


def by_command(samples, field, query, overwrite, **replace):
    name = samples.name if isinstance(samples, fo.Dataset) else samples.dataset_name
    arguments = ["apply", name, "--query", query, "--label-field", field]
    if samples.media_type == "image":
        arguments += ["--group-by", "scene", "--order-by", "k"]
    elif not isinstance(samples, fo.Dataset):
        fo.load_dataset(name).save_view("a_view", samples, overwrite=True)
        arguments += ["--view", "a_view"]
    flags = [f"--{name.replace('_', '-')}" for name, value in replace.items() if value]
    result = CliRunner().invoke(main, [*arguments, "--overwrite", overwrite, *flags])
    if result.exit_code:
        raise ValueError(result.output)


def by_operator(samples, field, query, overwrite, **replace):
    segment = foo.get_operator("fiftyone_revseg/segment")
    segment(samples, query, label_field=field, existing=EXISTING[overwrite], **replace)


DOORS = {
    "apply_model": by_apply_model,
    "segment_view": by_segment_view,
    "command": by_command,
    "operator": by_operator,
}
REFUSALS = (ValueError, ExecutionError)


def detection(label="a person's", **attributes):
    mask = np.zeros((12, 16), bool)
    mask[2:8, 3:9] = True
    return fo.Detection(label=label, bounding_box=[0.1, 0.2, 0.25, 0.25], mask=mask, **attributes)


def truth(dataset, field="truth"):
    for sample in dataset:
        for number in (1, 2, 5):
            sample.frames[number] = fo.Frame(
                **{field: fo.Detections(detections=[detection(index=1)])}
            )
        sample.save()
    return field


def other_type(dataset):
    for sample in dataset:
        sample.frames[3] = fo.Frame(truth=fo.Classification(label="rain"))
        sample.save()
    return "truth"


def sample_field(dataset):
    return "query"


def ours(dataset):
    revseg.segment_view(dataset, pipeline(), queries="the cat")
    return "revseg"


def ours_corrected(dataset):
    field = ours(dataset)
    for sample in dataset:
        propagate(sample, 1, {5: [0.5, 0.25, 0.25, 0.5]}, BoxTracker(), field)
    return field


def ours_accepted(dataset):
    field = ours(dataset)
    assert revseg.accept(dataset, 1, label_field=field) == 2
    return field


def empty(dataset):
    dataset.add_frame_field("nothing", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    sample = dataset.first()
    sample.frames[2] = fo.Frame(nothing=fo.Detections())
    sample.save()
    return "nothing"


REFUSED = {
    "truth": (truth, "'frames.truth'.*Detections in 6 frames of 2 samples"),
    "other type": (other_type, r"'frames.truth'.*Classification in 2 frames"),
    "sample field": (sample_field, r"'query' is a field of the samples.*StringField in 2 samples"),
}
KEPT = {"corrected": ours_corrected, "accepted": ours_accepted}


@pytest.fixture
def dataset(make_dataset, videos):
    return make_dataset(*[fo.Sample(path, query="both") for path in videos[:2]])


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_not_ours_is_refused(dataset, door, kind):
    make, message = REFUSED[kind]
    field = make(dataset)
    before, schema = documents(dataset), dataset.get_frame_field_schema(flat=True)
    for overwrite in OVERWRITE:
        with pytest.raises(REFUSALS, match=f"(?s){message}.*another label_field"):
            DOORS[door](dataset, field, "the cat", overwrite)
    dataset.reload()
    assert documents(dataset) == before
    assert dataset.get_frame_field_schema(flat=True).keys() == schema.keys()
    assert not list_runs(dataset)


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("door", DOORS)
def test_a_persons_work_is_kept(dataset, door, kind):
    field = KEPT[kind](dataset)
    before = documents(dataset)
    for overwrite in OVERWRITE:
        DOORS[door](dataset, field, "both", overwrite)
    assert documents(dataset) == before


@pytest.mark.parametrize("door", DOORS)
def test_ours_is_redone_and_a_persons_work_if_told_to(dataset, door):
    field = ours(dataset)
    DOORS[door](dataset, field, "both", "changed")
    assert dataset.count(f"frames.{field}.detections") == 2 * 2 * FRAMES
    ours_accepted(dataset)
    DOORS[door](dataset, field, "the cat", "changed")
    assert dataset.count(f"frames.{field}.detections") == 2 * 2 * FRAMES
    DOORS[door](dataset, field, "the cat", "changed", replace_corrections=True)
    assert dataset.count(f"frames.{field}.detections") == 2 * FRAMES
    assert dataset.count_label_tags() == {}


@pytest.mark.parametrize("door", DOORS)
def test_what_is_not_ours_is_replaced_if_told_to(dataset, door):
    field = truth(dataset)
    DOORS[door](dataset, field, "the cat", "none", replace_foreign_labels=True)
    dataset.reload()
    assert set(dataset.values(f"{field}_status")) == {"ok"}
    assert dataset.distinct(f"frames.{field}.detections.label") == ["a grey cat"]


@pytest.mark.parametrize("door", DOORS)
def test_an_empty_field_is_written(dataset, door):
    field = empty(dataset)
    DOORS[door](dataset, field, "the cat", "none")
    dataset.reload()
    assert set(dataset.values(f"{field}_status")) == {"ok"}


def form(dataset, **params):
    request = {
        "dataset_name": dataset.name,
        "view": dataset.view()._serialize(),
        "params": {"query": "the cat", **params},
        "operator_uri": URI,
    }
    ctx = ExecutionContext(request, executor=Executor(), operator_uri=URI)
    return Segment().resolve_input(ctx).type.properties


def test_the_form_offers_both_ways_on_where_they_matter(dataset):
    ours_accepted(dataset)
    shown = form(dataset)
    assert not {"replace_foreign_labels", "replace_corrections"} & set(shown)
    shown = form(dataset, existing="all")
    assert "2 videos were corrected or accepted" in shown["replace_corrections"].view.description

    truth(dataset)
    shown = form(dataset, label_field="truth")
    assert "Detections in 6 frames of 2 samples" in shown["label_field"].error_message
    assert shown["replace_foreign_labels"].type.to_json() == {"name": "Boolean"}
    assert not shown["replace_foreign_labels"].default
    ticked = form(dataset, label_field="truth", replace_foreign_labels=True)
    assert not ticked["label_field"].invalid
    shown = form(dataset, label_field="query", replace_foreign_labels=True)
    assert "is a field of the samples" in shown["label_field"].error_message


@pytest.fixture
def images(make_dataset, tmp_path):
    samples = []
    for scene in ("a", "b"):
        for k in range(4):
            path = tmp_path / f"{scene}{k}.png"
            Image.new("RGB", (64, 48), (40 * k, 0, 0)).save(path)
            samples.append(fo.Sample(str(path), scene=scene, k=k))
    return make_dataset(*samples)


@pytest.mark.parametrize("overwrite", ["none", "all"])
@pytest.mark.parametrize("door", ["segment_view", "command", "operator"])
def test_frames_of_images(images, door, overwrite):
    groups = images.group_by("scene", order_by="k")
    images.set_values("truth", [fo.Detections(detections=[detection()])] + [None] * 7)
    before = documents(images)
    with pytest.raises(REFUSALS, match=r"(?s)'truth'.*Detections on 1 sample:.*another label"):
        DOORS[door](groups, "truth", "the cat", overwrite)
    with pytest.raises(REFUSALS, match=r"(?s)'scene'.*StringField in 8 samples.*another label"):
        DOORS[door](groups, "scene", "the cat", overwrite)
    images.reload()
    assert documents(images) == before

    # Ours, of which one group was accepted
    DOORS[door](groups, "revseg", "the cat", overwrite)
    images.reload()
    groups = images.group_by("scene", order_by="k")
    revseg.accept(next(groups.iter_dynamic_groups()), 1)
    before = documents(images)
    DOORS[door](groups, "revseg", "both", overwrite)
    assert documents(images)[0][:4] == before[0][:4]
    assert (documents(images)[0][4:] == before[0][4:]) is (overwrite == "none")
