"""How much two label fields agree, on a real database."""

import fiftyone as fo
import numpy as np
import pytest
from contents import contents
from fake_models import BoxTracker, ScriptedReasoner, write_video
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset.compare import compare_fields
from fiftyone_revseg.measures import j_and_f
from fiftyone_revseg.pipeline import RevSeg

WIDTH, HEIGHT, FRAMES = 64, 48, 10
CAT, DOG = [25, 50, 75, 100], [0, 0, 50, 50]  # in the 100 x 100 key frame
MOVED = [25, 25, 75, 75]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / f"{name}.mp4" for name in "abc"]
    for path in paths:
        write_video(path, WIDTH, HEIGHT, FRAMES)
    return [str(path) for path in paths]


def segment(samples, label_field, answers, query, hidden=(), **options):
    model = RevSeg(ScriptedReasoner(answers), BoxTracker(hidden=hidden))
    revseg.segment_view(samples, model, queries=query, label_field=label_field, **options)


def box_mask(box):
    """(H, W) bool: a box of the 100 x 100 key frame, in the video."""
    x1, y1, x2, y2 = np.array(box) / 100 * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[round(y1) : round(y2), round(x1) : round(x2)] = True
    return mask


def expected(box_a, box_b, hidden_b=(), frames=FRAMES):
    """J&F, computed with all masks at once."""
    a = np.stack([box_mask(box_a)] * frames)
    b = np.stack([box_mask(box_b)] * frames)
    b[list(hidden_b)] = False
    return j_and_f(a, b)


@pytest.mark.parametrize("in_files", [False, True])
def test_agreement_is_j_and_f(make_dataset, videos, tmp_path, in_files):
    dataset = make_dataset(*[fo.Sample(path) for path in videos])
    masks = {"masks_dir": tmp_path} if in_files else {}
    segment(dataset, "a", {"the cat": [(1, "a cat", CAT)]}, "the cat", **masks)
    segment(dataset[:1], "b", {"the cat": [(1, "a cat", CAT)]}, "the cat")
    segment(dataset[1:2], "b", {"the cat": [(2, "a cat", MOVED)]}, "the cat", hidden=(0, 4))
    segment(dataset[2:], "b", {"the cat": []}, "the cat")
    seen = []
    comparison = compare_fields(dataset, "frames.a", "b", progress=seen.append)
    moved, absent = expected(CAT, MOVED, (0, 4)), expected(CAT, CAT, range(FRAMES))
    assert absent < moved < 1
    assert dataset.values("a_vs_b") == pytest.approx([1, moved, absent])
    assert isinstance(dataset.get_field("a_vs_b"), fo.FloatField)
    ids = dataset.values("id")
    assert comparison.view.values("id") == ids[::-1]
    assert comparison.mean == pytest.approx((1 + moved + absent) / 3)
    assert (comparison.other_status, comparison.other_keyframe) == ([ids[2]], ids[1:])
    assert [(p.done, p.total) for p in seen] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert "3 of 3 compared in 'a_vs_b'" in str(comparison)
    assert "status differs in 1, key frame differs in 2" in str(comparison)


def test_objects_of_a_query_count_together_and_queries_apart(make_dataset, videos):
    dataset = make_dataset(fo.Sample(videos[0]))
    a = {"both": [(0, "a cat", CAT), (0, "a dog", DOG)], "the cat": [(0, "a cat", CAT)]}
    b = {"both": [(0, "a dog", DOG), (0, "a cat", CAT)], "the cat": [(0, "a cat", MOVED)]}
    segment(dataset, "a", a, ["both", "the cat"])
    segment(dataset, "b", b, ["the cat", "both"])
    compare_fields(dataset, "a", "b", name="agreement")
    assert dataset.first().agreement == pytest.approx((1 + expected(CAT, MOVED)) / 2)


