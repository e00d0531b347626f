"""Exported files, read back and compared with the dataset they came from."""

import gc
import json
import uuid
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from contents import contents
from fake_models import BoxTracker, ScriptedReasoner, write_video
from fiftyone import ViewField as F
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset.export import FORMATS, export_results
from fiftyone_revseg.files.written import LIST
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.reasoning import Trajectory

WIDTH, HEIGHT, FRAMES = 64, 48, 10
ANSWERS = {
    "the cat": [(1, "a grey cat", [25, 50, 75, 100])],
    "both": [(0, "a grey cat", [25, 50, 75, 100]), (3, "a dog", [0, 0, 50, 50])],
    "all": [(0, "a grey cat", [25, 25, 75, 75]), (3, "a dog", [0, 0, 50, 50])],
    "the ghost": [],
}
NAMES = ["a", "b", "c"]


def segment(samples, hidden=(3,), **options):
    model = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker(hidden=hidden))
    revseg.segment_view(samples, model, **options)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for name in NAMES:
        write_video(folder / f"{name}.mp4", WIDTH, HEIGHT, FRAMES)
    return [str(folder / f"{name}.mp4") for name in NAMES]


@pytest.fixture(scope="module")
def segmented(videos):
    """Two objects, none at all, and one: none of them is visible on the fourth frame."""
    queries = ["both", "the ghost", "the cat"]
    samples = zip(videos, queries, strict=True)
    dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    dataset.add_samples([fo.Sample(path, query=query) for path, query in samples])
    segment(dataset, prompt_field="query")
    yield dataset
    dataset.delete()


@pytest.fixture
def dataset(segmented):
    """A copy of it for each test."""
    dataset = segmented.clone(f"revseg-test-{uuid.uuid4().hex}")
    yield dataset
    dataset.delete()


def stored_masks(sample, size=(FRAMES, HEIGHT, WIDTH)):
    """index -> (T, H, W) bool, as FiftyOne itself decodes them."""
    found = {}
    for number, frame in sample.frames.items():
        for detection in frame.revseg.detections:
            masks = found.setdefault(detection.index, np.zeros(size, bool))
            segmentation = detection.to_segmentation(frame_size=size[:0:-1])
            masks[number - 1] |= segmentation.mask > 0
    return found


def coco_masks(exported, video):
    """index -> (T, H, W) bool."""
    found = {}
    for annotation in exported["annotations"]:
        if annotation["video_id"] == video["id"]:
            masks = np.zeros((video["length"], video["height"], video["width"]), bool)
            for k, rle in enumerate(annotation["segmentations"]):
                if rle is not None:
                    masks[k] = coco.decode(rle)
            found[annotation["index"]] = masks
    return found


def assert_same(found, expected):
    assert set(found) == set(expected)
    for index, masks in expected.items():
        assert masks.any()
        np.testing.assert_array_equal(found[index], masks)


