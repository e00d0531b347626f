"""All ways onto a dataset leave the same fields and values, with the embedded pair."""

import uuid
from dataclasses import dataclass

import fiftyone as fo
import pytest
from click.testing import CliRunner
from contents import contents

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset.collection import source_dataset
from fiftyone_revseg.masks.pictures import write_video
from fiftyone_revseg.synthetic import make_world

pytestmark = pytest.mark.slow

OLD, NEW = "the object that appears last", "the red circle"


@pytest.fixture(scope="module")
def pipeline():
    return revseg.load_pipeline("revseg-nano", device="cpu")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Every fifth frame of two worlds, 9 and 8 in all."""
    folder = tmp_path_factory.mktemp("videos")
    paths = []
    for seed in (1, 2):
        frames, _ = (world := make_world(seed, "test")).render()
        path = folder / f"world-{seed}.mp4"
        write_video(path, ((k / world.fps, f) for k, f in enumerate(frames[::5])), world.fps)
        paths.append(str(path))
    return paths


def by_apply_model(samples, pipeline, query, prompt_field):
    model = revseg.load_model(pipeline, query=query)
    samples.apply_model(model, label_field="revseg", prompt_field=prompt_field, skip_failures=False)


def by_segment_view(samples, pipeline, query, prompt_field):
    revseg.segment_view(samples, pipeline, query, prompt_field, overwrite=True)


def by_command(samples, pipeline, query, prompt_field):
    dataset = source_dataset(samples)
    arguments = [dataset.name, "--device", "cpu"]
    if samples is not dataset:
        dataset.save_view("a_view", samples, overwrite=True)
        arguments += ["--view", "a_view"]
    if query:
        arguments += ["--query", query]
    if prompt_field:
        arguments += ["--query-field", prompt_field]
    result = CliRunner().invoke(main, ["apply", *arguments, "--overwrite", "all"])
    assert result.exit_code == 0 or "not answered" in result.output, result.output


DOORS = (by_apply_model, by_segment_view, by_command)


@dataclass
class Case:
    """What is segmented, and what is asked.

    Attributes:
        view: the collection, made of the dataset
        asked: the query and the field with queries, once for each run over the dataset
        metadata: whether samples know how many frames there are
        frames: which frames have documents
    """

    view: object = lambda dataset: dataset
    asked: tuple = ((None, "query"),)
    metadata: bool = True
    frames: tuple = ()


CASES = {
    "dataset": Case(),
    "view": Case(lambda dataset: dataset.match(fo.ViewField("weather") == "rain")),
    "selected samples": Case(lambda dataset: dataset.select(dataset.values("id")[1:])),
    "clips": Case(lambda dataset: dataset.to_clips("events"), asked=((NEW, None),)),
    "clips with queries of their samples": Case(
        lambda dataset: dataset.to_clips("events", other_fields=["query"])
    ),
    "list queries": Case(asked=((None, "queries"),)),
    "sparse frame documents": Case(frames=(2, 5)),
    "a rerun over old masks": Case(asked=((OLD, None), (NEW, None))),
    "a rerun over old masks of clips": Case(
        lambda dataset: dataset.to_clips("events"), asked=((OLD, None), (NEW, None)), frames=(2, 6)
    ),
    "missing metadata": Case(metadata=False),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_all_doors_lead_to_the_same_fields_and_values(videos, pipeline, case):
    datasets = [make_dataset(videos, case) for _ in DOORS]
    try:
        untouched = contents(datasets[0])
        for query, prompt_field in case.asked:
            for dataset, door in zip(datasets, DOORS, strict=True):
                door(case.view(dataset), pipeline, query, prompt_field)
        applied, segmented, commanded = (found(dataset) for dataset in datasets)
        assert segmented == applied
        assert commanded == applied
        assert applied["contents"] != untouched
        assert applied["dates"]
        assert any(status == "ok" for status in datasets[0].values("revseg_status"))
    finally:
        for dataset in datasets:
            dataset.delete()


def make_dataset(videos, case):
    dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    samples = [fo.Sample(p, weather=w) for p, w in zip(videos, ("rain", "sun"), strict=True)]
    clips = ([1, 5], [3, 8])
    for sample, support in zip(samples, clips, strict=True):
        sample["query"], sample["queries"] = NEW, [OLD, NEW]
        sample["events"] = fo.TemporalDetections(
            detections=[fo.TemporalDetection(label="event", support=support)]
        )
        for number in case.frames:
            truth = fo.Detection(label="truth", bounding_box=[0.1, 0.2, 0.3, 0.4])
            sample.frames[number] = fo.Frame(truth=fo.Detections(detections=[truth]))
    dataset.add_samples(samples)
    if case.metadata:
        dataset.compute_metadata()
    return dataset


def found(dataset):
    dataset.reload()
    return {
        "contents": contents(dataset),
        "fields": list(map(str, dataset.get_field_schema(flat=True).values())),
        "frame fields": list(map(str, dataset.get_frame_field_schema(flat=True).values())),
        # What contents() leaves out because it differs, but must be there
        "dates": all(dataset.values("frames.created_at", unwind=True)),
    }
