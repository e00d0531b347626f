"""The views that curators use, on a real database."""

import random
import uuid

import fiftyone as fo
import numpy as np
import pytest
from contents import contents
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner, write_video
from fiftyone import ViewField as F
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset.drift import drift_score
from fiftyone_revseg.dataset.review_order import place_expression, place_of
from fiftyone_revseg.dataset.views import VIEWS, make_view, measure_drift
from fiftyone_revseg.pipeline import RevSeg

WIDTH, HEIGHT, FRAMES = 64, 48, 10
QUERIES = ["the cat", "both", "the ghost", "the blur"]
CAT, BOTH, GHOST, BLUR, GONE, NEW = range(6)  # positions of the samples


@pytest.fixture
def dataset(tmp_path):
    """One sample of each kind: the last but one is not there, the last was not segmented."""
    dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    paths = [tmp_path / f"{k}.mp4" for k in range(6)]
    for path in paths[:4] + paths[5:]:
        write_video(path, WIDTH, HEIGHT, FRAMES)
    queries = [*QUERIES, "the cat", "the cat"]
    dataset.add_samples(
        [fo.Sample(str(path), query=[query]) for path, query in zip(paths, queries, strict=True)]
    )
    model = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    revseg.segment_view(dataset[:5], model, prompt_field="query")
    yield dataset
    dataset.delete()


def found(dataset, name, **options):
    """The positions of the samples in a view, in its order."""
    ids = dataset.values("id")
    return [ids.index(i) for i in make_view(dataset, name, **options).values("id")]


def change_answers(sample, change):
    for answer in sample.revseg_answers.classifications:
        change(answer)
    sample.save()


def setting(values):
    def change(answer):
        for name, value in values.items():
            answer[name] = value

    return change


def test_all_views_can_be_made_of_fresh_results(dataset):
    assert {name: found(dataset, name) for name in VIEWS} == {
        "found": [CAT, BOTH],
        "failures": [BLUR, GONE],
        "low confidence": [],
        "drift suspected": [],
        "plays wrongly in the App": [],
        "no target": [GHOST],
        "corrected by hand": [],
        "accepted": [],
        "rejected": [],
        "not yet reviewed": [CAT, BOTH, BLUR],
    }


def test_every_answer_counts_not_only_the_first(dataset):
    sample = dataset[dataset.values("id")[NEW]]
    sample["query"] = ["the ghost", "the blur", "the cat"]
    sample.save()
    model = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    revseg.segment_view(dataset, model, prompt_field="query")
    assert dataset.last().revseg_status == "no_target"  # the first that is not ok
    assert found(dataset, "failures") == [BLUR, GONE, NEW]
    assert found(dataset, "no target") == [GHOST, NEW]


def test_low_confidence(dataset):
    samples = list(dataset)
    for k, confidence in ((CAT, 0.4), (BOTH, 0.6)):

        def change(answer, confidence=confidence):
            answer.confidence = confidence

        change_answers(samples[k], change)
    assert found(dataset, "low confidence") == [CAT]
    assert found(dataset, "low confidence", threshold=0.7) == [CAT, BOTH]
    # Answers without a confidence are not unsure: nothing is known
    assert found(dataset, "low confidence", threshold=1) == [CAT, BOTH]


def test_the_least_certain_come_first(dataset):
    samples = list(dataset)
    known = [
        (CAT, {"certainty": 0.9, "confidence": 0.1}),
        (BOTH, {"confidence": 0.8}),
        (BLUR, {"certainty": 0.3, "confidence": 0.99}),
        (GHOST, {"certainty": 0.2}),
    ]
    for k, values in known:
        change_answers(samples[k], setting(values))
    # Unknown ones stand after those that are doubtful, and before those that are sure
    assert found(dataset, "not yet reviewed") == [BLUR, BOTH, CAT]
    assert found(dataset, "low confidence") == [GHOST, BLUR]
    assert found(dataset, "low confidence", threshold=1) == [GHOST, BLUR, BOTH, CAT]
    # What was calibrated to the same certainty has the order of what the model said
    for k, raw in ((CAT, 0.7), (BLUR, 0.8)):
        change_answers(samples[k], setting({"certainty": 0.4, "certainty_raw": raw}))
    dataset.save_view("queue", make_view(dataset, "not yet reviewed"))
    assert found(dataset, "not yet reviewed") == [CAT, BLUR, BOTH]
    # Only what is left to review counts
    first, second = samples[BOTH].revseg_answers.classifications
    first["certainty"], second["certainty"], first.tags = 0.1, 0.95, ["accepted"]
    samples[BOTH].save()
    again = fo.load_dataset(dataset.name).load_saved_view("queue")
    ids = dataset.values("id")
    assert [ids.index(i) for i in again.values("id")] == [CAT, BLUR, BOTH]
    first.tags = []
    samples[BOTH].save()
    assert found(dataset, "not yet reviewed") == [BOTH, CAT, BLUR]