def files_in(folder):
    """All files but the list of those that were written."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != LIST]
    return sorted(str(p.relative_to(folder)) for p in files)


@pytest.mark.parametrize("in_files", [False, True])
def test_coco_tracks(dataset, tmp_path, in_files):
    expected = [stored_masks(sample) for sample in dataset]
    if in_files:
        masks = tmp_path / "stored"
        segment(dataset, prompt_field="query", masks_dir=masks, overwrite=True)
    summary = export_results(dataset, tmp_path / "out")
    assert (summary.total, summary.exported, summary.skipped) == (3, 3, {})
    assert files_in(tmp_path / "out") == ["instances.json"]
    exported = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert [video["name"] for video in exported["videos"]] == NAMES
    assert [video["filepath"] for video in exported["videos"]] == dataset.values("filepath")
    for video, masks in zip(exported["videos"], expected, strict=True):
        assert (video["width"], video["height"], video["length"]) == (WIDTH, HEIGHT, FRAMES)
        assert_same(coco_masks(exported, video), masks)
    first = exported["annotations"][0]
    assert [a["id"] for a in exported["annotations"]] == [1, 2, 3]
    assert first["segmentations"][3] is first["bboxes"][3] is first["areas"][3] is None
    assert (first["bboxes"][0], first["areas"][0]) == ([16, 24, 32, 24], 32 * 24)
    assert (first["query"], first["score"]) == ("both", 0.5)
    categories = {c["id"]: c["name"] for c in exported["categories"]}
    labels = [categories[a["category_id"]] for a in exported["annotations"]]
    assert labels == ["a grey cat", "a dog", "a grey cat"]
    assert exported["videos"][0]["file_names"][9] == "a/00009.jpg"


def test_coco_frames(dataset, tmp_path):
    summary = export_results(dataset, tmp_path / "out", "coco-frames", images=True)
    assert (summary.exported, summary.skipped, summary.notes) == (3, {}, [])
    folder = tmp_path / "out"
    names = [f"{name}/{k:05d}.jpg" for name in NAMES for k in range(FRAMES)]
    assert files_in(folder) == [*(f"JPEGImages/{name}" for name in names), "instances.json"]
    exported = json.loads((folder / "instances.json").read_text())
    images = {image["id"]: image for image in exported["images"]}
    assert [image["file_name"] for image in images.values()] == names
    assert {(image["width"], image["height"]) for image in images.values()} == {(WIDTH, HEIGHT)}
    found = {}
    for annotation in exported["annotations"]:
        image = images[annotation["image_id"]]
        masks = found.setdefault(image["video"], {}).setdefault(
            annotation["index"], np.zeros((FRAMES, HEIGHT, WIDTH), bool)
        )
        masks[image["frame_number"] - 1] = coco.decode(annotation["segmentation"])
        assert annotation["area"] == coco.area(annotation["segmentation"])
        assert annotation["bbox"] == coco.toBbox(annotation["segmentation"]).tolist()
    for name, sample in zip(NAMES, dataset, strict=True):
        assert_same(found.get(name, {}), stored_masks(sample))
    ids = [annotation["id"] for annotation in exported["annotations"]]
    assert ids == [*range(1, 1 + dataset.count("frames.revseg.detections"))]
    # Its reader is pycocotools
    api = COCO(str(folder / "instances.json"))
    assert api.annToMask(exported["annotations"][0]).sum() == exported["annotations"][0]["area"]


def test_youtube_vos(dataset, tmp_path):
    summary = export_results(dataset, tmp_path / "out", "youtube-vos", images=True)
    assert (summary.exported, summary.notes) == (3, [])
    folder = tmp_path / "out"
    names = [f"{name}/{k:05d}" for name in NAMES for k in range(FRAMES)]
    assert files_in(folder) == sorted(
        [
            "meta.json",
            "meta_expressions.json",
            *(f"Annotations/{name}.png" for name in names),
            *(f"JPEGImages/{name}.jpg" for name in names),
        ]
    )
    for name, sample in zip(NAMES, dataset, strict=True):
        images = [Image.open(folder / f"Annotations/{name}/{k:05d}.png") for k in range(FRAMES)]
        assert {image.mode for image in images} == {"P"}
        values = np.stack([np.asarray(image) for image in images])
        assert values.shape == (FRAMES, HEIGHT, WIDTH)
        assert_same({i: values == i for i in np.unique(values) if i}, stored_masks(sample))
    meta = json.loads((folder / "meta.json").read_text())["videos"]
    seen = [f"{k:05d}" for k in range(FRAMES) if k != 3]
    assert meta["a"]["objects"] == {
        "1": {"category": "a grey cat", "frames": seen},
        "2": {"category": "a dog", "frames": seen},
    }
    assert meta["b"] == {"objects": {}}
    expressions = json.loads((folder / "meta_expressions.json").read_text())["videos"]
    assert expressions["a"]["expressions"] == {"0": {"exp": "both", "obj_ids": ["1", "2"]}}
    assert len(expressions["a"]["frames"]) == FRAMES
    frame = np.asarray(Image.open(folder / "JPEGImages/a/00009.jpg"))
    assert frame.shape == (HEIGHT, WIDTH, 3)
    with revseg.open_video(dataset.first().filepath) as video:
        assert abs(frame.astype(int) - video[9]).max() <= 4


def test_objects_that_overlap_in_a_png_are_told_of(make_dataset, videos, tmp_path):
    dataset = make_dataset(fo.Sample(videos[0]))
    segment(dataset, queries="all")
    summary = export_results(dataset, tmp_path / "png", "youtube-vos")
    assert len(summary.notes) == 1
    assert "overlap in 9 frames" in str(summary)
    masks = stored_masks(dataset.first())
    values = np.asarray(Image.open(tmp_path / "png/Annotations/a/00000.png"))
    np.testing.assert_array_equal(values == 1, masks[1][0])
    np.testing.assert_array_equal(values == 2, masks[2][0] & ~masks[1][0])
    export_results(dataset, tmp_path / "coco")
    exported = json.loads((tmp_path / "coco/instances.json").read_text())
    assert_same(coco_masks(exported, exported["videos"][0]), masks)


def test_mot(dataset, tmp_path):
    export_results(dataset, tmp_path / "out", "mot")
    assert files_in(tmp_path / "out") == [f"{name}.txt" for name in NAMES]
    for name, sample in zip(NAMES, dataset, strict=True):
        lines = (tmp_path / "out" / f"{name}.txt").read_text().splitlines()
        rows = [[float(value) for value in line.split(",")] for line in lines]
        assert rows == sorted(rows)
        expected = {
            (number, detection.index): detection
            for number, frame in sample.frames.items()
            for detection in frame.revseg.detections
        }
        assert {(row[0], row[1]) for row in rows} == set(expected)
        for number, index, x, y, w, h, confidence, *rest in rows:
            detection = expected[number, index]
            box = np.array(detection.bounding_box) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
            assert [x - 1, y - 1, w, h] == pytest.approx(box)
            assert confidence == detection.confidence
            assert rest == [-1, -1, -1]
    first = (tmp_path / "out" / "a.txt").read_text().splitlines()[0]
    assert first == "1,1,17,25,32,24,0.5,-1,-1,-1"


def test_json_lines(make_dataset, videos, tmp_path):
    dataset = make_dataset(
        fo.Sample(videos[0], query=["both", "the ghost"]),
        fo.Sample(str(tmp_path / "missing.mp4"), query=["the cat"]),
    )
    segment(dataset, prompt_field="query")
    sample = dataset.first()
    sample.revseg_answers.classifications[0].tags = ["accepted"]
    sample.revseg_answers.classifications[0]["certainty"] = 0.25
    sample.save()
    summary = export_results(dataset, tmp_path / "out", "jsonl")
    assert summary.exported == 2  # why a video could not be read is a result, too
    text = (tmp_path / "out" / "trajectories.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["query"] for line in lines] == ["both", "the ghost", "the cat"]
    assert [line["status"] for line in lines] == ["ok", "no_target", "unreadable"]
    stored = sample.revseg_trajectory["segmentations"]
    for line, record in zip(lines[:2], stored, strict=True):
        trajectory = Trajectory.from_dict(line["trajectory"])
        assert trajectory == Trajectory.from_dict(record["trajectory"])
        assert line["settings"] == record["settings"]
    assert [(a["index"], a["label"]) for a in lines[0]["answers"]] == [
        (1, "a grey cat"),
        (2, "a dog"),
    ]
    assert lines[0]["answers"][0]["tags"] == ["accepted"]
    assert [a.get("certainty") for a in lines[0]["answers"]] == [0.25, None]
    assert "certainty" not in lines[0]["answers"][1]
    assert "missing.mp4" in lines[2]["reason"]


@pytest.mark.parametrize("name", FORMATS)
def test_samples_without_results_are_skipped_aloud(dataset, videos, tmp_path, name):
    dataset.add_sample(fo.Sample(videos[0]))
    summary = export_results(dataset, tmp_path / "out", name)
    assert (summary.total, summary.exported) == (4, 3)
    assert list(summary.skipped) == [dataset.last().id]
    assert "skipped: There " in str(summary)
    assert [path.name for path in (tmp_path / "out").rglob(".*")] == [LIST]


@pytest.mark.parametrize("name", ["coco-tracks", "youtube-vos", "mot"])
def test_what_cannot_be_read_is_skipped_aloud(dataset, tmp_path, name):
    segment(dataset, prompt_field="query", masks_dir=tmp_path / "stored", overwrite=True)
    next((tmp_path / "stored").rglob(f"a-{dataset.first().id}/000007_1.png")).unlink()
    dataset.add_sample(fo.Sample(str(tmp_path / "missing.mp4")))
    summary = export_results(dataset, tmp_path / "out", name)
    first, last = dataset.first().id, dataset.last().id
    if name == "mot":  # boxes are in the database
        assert set(summary.skipped) == {last}
    else:
        assert set(summary.skipped) == {first, last}
        assert "000007_1.png" in summary.skipped[first]
    assert "missing.mp4" in summary.skipped[last]
    exported = " ".join(files_in(tmp_path / "out"))
    if name == "coco-tracks":
        exported = (tmp_path / "out" / "instances.json").read_text()
    assert {"youtube-vos": "c/00009.png", "mot": "c.txt"}.get(name, "c/00009.jpg") in exported
    assert ("a.txt" in exported) == (name == "mot")
    assert "a/0000" not in exported
    assert [path.name for path in (tmp_path / "out").rglob(".*")] == [LIST]


def test_a_view_exports_what_it_shows(dataset, tmp_path):
    view = dataset[:1].filter_labels("frames.revseg", F("index") == 2)
    export_results(view, tmp_path / "out")
    exported = json.loads((tmp_path / "out" / "instances.json").read_text())
    (video,) = exported["videos"]
    assert_same(coco_masks(exported, video), {2: stored_masks(dataset.first())[2]})


def test_clips(make_dataset, videos, tmp_path):
    sample = fo.Sample(videos[0])
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [6, 9])]
    )
    dataset = make_dataset(sample)
    clips = dataset.to_clips("events")
    segment(clips, hidden=(), queries="the cat")
    for name in FORMATS:
        assert export_results(clips, tmp_path / name, name, images=name == "youtube-vos")
    names = ["a_00001-00004", "a_00006-00009"]
    folder = tmp_path / "youtube-vos"
    for kind, ending in (("Annotations", "png"), ("JPEGImages", "jpg")):
        assert files_in(folder / kind) == [
            *(f"{names[0]}/{k:05d}.{ending}" for k in range(4)),
            *(f"{names[1]}/{k:05d}.{ending}" for k in range(5, 9)),
        ]
    frame = np.asarray(Image.open(folder / f"JPEGImages/{names[1]}/00008.jpg"))
    with revseg.open_video(videos[0]) as video:
        assert abs(frame.astype(int) - video[8]).max() <= 4
    exported = json.loads((tmp_path / "coco-tracks/instances.json").read_text())
    whole = stored_masks(dataset.first())
    for video, (first, last) in zip(exported["videos"], ([1, 4], [6, 9]), strict=True):
        assert video["length"] == 4
        (masks,) = coco_masks(exported, video).values()
        expected = np.any([whole[i] for i in whole], axis=0)[first - 1 : last]
        np.testing.assert_array_equal(masks, expected)
    lines = (tmp_path / "jsonl/trajectories.jsonl").read_text().splitlines()
    assert [json.loads(line)["support"] for line in lines] == [[1, 4], [6, 9]]
    export_results(dataset, tmp_path / "whole", "jsonl")
    lines = (tmp_path / "whole/trajectories.jsonl").read_text().splitlines()
    answers = [json.loads(line)["answers"] for line in lines]
    assert [[a["support"] for a in own] for own in answers] == [[[1, 4]], [[6, 9]]]


def test_ordered_groups_of_images(make_dataset, tmp_path):
    images = []
    for scene in "ab":
        for k in (1, 0, 2, 3):
            path = tmp_path / f"{scene}-{k}.png"
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 30 * k, np.uint8)).save(path)
            images.append(fo.Sample(str(path), scene=scene, number=k))
    dataset = make_dataset(*images)
    groups = dataset.group_by("scene", order_by="number")
    segment(groups, hidden=(2,), queries="the cat")
    for name in FORMATS:
        summary = export_results(groups, tmp_path / name, name, images=name == "youtube-vos")
        assert (summary.total, summary.exported) == (2, 2)
    exported = json.loads((tmp_path / "coco-tracks/instances.json").read_text())
    first = dataset.match(F("scene") == "a").sort_by("number")
    masks = np.zeros((4, HEIGHT, WIDTH), bool)
    for k, sample in enumerate(first):
        for detection in sample.revseg.detections:
            masks[k] = detection.to_segmentation(frame_size=(WIDTH, HEIGHT)).mask > 0
    assert masks.any(axis=(1, 2)).tolist() == [True, True, False, True]
    assert_same(coco_masks(exported, exported["videos"][0]), {1: masks})
    name = exported["videos"][0]["name"]
    assert name == f"a-0-{first.first().id}"
    frame = np.asarray(Image.open(tmp_path / f"youtube-vos/JPEGImages/{name}/00003.jpg"))
    assert abs(frame.astype(int) - 90).max() <= 4


def test_videos_of_the_same_name_do_not_mix(make_dataset, videos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "a.mp4"
    write_video(other, WIDTH, HEIGHT, FRAMES)
    dataset = make_dataset(fo.Sample(videos[0]), fo.Sample(str(other)))
    segment(dataset, queries="the cat")
    export_results(dataset, tmp_path / "out", "mot")
    assert files_in(tmp_path / "out") == sorted(f"a-{i}.txt" for i in dataset.values("id"))


def test_ground_truth_can_be_exported_if_it_has_indices(make_dataset, videos, tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3:9, 4:20] = True
    sample = fo.Sample(videos[0])
    truth = fo.Detection.from_mask(mask, label="cat")
    sample.frames[2] = fo.Frame(truth=fo.Detections(detections=[truth]))
    dataset = make_dataset(sample)
    with pytest.raises(ValueError, match=r"nothing to export .* have no index"):
        export_results(dataset, tmp_path / "out", label_field="frames.truth")
    assert not (tmp_path / "out").exists()
    sample.frames[2].truth.detections[0].index = 5
    sample.save()
    export_results(dataset, tmp_path / "out", label_field="truth")
    exported = json.loads((tmp_path / "out" / "instances.json").read_text())
    expected = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    expected[1] = mask
    assert_same(coco_masks(exported, exported["videos"][0]), {5: expected})


@pytest.mark.parametrize("name", FORMATS)
def test_a_directory_that_is_not_empty_is_only_written_to_when_told(dataset, tmp_path, name):
    out = tmp_path / "out"
    export_results(dataset, out, name)
    first = {path: (out / path).read_bytes() for path in files_in(out)}
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        export_results(dataset, out, name)
    segment(dataset, hidden=(0,), prompt_field="query", overwrite=True)
    export_results(dataset, out, name, overwrite=True)
    assert set(files_in(out)) == {*first, "mine.txt"}
    assert (out / "mine.txt").read_text() == "mine"
    assert any((out / path).read_bytes() != content for path, content in first.items())


@pytest.mark.parametrize("name", FORMATS)
def test_interrupting_leaves_no_half_written_file(dataset, tmp_path, name):
    def stop(progress):
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_results(dataset, tmp_path / "out", name, progress=stop)
    if name in ("coco-tracks", "coco-frames", "jsonl"):
        assert not (tmp_path / "out").exists()
    else:
        assert len(list((tmp_path / "out").glob("**/[a-c]*"))) == 2
        assert [path.name for path in (tmp_path / "out").rglob(".*")] == [LIST]


def test_progress(dataset, tmp_path):
    seen = []
    export_results(dataset, tmp_path / "out", progress=seen.append)
    assert [(p.done, p.total, p.video) for p in seen] == [
        (0, 3, ""),
        (1, 3, "a"),
        (2, 3, "b"),
        (3, 3, ""),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "yolo"}, "no format 'yolo'. Formats are: coco-tracks"),
        ({"label_field": "other"}, "no field 'frames.other'.*: revseg"),
        ({"label_field": "my field"}, "label_field must be"),
        ({"images": True}, "has no pictures"),
        ({"directory": ""}, "Name the directory"),
        ({"directory": "{file}"}, "is a file"),
        ({"directory": "{file}/below"}, "Nothing can be written to"),
    ],
)
def test_wrong_arguments_are_refused_in_words_and_nothing_is_written(
    dataset, tmp_path, options, message
):
    file = tmp_path / "file"
    file.write_text("x")
    options = {"directory": str(tmp_path / "out"), **options}
    options["directory"] = options["directory"].format(file=file)
    before = contents(dataset)
    with pytest.raises(ValueError, match=message):
        export_results(dataset, **options)
    assert files_in(tmp_path) == ["file"]
    assert contents(dataset) == before


def test_nothing_to_export(make_dataset, dataset, videos, tmp_path):
    with pytest.raises(ValueError, match="no videos"):
        export_results(dataset.limit(0), tmp_path / "out")
    dataset.add_sample(fo.Sample(videos[0]))
    for name in FORMATS:
        with pytest.raises(ValueError, match="nothing to export in 'revseg' of 1 videos"):
            export_results(dataset[3:], tmp_path / "out", name)
    assert not (tmp_path / "out").exists()


def own_files(out, name):
    """Files of a person's own of the names that an export writes."""
    paths = {
        "coco-tracks": ["instances.json"],
        "coco-frames": ["instances.json"],
        "jsonl": ["trajectories.jsonl"],
        "mot": ["a.txt", "b.txt"],
        "youtube-vos": ["Annotations/a/00000.png", "Annotations/b/notes.txt"],
    }[name]
    for path in paths:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text("mine")
    return paths


