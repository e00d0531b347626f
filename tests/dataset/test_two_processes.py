"""Two processes at work on one dataset at the same time."""

import shutil
import time
import uuid
from collections import Counter
from dataclasses import replace

import fiftyone as fo
import pytest
from contents import contents
from fake_models import write_video
from fiftyone.core.odm import get_db_conn
from run_segment import QUERY, Runner, make_pipeline

from fiftyone_revseg.dataset import field_names, list_runs, make_labels, segment_view
from fiftyone_revseg.dataset.collection import video_of
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.schema import _fields, declare_fields
from fiftyone_revseg.dataset.writer import commit, withdraw

VIDEOS, FRAMES = 6, 12
CLIPS = [[first, first + 2] for first in (1, 4, 7, 10)]


@pytest.fixture(scope="module")
def runner():
    runner = Runner()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "video.mp4", 64, 48, FRAMES)
    for i in range(VIDEOS):
        shutil.copy(folder / "video.mp4", folder / f"{i}.mp4")
    return folder


@pytest.fixture
def make_dataset(folder):
    datasets = []

    def make():
        dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
        datasets.append(dataset)
        samples = [fo.Sample(str(folder / f"{i}.mp4"), weather="rain") for i in range(VIDEOS)]
        for sample in samples:
            sample["events"] = fo.TemporalDetections(
                detections=[fo.TemporalDetection(label="event", support=s) for s in CLIPS]
            )
            sample.frames[3] = fo.Frame(tag="three")
        dataset.add_samples(samples)
        return dataset

    yield make
    for dataset in datasets:
        if fo.dataset_exists(dataset._doc.name):
            dataset.delete()


def fields(dataset):
    """All fields as they are declared in the database, with how often each of them is."""
    (document,) = get_db_conn().datasets.find({"name": dataset.name})
    found = Counter()

    def walk(declared, root):
        for field in declared or ():
            found[root + field["name"]] += 1
            walk(field.get("fields"), f"{root}{field['name']}.")

    walk(document["sample_fields"], "")
    walk(document["frame_fields"], "frames.")
    return found


def together(runner, *requests):
    """Runs processes that start at the same time."""
    at = time.time() + 0.5
    pids = [runner.start(at=at, **request) for request in requests]
    assert [runner.wait(pid) for pid in pids] == [0] * len(pids)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(5))
def test_halves_of_a_dataset_that_has_no_fields_yet(runner, make_dataset, attempt):
    shared, alone = make_dataset(), make_dataset()
    segment_view(alone, make_pipeline(), QUERY)
    new_fields = [f"of_a_third_{i}" for i in range(5)]
    together(
        runner,
        {"dataset": shared.name, "half": 0},
        {"dataset": shared.name, "half": 1},
        {"dataset": shared.name, "new_fields": new_fields},
    )
    assert fields(shared) == fields(alone) + Counter(new_fields)
    shared.reload()
    for name in new_fields:
        shared.delete_sample_field(name)
    assert contents(shared) == contents(alone)
    runs = list_runs(shared)
    assert [run["state"] for run in runs] == ["done", "done"]
    assert sum(run["counts"]["ok"] for run in runs) == VIDEOS


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_halves_of_the_clips_of_each_video(runner, make_dataset, attempt):
    shared, alone = make_dataset(), make_dataset()
    segment_view(alone.to_clips("events"), make_pipeline(), QUERY)
    halves = [{"dataset": shared.name, "clips": "events", "half": half} for half in (0, 1)]
    together(runner, *halves)
    shared.reload()
    assert contents(shared) == contents(alone)
    assert fields(shared) == fields(alone)
    assert segment_view(shared.to_clips("events"), make_pipeline(), QUERY).skipped == 4 * VIDEOS


@pytest.mark.slow
def test_two_label_fields(runner, make_dataset):
    shared, alone = make_dataset(), make_dataset()
    names = ("one", "other")
    for name in names:
        segment_view(alone, make_pipeline(), QUERY, label_field=name)
    together(runner, *[{"dataset": shared.name, "label_field": name} for name in names])
    shared.reload()
    for name in names:  # one by one, as either of them may have been declared first
        other = field_names(*set(names) - {name})
        assert contents(shared.exclude_fields(other)) == contents(alone.exclude_fields(other))
    assert fields(shared) == fields(alone)


def test_what_another_process_saves_between_reading_and_saving_is_kept(make_dataset, monkeypatch):
    dataset = make_dataset()
    declare_fields(dataset)
    sample = dataset.first()
    supports = [tuple(support) for support in CLIPS]
    labels = [
        make_labels(
            make_pipeline().segment(sample.filepath, QUERY, (first - 1, last)),
            support=(first, last),
        )
        for first, last in supports
    ]
    whole = Place.of(video_of(sample), "revseg")
    places = [replace(whole, support=support) for support in supports]
    commit(places[0], labels[0])
    stored, saved_meanwhile = Place.stored, []

    def stored_before(self, *names, **options):
        found = stored(self, *names, **options)
        if saved_meanwhile:
            i = saved_meanwhile.pop()
            commit(places[i], labels[i])
        return found

    monkeypatch.setattr(Place, "stored", stored_before)
    saved_meanwhile.append(1)
    withdraw(places[0])
    assert supports_of(dataset) == [[4, 6]]
    saved_meanwhile.append(2)
    commit(places[3], labels[3])
    assert supports_of(dataset) == [[4, 6], [7, 9], [10, 12]]