def test_the_order_of_the_queue_is_that_of_its_expression(make_dataset):
    values = [None, 0.0, 0.3, 0.5, 0.50000001, 1.0]
    known = [
        (c, r, s) for c in values for r in values for s in values if c is not None or r is None
    ]
    random.Random(0).shuffle(known)
    make_dataset_of = [
        fo.Sample(
            f"/nowhere/{k}.mp4",
            own_answers=fo.Classifications(
                classifications=[
                    fo.Classification(confidence=s, certainty=c, certainty_raw=r, index=1)
                ]
            ),
        )
        for k, (c, r, s) in enumerate(known)
    ]
    dataset = make_dataset(*make_dataset_of)
    names = dataset.sort_by(place_expression("own", F("index") == 1)).values("filepath")
    places = [place_of(*known[int(name.split("/")[-1][:-4])]) for name in names]
    assert places == sorted(places)


def test_what_people_did(dataset):
    samples = list(dataset)

    def corrected(answer):
        answer.corrected = True

    change_answers(samples[CAT], corrected)
    first, second = samples[BOTH].revseg_answers.classifications
    first.tags, second.tags = ["accepted"], ["rejected", "later"]
    samples[BOTH].save()
    assert found(dataset, "corrected by hand") == [CAT]
    assert found(dataset, "accepted") == found(dataset, "rejected") == [BOTH]
    assert found(dataset, "not yet reviewed") == [CAT, BLUR]
    second.tags = ["later"]
    samples[BOTH].save()
    assert found(dataset, "not yet reviewed") == [CAT, BOTH, BLUR]


def test_drift(dataset):
    samples = list(dataset)
    for k, frame, share in ((CAT, 5, 0.4), (BOTH, 7, 0.1)):
        detection = samples[k].frames[frame].revseg.detections[0]
        detection.bounding_box[2] *= share
        detection.mask = detection.mask[:, : round(share * detection.mask.shape[1])]
        samples[k].save()
    area = dataset.first().frames[1].revseg.detections[0]
    areas = [area.bounding_box[2] * area.bounding_box[3]] * FRAMES
    areas[4] *= 13 / 32  # whole pixels
    assert found(dataset, "drift suspected") == [BOTH, CAT]  # the worst first
    assert isinstance(dataset.get_field("revseg_drift"), fo.FloatField)
    drifts = dataset.values("revseg_drift")
    # The mask has whole pixels, and its box here has not
    assert drifts[CAT] == pytest.approx(drift_score(areas), abs=0.02)
    assert drifts[CAT] < drifts[BOTH]
    assert drifts[GHOST:] == [None] * 4
    assert found(dataset, "drift suspected", threshold=0.8) == [BOTH]


def test_drift_is_that_of_masks_not_of_boxes(dataset):
    sample = dataset.first()
    mask = sample.frames[5].revseg.detections[0].mask
    sample.frames[5].revseg.detections[0].mask = mask & (np.arange(mask.shape[1]) < 8)
    sample.save()
    assert found(dataset, "drift suspected") == [CAT]
    assert dataset.first().revseg_drift == pytest.approx(0.75)


def test_drift_of_scores(dataset):
    sample = dataset.first()
    sample.frames[5].revseg.detections[0].confidence = 1.2
    sample.save()
    assert measure_drift(dataset) == "revseg_drift"
    assert dataset.first().revseg_drift == pytest.approx(0.7)


def test_views_are_expressions_that_can_be_saved_and_stay_true(dataset):
    for name in VIEWS:
        dataset.save_view(name, make_view(dataset, name))
    sample = dataset.first()
    change_answers(sample, lambda answer: setattr(answer, "tags", ["rejected"]))
    sample["revseg_drift"] = 0.9
    sample.save()
    again = fo.load_dataset(dataset.name)
    for name in ("rejected", "drift suspected"):
        assert again.load_saved_view(name).values("id") == [sample.id]
    assert sample.id not in again.load_saved_view("not yet reviewed").values("id")