@pytest.mark.parametrize("name", FORMATS)
def test_an_overwrite_replaces_no_file_that_no_export_wrote(dataset, tmp_path, name):
    out = tmp_path / "out"
    paths = own_files(out, name)
    if name in ("coco-tracks", "coco-frames", "jsonl"):
        with pytest.raises(ValueError, match="was not written by revseg"):
            export_results(dataset, out, name, overwrite=True)
    else:
        summary = export_results(dataset, out, name, overwrite=True)
        assert summary.exported == 1
        assert all("not written by revseg" in why for why in summary.skipped.values())
    assert [(out / path).read_text() for path in paths] == ["mine"] * len(paths)


def test_an_overwrite_replaces_no_file_that_a_person_put_there_or_changed(dataset, tmp_path):
    out = tmp_path / "out"
    export_results(dataset, out, "youtube-vos")
    painted, notes = out / "Annotations" / "a" / "00000.png", out / "Annotations" / "b" / "notes"
    painted.write_text("painted")
    notes.write_text("mine")
    others = (out / "Annotations" / "b" / "00000.png").read_bytes()
    segment(dataset, hidden=(0,), prompt_field="query", overwrite=True)
    summary = export_results(dataset, out, "youtube-vos", overwrite=True)
    assert (summary.exported, len(summary.skipped)) == (1, 2)
    assert painted.read_text() == "painted"
    assert notes.read_text() == "mine"
    assert (out / "Annotations" / "b" / "00000.png").read_bytes() == others
    assert list(json.loads((out / "meta.json").read_text())["videos"]) == ["c"]
    (out / "meta.json").write_text("{}")
    with pytest.raises(ValueError, match=r"meta\.json' was not written by revseg"):
        export_results(dataset, out, "youtube-vos", overwrite=True)
    assert (out / "meta.json").read_text() == "{}"