def test_only_common_queries_count_where_there_are_any(make_dataset, videos):
    dataset = make_dataset(*[fo.Sample(path) for path in videos[:2]])
    answers = {"the cat": [(0, "a cat", CAT)], "the dog": [(0, "a dog", DOG)]}
    segment(dataset, "a", answers, ["the cat", "the dog"])
    segment(dataset[:1], "b", answers, "the cat")
    segment(dataset[1:], "b", {"cat?": [(0, "a cat", CAT)]}, "cat?")
    compare_fields(dataset, "a", "b")
    together = np.stack([box_mask(CAT) | box_mask(DOG)] * FRAMES)
    alone = j_and_f(together, np.stack([box_mask(CAT)] * FRAMES))
    assert dataset.values("a_vs_b") == pytest.approx([1, alone])


def test_ground_truth_knows_no_queries_and_only_labels_some_frames(make_dataset, videos):
    sample = fo.Sample(videos[0])
    for number in (1, 2):
        truth = fo.Detection.from_mask(box_mask(CAT), label="cat")
        sample.frames[number] = fo.Frame(truth=fo.Detections(detections=[truth]))
    dataset = make_dataset(sample)
    segment(dataset, "a", {"the cat": [(0, "a cat", CAT)]}, "the cat")
    comparison = compare_fields(dataset, "a", "truth")
    assert dataset.first().a_vs_truth == pytest.approx(expected(CAT, CAT, range(2, FRAMES)))
    assert (comparison.other_status, comparison.other_keyframe) == ([], [])


def test_a_field_without_labels_is_counted_and_leaves_no_old_number(make_dataset, videos):
    dataset = make_dataset(*[fo.Sample(path) for path in videos])
    answers = {"the cat": [(1, "a cat", CAT)]}
    segment(dataset[:2], "a", answers, "the cat")
    segment(dataset[1:], "b", answers, "the cat")
    dataset.add_sample_field("a_vs_b", fo.FloatField)
    dataset.set_values("a_vs_b", [0.5] * 3)
    comparison = compare_fields(dataset, "a", "b")
    ids = dataset.values("id")
    assert dataset.values("a_vs_b") == [None, 1, None]
    assert (comparison.missing_a, comparison.missing_b) == ([ids[2]], [ids[0]])
    assert comparison.view.values("id") == ids[1:2]
    assert f"no labels in 'a': 1 (first {ids[2]})" in str(comparison)


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(make_dataset, videos, tmp_path):
    dataset = make_dataset(
        *[fo.Sample(path) for path in [videos[0], videos[1], str(tmp_path / "missing.mp4")]]
    )
    answers = {"the cat": [(1, "a cat", CAT)]}
    segment(dataset, "a", answers, "the cat", masks_dir=tmp_path / "masks")
    segment(dataset, "b", answers, "the cat")
    next((tmp_path / "masks").rglob(f"a-{dataset.first().id}/000003_1.png")).unlink()
    comparison = compare_fields(dataset, "a", "b")
    ids = dataset.values("id")
    assert dataset.values("a_vs_b") == [None, 1, None]
    assert set(comparison.unusable) == {ids[0], ids[2]}
    assert "000003_1.png" in comparison.unusable[ids[0]]
    assert "missing.mp4" in comparison.unusable[ids[2]]
    assert "missing.mp4" in str(comparison)


def test_a_view_compares_what_it_shows(make_dataset, videos):
    dataset = make_dataset(*[fo.Sample(path) for path in videos[:2]])
    both = {"both": [(0, "a cat", CAT), (0, "a dog", DOG)]}
    segment(dataset, "a", both, "both")
    segment(dataset, "b", {"both": [(0, "a cat", CAT)]}, "both")
    view = dataset[:1].filter_labels("frames.a", fo.ViewField("index") == 1)
    comparison = compare_fields(view, "a", "b")
    assert comparison.total == 1
    assert dataset.values("a_vs_b") == [1, None]


def test_clips(make_dataset, videos):
    sample = fo.Sample(videos[0])
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [6, 9])]
    )
    dataset = make_dataset(sample)
    clips = dataset.to_clips("events")
    segment(clips, "a", {"the cat": [(1, "a cat", CAT)]}, "the cat")
    segment(clips, "b", {"the cat": [(1, "a cat", CAT)]}, "the cat", hidden=(0,))
    comparison = compare_fields(clips, "a", "b")
    alike = expected(CAT, CAT, (0,), frames=4)  # a clip's first frame is frame 0 of the tracker
    assert clips.values("a_vs_b") == pytest.approx([alike, alike])
    assert comparison.view.values("support") == [[1, 4], [6, 9]]
    whole = compare_fields(dataset, "a", "b")
    assert whole.agreements[sample.id] == pytest.approx(1 - 2 / FRAMES)