def test_a_view_of_a_view_and_a_group_slice(dataset, tmp_path):
    assert make_view(dataset[:3], "failures").values("id") == []
    assert make_view(dataset.match(F("revseg_status") == "bad_box"), "failures").count() == 1
    grouped = fo.Dataset()
    try:
        grouped.add_group_field("group", default="left")
        group = fo.Group()
        image = tmp_path / "thumb.png"
        Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(image)
        paths = {"left": str(image), "right": dataset.first().filepath}
        grouped.add_samples([fo.Sample(p, group=group.element(n)) for n, p in paths.items()])
        model = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
        revseg.segment_view(grouped, model, queries="the blur", group_slice="right")
        assert make_view(grouped, "failures").values("filepath") == [paths["right"]]
        assert make_view(grouped, "drift suspected").values("filepath") == []
    finally:
        grouped.delete()


def test_clips_of_videos_that_are_wanted(dataset):
    for sample in dataset[:4]:
        sample["events"] = fo.TemporalDetections(
            detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [6, 9])]
        )
        sample.save()
    clips = dataset.to_clips("events")
    assert not clips.has_field("revseg_answers")
    ids = dataset.values("id")
    assert make_view(clips, "failures").values("sample_id") == [ids[BLUR]] * 2
    assert make_view(clips, "drift suspected").values("sample_id") == []
    for sample, certainty in zip(dataset, (0.9, 0.1), strict=False):
        change_answers(sample, setting({"certainty": certainty}))
    queue = make_view(clips, "not yet reviewed").values("sample_id")
    assert queue == [ids[k] for k in (BOTH, BOTH, BLUR, BLUR, CAT, CAT)]
    model = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    revseg.segment_view(clips[:1], model, queries="the ghost", label_field="own")
    assert make_view(clips, "no target", "own").values("support") == [[1, 4]]


def test_ordered_groups_of_images(tmp_path):
    images = []
    for scene in "ab":
        for k in range(3):
            path = tmp_path / f"{scene}-{k}.png"
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 30 * k, np.uint8)).save(path)
            query = "the cat" if scene == "a" else "the ghost"
            images.append(fo.Sample(str(path), scene=scene, number=k, query=query))
    dataset = fo.Dataset()
    try:
        dataset.add_samples(images)
        groups = dataset.group_by("scene", order_by="number")
        model = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
        revseg.segment_view(groups, model, prompt_field="query")
        assert make_view(groups, "no target").values("scene") == ["b"]
        assert make_view(dataset, "no target").values("scene") == ["b"] * 3
        for scene, certainty in (("a", 0.4), ("b", 0.3)):
            first = dataset.match((F("scene") == scene) & (F("number") == 0)).first()
            change_answers(first, setting({"certainty": certainty}))
        assert make_view(groups, "low confidence").values("scene") == ["b", "a"]
        sample = dataset.match((F("scene") == "a") & (F("number") == 1)).first()
        sample.revseg.detections[0].mask = np.ones((2, 2), bool)
        sample.revseg.detections[0].bounding_box = [0, 0, 2 / WIDTH, 2 / HEIGHT]
        sample.save()
        assert make_view(groups, "drift suspected").values("scene") == ["a"]
    finally:
        dataset.delete()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mistakes", {}, "no view 'mistakes'. Views are: failures"),
        ("failures", {"label_field": "other"}, "no results in label field 'other'.*: revseg"),
        ("failures", {"label_field": "my field"}, "label_field must be"),
        ("failures", {"threshold": 0.5}, "has no threshold"),
        ("low confidence", {"threshold": 50}, "from 0 to 1, not 50"),
        ("low confidence", {"threshold": "high"}, "from 0 to 1, not 'high'"),
        ("drift suspected", {"label_field": "other"}, "no field 'frames.other'"),
    ],
)
def test_wrong_arguments_are_refused_and_change_nothing(dataset, name, options, message):
    before = contents(dataset)
    with pytest.raises(ValueError, match=message):
        make_view(dataset, name, **options)
    assert contents(dataset) == before


def test_a_field_that_holds_something_else_is_not_written(dataset):
    dataset.add_sample_field("revseg_drift", fo.StringField)
    with pytest.raises(ValueError, match="something else"):
        make_view(dataset, "drift suspected")


def test_an_empty_collection(dataset):
    assert len(make_view(dataset.limit(0), "drift suspected")) == 0
    assert len(make_view(dataset.limit(0), "failures")) == 0