def supports_of(dataset):
    sample = dataset.first()
    sample.reload()
    records = sample.revseg_trajectory["segmentations"]
    answers = sample.revseg_answers.classifications
    assert [list(answer.support) for answer in answers] == [r["support"] for r in records]
    assert len(sample.revseg_keyframes.detections) == len(records)
    return [record["support"] for record in records]


def test_fields_that_another_process_took_away_are_declared_again(make_dataset):
    dataset = make_dataset()
    declare_fields(dataset)
    before = fields(dataset)
    datasets = get_db_conn().datasets
    (document,) = datasets.find({"name": dataset.name})
    stale = [field for field in document["sample_fields"] if field["name"] != "revseg_answers"]
    datasets.update_one({"_id": document["_id"]}, {"$set": {"sample_fields": stale}})
    declare_fields(dataset)
    assert fields(dataset) == before


def test_fields_taken_away_during_a_run_are_back_at_its_end(make_dataset):
    dataset, alone = make_dataset(), make_dataset()
    declare_fields(alone)

    def take_away(progress):
        if progress.stage == "write":
            datasets = get_db_conn().datasets
            away = {"name": {"$in": ["revseg_answers", "revseg_status"]}}
            datasets.update_one({"name": dataset.name}, {"$pull": {"sample_fields": away}})

    segment_view(dataset, make_pipeline(), QUERY, progress=take_away)
    assert fields(dataset) == fields(alone)


def test_a_sample_deleted_during_a_run_does_not_stop_it(make_dataset):
    dataset = make_dataset()
    gone = dataset.values("id")[1]

    def delete(progress):
        if progress.done == 1 and progress.stage == "decode":
            dataset.delete_samples([gone])

    summary = segment_view(dataset, make_pipeline(), QUERY, progress=delete)
    assert summary.counts == {"ok": VIDEOS - 1, "error": 1}
    ((reason, ids),) = summary.failures.items()
    assert "deleted" in reason
    assert ids == [gone]
    assert dataset.values("revseg_status") == ["ok"] * (VIDEOS - 1)


def test_fields_are_stored_as_fiftyone_stores_them(make_dataset):
    ours, theirs = make_dataset(), make_dataset()
    declare_fields(ours)
    for path, field_type, kwargs in _fields("revseg", images=False):
        if path.startswith("frames."):
            theirs.add_frame_field(path.removeprefix("frames."), field_type, **kwargs)
        else:
            theirs.add_sample_field(path, field_type, **kwargs)
    assert declarations(ours) == declarations(theirs)
    known = [str(field) for field in ours.get_field_schema(flat=True).values()]
    assert known == [str(field) for field in theirs.get_field_schema(flat=True).values()]
    ours.reload()
    assert known == [str(field) for field in ours.get_field_schema(flat=True).values()]


def declarations(dataset):
    (document,) = get_db_conn().datasets.find({"name": dataset.name})

    def without_dates(declared):
        fields = [{k: v for k, v in field.items() if k != "created_at"} for field in declared]
        return [{**field, "fields": without_dates(field["fields"] or [])} for field in fields]

    return [without_dates(document[kind]) for kind in ("sample_fields", "frame_fields")]


def test_a_dataset_deleted_by_this_process_during_a_run_ends_it_once(make_dataset):
    dataset = make_dataset()
    name = dataset.name

    def delete(progress):
        if progress.done == 1 and progress.stage == "decode" and not dataset.deleted:
            dataset.delete()

    with pytest.raises(RuntimeError, match=f"'{name}' was deleted during the run"):
        segment_view(dataset, make_pipeline(), QUERY, progress=delete)


def test_a_dataset_deleted_during_a_run_ends_it_once(make_dataset, caplog):
    dataset = make_dataset()
    name, looked_at = dataset.name, []

    def delete(progress):
        looked_at.append(progress.video)
        if progress.done == 1 and progress.stage == "decode":
            # As another process does it, of which this one knows nothing
            database = get_db_conn()
            document = database.datasets.find_one_and_delete({"name": name})
            if document is None:  # it is told of frame after frame
                return
            database[document["sample_collection_name"]].drop()
            database[document["frame_collection_name"]].drop()
            database.runs.delete_many({"_dataset_id": document["_id"]})

    with pytest.raises(RuntimeError, match=f"'{name}' was deleted during the run"):
        segment_view(dataset, make_pipeline(), QUERY, progress=delete)
    assert len(set(looked_at)) < VIDEOS
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) <= 1