def test_ordered_groups_of_images(make_dataset, tmp_path):
    images = []
    for scene in "ab":
        for k in (1, 0, 2, 3):
            path = tmp_path / f"{scene}-{k}.png"
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 30 * k, np.uint8)).save(path)
            images.append(fo.Sample(str(path), scene=scene, number=k))
    dataset = make_dataset(*images)
    groups = dataset.group_by("scene", order_by="number")
    segment(groups, "a", {"the cat": [(1, "a cat", CAT)]}, "the cat")
    segment(groups, "b", {"the cat": [(1, "a cat", CAT)]}, "the cat", hidden=(0,))
    comparison = compare_fields(groups, "a", "b")
    alike = expected(CAT, CAT, (0,), frames=4)
    assert dataset.values("a_vs_b") == pytest.approx([alike] * 8)
    assert (comparison.total, len(comparison.agreements), len(comparison.view)) == (2, 2, 2)


def test_group_slices(make_dataset, videos):
    dataset = make_dataset()
    dataset.add_group_field("group", default="left")
    group = fo.Group()
    names = zip(["left", "right"], videos[:2], strict=True)
    dataset.add_samples([fo.Sample(p, group=group.element(n)) for n, p in names])
    answers = {"the cat": [(1, "a cat", CAT)]}
    for label_field in "ab":
        segment(dataset, label_field, answers, "the cat", group_slice="right")
    with pytest.raises(ValueError, match="group_slice='left'"):
        compare_fields(dataset, "a", "b")
    assert compare_fields(dataset, "a", "b", group_slice="right").mean == 1
    assert dataset.select_group_slices("right").values("a_vs_b") == [1]


@pytest.mark.parametrize(
    ("fields", "name", "message"),
    [
        (("a", "a"), None, "agrees with itself"),
        (("a", "frames.a"), None, "agrees with itself"),
        (("a", "none"), None, "no field 'frames.none'.*: a"),
        (("a", "my field"), None, "label_field must be"),
        (("a", "tag"), None, "no detections in 'frames.tag'"),
        (("a", "b"), "a vs b", "name of a field"),
        (("a", "b"), "a_status", "choose another name"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    make_dataset, videos, fields, name, message
):
    sample = fo.Sample(videos[0])
    sample.frames[1] = fo.Frame(tag="x")
    dataset = make_dataset(sample)
    for label_field in "ab":
        segment(dataset, label_field, {"the cat": [(1, "a cat", CAT)]}, "the cat")
    before = contents(dataset)
    with pytest.raises(ValueError, match=message):
        compare_fields(dataset, *fields, name=name)
    assert contents(dataset) == before


def test_images_are_refused_and_empty_collections_are_not(make_dataset, videos, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    with pytest.raises(ValueError, match="group_by"):
        compare_fields(make_dataset(fo.Sample(str(path))), "a", "b")
    dataset = make_dataset(fo.Sample(videos[0]))
    for label_field in "ab":
        segment(dataset, label_field, {"the cat": []}, "the cat")
    comparison = compare_fields(dataset.limit(0), "a", "b")
    assert (comparison.total, comparison.mean, len(comparison.view)) == (0, None, 0)


def test_numbers_of_somebody_else_are_not_replaced(make_dataset, videos):
    dataset = make_dataset(*[fo.Sample(path, score=k / 2) for k, path in enumerate(videos)])
    for name in "ab":
        segment(dataset, name, {"the cat": [(1, "a cat", CAT)]}, "the cat")
    with pytest.raises(ValueError, match=f"'score' holds numbers on {len(videos)} samples"):
        compare_fields(dataset, "a", "b", name="score")
    assert dataset.values("score") == [k / 2 for k in range(len(videos))]
    for _ in range(2):  # what an earlier comparison wrote may be replaced
        compare_fields(dataset, "a", "b", name="mine")
    assert dataset.count("mine") == len(videos)