def test_an_interrupted_overwrite_leaves_no_list_of_what_was_there_before(dataset, tmp_path):
    """Or new masks would be taken for those of the old list."""
    out = tmp_path / "out"
    export_results(dataset, out, "youtube-vos")
    before = (out / "Annotations" / "b" / "00000.png").read_bytes()

    def stop(progress):
        if progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_results(dataset, out, "youtube-vos", overwrite=True, progress=stop)
    assert sorted(p.name for p in out.iterdir()) == [LIST, "Annotations"]
    assert (out / "Annotations" / "b" / "00000.png").read_bytes() == before


HOSTILE = [
    "...mp4",
    "..mp4",
    "%05d %s 100%.mp4",
    "x" * 247 + ".mp4",
    "é" * 120 + ".mp4",
    'a:b|c?"<>*.mp4',
    "con.mp4",
    " space .mp4",
    "a\\..\\..\\b.mp4",
    "new\nline.mp4",
    "Upper.mp4",
    "upper.mp4",
    "UPPER.mkv",
]


@pytest.mark.parametrize("name", FORMATS)
def test_names_of_videos_are_no_paths(make_dataset, videos, tmp_path, name):
    folder = tmp_path / "videos"
    folder.mkdir()
    for file in HOSTILE:
        (folder / file).write_bytes(Path(videos[0]).read_bytes())
    paths = [str(folder / file) for file in HOSTILE]
    dataset = make_dataset(*[fo.Sample(path, media_type="video") for path in paths])
    segment(dataset, queries="the cat")
    out = tmp_path / "deep" / "out"
    for overwrite in (False, True):
        summary = export_results(dataset, out, name, overwrite=overwrite)
        assert (summary.exported, summary.skipped) == (len(HOSTILE), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "videos"]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]
    if name == "youtube-vos":
        names = [p.name for p in (out / "Annotations").iterdir()]
        assert set(json.loads((out / "meta.json").read_text())["videos"]) == set(names)
    elif name == "mot":
        names = [p.name for p in out.iterdir() if p.name != LIST]
    elif name == "jsonl":
        lines = (out / "trajectories.jsonl").read_text().splitlines()
        names = [json.loads(line)["video"] for line in lines]
    else:
        exported = json.loads((out / "instances.json").read_text())
        names = [video["name"] for video in exported.get("videos", [])]
        names = names or [*dict.fromkeys(image["video"] for image in exported["images"])]
    assert len({made.lower() for made in names}) == len(HOSTILE)
    assert not [made for made in names if set(made) & set('%/\\:*?"<>|\n') or made[0] in ". "]
    gc.collect()  # FiftyOne cannot delete a dataset while a sample is held whose path is a pattern
