"""The pages about datasets, run from top to bottom on real videos with the embedded pair.

Every heading whose code is run has a check of what came out of it.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
import timed_videos
from click.testing import CliRunner
from contents import contents
from fake_models import BoxTracker, ScriptedReasoner
from fiftyone import ViewField as F
from PIL import Image
from pycocotools import mask as coco

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset import field_names
from fiftyone_revseg.masks.pictures import save_png, write_video
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.synthetic import make_world
from fiftyone_revseg.tracking import encode_masks
from fiftyone_revseg.video import open_video

DOCS = Path(__file__).parents[2] / "docs"
# Seed of a world -> what is asked about it. The model finds the first three, of the second the
# first query only, whose two objects share a key frame; the third is visible in some frames only
WORLDS = {
    19: ["the purple cross"],
    5357: ["all circles", "the white circle"],
    10: ["the red star"],
    9: ["the white star"],
}


def blocks(page: str, language: str = "python") -> list[tuple[str, str]]:
    """Lists the (heading, code) of the code of a page, in order."""
    found, heading = [], ""
    pattern = rf"^#+ (?P<heading>[^\n]+)$|^```{language}\n(?P<code>.*?)^```$"
    for match in re.finditer(pattern, (DOCS / page).read_text(), re.MULTILINE | re.DOTALL):
        if match["heading"]:
            heading = match["heading"]
        else:
            found.append((heading, match["code"]))
    return found


def run_page(page: str, checks: dict) -> None:
    """Runs the code of a page, heading by heading, and what checks each."""
    sections: dict[str, list[str]] = {}
    for heading, code in blocks(page):
        sections.setdefault(heading, []).append(code)
    assert list(sections) == list(checks)
    names: dict = {}
    for heading, codes in sections.items():
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            for code in codes:
                exec(compile(code, f"{page}, {heading}", "exec"), names)
        checks[heading](names, said.getvalue())


def short_videos(folder: Path) -> list[fo.Sample]:
    """Every third frame of some worlds, and a video that is not there."""
    samples = []
    for seed, queries in WORLDS.items():
        world = make_world(seed, "test")
        path = folder / f"world-{seed}.mp4"
        frames = world.render()[0][::3]
        write_video(path, [(k / world.fps, frame) for k, frame in enumerate(frames)], world.fps)
        samples.append(fo.Sample(str(path), query=queries))
    return [*samples, fo.Sample(str(folder / "gone.mp4"), query=["the star"])]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return short_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def my_videos(videos, tmp_path, monkeypatch):
    """The dataset that the pages speak of, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    assert not fo.dataset_exists("my-videos")
    dataset = fo.Dataset("my-videos")
    dataset.add_samples([sample.copy() for sample in videos])
    yield dataset
    dataset.delete()


@pytest.mark.slow
def test_fields(my_videos, videos, tmp_path):
    revseg.segment_view(my_videos, revseg.load_model(prompt_field="query", device="cpu"))
    my_videos.add_sample(fo.Sample(videos[0].filepath, query=["the star"]))  # not segmented
    assert my_videos.values("revseg_status") == [
        *("ok", "no_target", "ok", "no_target", "unreadable"),
        None,
    ]
    ids = my_videos.values("id")
    everything = contents(my_videos)

    def fields(names, said):
        assert len(names["dataset"]) == 6

    def failures(names, said):
        assert names["failed"].values("id") == ids[4:5]
        assert names["missing"].values("id") == ids[4:5]
        assert "unreadable" in said
        assert "there is no file" in said

    def no_object(names, said):
        absent = names["absent"]
        assert absent.values("id") == [ids[1], ids[3]]
        asked = absent.values("revseg_answers.classifications.query")
        assert asked == [["the white circle"], ["the white star"]]
        assert names["nothing_there"].values("id") == [ids[3]]

    def low_confidence(names, said):
        dataset = names["dataset"]
        scores = dataset.values("frames.revseg.detections.confidence", unwind=True)
        scores = np.array([score for score in scores if score is not None])
        low = int((scores < 0.9).sum())
        assert 0 < low < len(scores)
        assert names["unsure"].count("frames.revseg.detections") == low
        assert names["unsure"].count("frames") > names["unsure_frames"].count("frames")
        counts = names["unsure_frames"].values(F("frames").map(F("revseg.detections").length()))
        assert all(n > 0 for sample in counts for n in sample)
        found = names["unsure_boxes"].values("revseg_answers.classifications.confidence")
        assert found
        assert all(0 < c < 0.87 for sample in found for c in sample)
        # What the page warns of
        trap = dataset.filter_labels("revseg_answers", F("confidence") < 0.87)
        assert None in trap.values("revseg_answers.classifications.confidence", unwind=True)

    def key_frames(names, said):
        keyframes, images = names["keyframes"], names["images"]
        assert len(keyframes) == 4
        assert keyframes.values(F("support")[0]) == keyframes.values(F("support")[1])
        assert isinstance(keyframes.first().revseg_keyframes, fo.Classification)
        assert keyframes.first().revseg_keyframes.index == 1
        assert keyframes.first().revseg_keyframes.query == "the purple cross"
        where = keyframes.values(["sample_id", F("support")[0]])
        assert len(images) == len(set(zip(*where, strict=True))) < len(keyframes)
        assert all(Path(path).is_file() for path in images.values("filepath"))
        assert Path(images.first().filepath).is_relative_to(tmp_path / "key-frames")
        assert min(images.values(F("revseg.detections").length())) > 0
        # What the page warns of
        assert len(names["dataset"].to_frames()) == len(images)

    def masks_of(names, said):
        labels = names["circles"].values("frames.revseg.detections.query", unwind=True)
        assert set(labels) - {None} == {"all circles"}
        answers = names["circles"].values("revseg_answers.classifications.query", unwind=True)
        assert set(answers) == {"all circles"}
        assert names["circles"].values("id") == [ids[1]]
        numbers = names["first"].values("frames.revseg.detections.index", unwind=True)
        assert set(numbers) - {None} == {1}
        assert names["first"].count("frames.revseg.detections") < names["dataset"].count(
            "frames.revseg.detections"
        )

    def visible(names, said):
        assert len(names["objects"]) == 4
        lengths = [int(line.split()[-1]) for line in said.splitlines()[:4]]
        assert lengths[0] == max(names["dataset"].first().frames)
        assert lengths[-1] == names["dataset"].values(names["seen"])[2]
        assert names["partly"].values("id") == [ids[2]]
        assert names["dataset"].values(names["seen"])[3:] == [0, 0, 0]
        stretches = names["dataset"].to_clips("frames.revseg")
        assert stretches.values("sample_id") == ids[:3]

    def tags(names, said):
        assert names["to_review"].values("id") == ids[4:5]
        reviewed = names["masks_to_review"].count("frames.revseg.detections")
        assert reviewed == names["unsure"].count("frames.revseg.detections") > 0

    def export(names, said):
        again = fo.Dataset.from_dir("backup", dataset_type=fo.types.FiftyOneDataset)
        try:
            assert again.values("revseg_status") == names["dataset"].values("revseg_status")
            assert again.count("frames.revseg.detections.mask") > 0
        finally:
            again.delete()
        found = names["found"]
        assert found.values("id") == [ids[0], ids[2]]
        exported = json.loads(Path("coco/instances.json").read_text())
        assert len(exported["images"]) == found.count("frames")
        assert len(exported["annotations"]) == found.count("frames.revseg.detections") > 0
        assert exported["annotations"][0]["query"] == "the purple cross"
        for image in exported["images"]:
            name = Path(image["file_name"]).with_suffix(".png")
            shown = np.asarray(Image.open(Path("masks/Annotations") / name))
            assert (Path("coco/JPEGImages") / image["file_name"]).is_file()
            own = [a for a in exported["annotations"] if a["image_id"] == image["id"]]
            for annotation in own:
                mask = coco.decode(annotation["segmentation"]) > 0
                np.testing.assert_array_equal(shown == annotation["index"], mask)
            assert set(np.unique(shown)) <= {0, *(a["index"] for a in own)}
        # What the page says of FiftyOne's COCO
        frames = found.to_frames(sample_frames=True, output_dir="frames")
        with pytest.raises(TypeError, match="Instance"):
            frames.export("x", dataset_type=fo.types.COCODetectionDataset, label_field="revseg")
        tracks = "".join(path.read_text() for path in Path("cvat/labels").iterdir())
        assert tracks.count("<track ") == 2
        assert [row["filepath"] for row in names["rows"]] == names["dataset"].values("filepath")
        assert [row["revseg_status"] for row in names["rows"]][4:] == ["unreadable", ""]
        assert "So the purple cross fits" in names["rows"][0]["revseg_reasoning"]

    def replies(names, said):
        assert names["trajectory"].query == "the purple cross"
        assert names["trajectory"].think in said
        answer = names["dataset"].first().revseg_answers.classifications[0]
        assert names["trajectory"].key_frames[0] + 1 == answer.keyframe
        assert [turn.reply in said for turn in names["trajectory"].turns] == [True, True]
        order = names["slowest_first"].values("id")
        assert sorted(order) == sorted(ids[:5])
        assert order[-1] == ids[4]  # nothing was tracked in what cannot be read

    def compare(names, said):
        assert names["found"].values("second_status") == ["ok", "ok"] or len(names["changed"])
        assert "precision" in said
        assert names["results"].metrics()["precision"] > 0.5
        assert 0.5 < float(said.splitlines()[-1]) <= 1

    def remove(names, said):
        dataset = names["dataset"]
        left = {*dataset.get_field_schema(), *dataset.get_frame_field_schema()}
        assert not {"second", *field_names("second")[1:]} & left
        assert [run["label_field"] for run in revseg.list_runs(dataset)] == ["revseg"]
        assert set(field_names("revseg")[1:]) <= left

    run_page(
        "fields.md",
        {
            "The fields": fields,
            "What failed": failures,
            "No such object": no_object,
            "Low confidence": low_confidence,
            "Key frames": key_frames,
            "The masks of one query, or of one object": masks_of,
            "How long is an object visible?": visible,
            "Tags for review": tags,
            "Export": export,
            "What the model was asked and replied": replies,
            "Compare two label fields": compare,
            "Remove all of it": remove,
        },
    )
    # Looking at results did not change them
    my_videos.untag_labels("review")
    left = contents(my_videos)
    for name in field_names()[1:]:
        assert [sample[name] for sample in left] == [sample[name] for sample in everything]


class OddMasks(BoxTracker):
    """Gives masks with a hole, a line of one pixel, and a pixel by itself."""

    def track(self, frames, boxes):
        for found in super().track(frames, boxes):
            yield replace(found, rles=encode_masks(ODD[None]))


ODD = np.zeros((96, 160), bool)
ODD[10:40, 20:60], ODD[20:30, 30:50] = True, False
ODD[50, 20:140] = ODD[95, 159] = True


@pytest.mark.parametrize("name", ["phone.webm", "cut.mp4"])
def test_frames_of_videos_whose_metadata_is_wrong(tmp_path, monkeypatch, name):
    """The recipes for single frames, where FiftyOne counts other frames than there are."""
    monkeypatch.chdir(tmp_path)
    stamps = [33 * k if k < 30 else 990 + 67 * (k - 30) for k in range(40)]
    count, first = 40, 0
    if name == "phone.webm":
        timed_videos.encode(tmp_path / name, stamps, codec="libvpx-vp9")
    else:
        timed_videos.encode(tmp_path / "whole.mp4", stamps)
        cut = ["ffmpeg", "-v", "error", "-ss", "0.7", "-i", "whole.mp4", "-c", "copy", name]
        subprocess.run(cut, check=True)
        with open_video(tmp_path / name) as video:
            count, first = len(video), timed_videos.read(video[0])
        assert first > 0
    dataset = fo.Dataset("my-videos")
    try:
        dataset.add_sample(fo.Sample(str(tmp_path / name)))
        dataset.compute_metadata()
        assert dataset.first().metadata.total_frame_count > count  # or there is nothing to see
        reasoner = ScriptedReasoner({"the cat": [(1, "a cat", [25, 50, 75, 100])]})
        revseg.segment_view(dataset, RevSeg(reasoner, OddMasks()), "the cat")
        names: dict = {}
        for heading, code in blocks("fields.md"):
            if heading in ("The fields", "Key frames", "Export"):
                exec(code, names)

        (picture,) = names["images"].values("filepath")
        keyframe = dataset.first().revseg_answers.classifications[0].keyframe
        assert timed_videos.read(np.asarray(Image.open(picture))) == first + keyframe - 1
        exported = json.loads(Path("coco/instances.json").read_text())
        assert [image["frame_number"] for image in exported["images"]] == [*range(1, count + 1)]
        assert len(exported["annotations"]) == count
        for k, annotation in enumerate(exported["annotations"]):
            picture = Image.open(Path("coco/JPEGImages") / exported["images"][k]["file_name"])
            assert timed_videos.read(np.asarray(picture)) == first + k
            assert annotation["image_id"] == exported["images"][k]["id"]
            assert (annotation["area"], annotation["bbox"]) == (ODD.sum(), [20, 10, 140, 86])
            np.testing.assert_array_equal(coco.decode(annotation["segmentation"]), ODD)
            png = Path("masks/Annotations") / Path(name).stem / f"{k:05d}.png"
            np.testing.assert_array_equal(np.asarray(Image.open(png)), ODD)
    finally:
        dataset.delete()


def attributes(dataset, path):
    schema = dataset.get_field_schema(flat=True)
    schema.update({f"frames.{k}": v for k, v in dataset.get_frame_field_schema(flat=True).items()})
    own = {name.removeprefix(f"{path}.") for name in schema if name.startswith(f"{path}.")}
    return {name for name in own if "." not in name}


def test_the_tables_of_fields_are_complete():
    """Whoever adds a field or an attribute of a label adds it to the page."""
    from fiftyone_revseg.dataset import declare_fields

    page = (DOCS / "fields.md").read_text()
    dataset = fo.Dataset()
    try:
        dataset.media_type = "video"
        declare_fields(dataset)
        for name in field_names():
            assert f"| `{name}` |" in page
        table = page[page.index("| attribute |") :].split("\n\n")[0].splitlines()[2:]
        columns = {
            2: "frames.revseg.detections",
            3: "revseg_answers.classifications",
            4: "revseg_keyframes.detections",
        }
        # Fields of FiftyOne's own that are not used here, or explained by the text
        unused = {"id", "tags", "attributes", "mask_path", "logits"}
        for column, path in columns.items():
            rows = [row.split("|") for row in table]
            rows = [row for row in rows if row[column].strip()]
            said = {name for row in rows for name in re.findall(r"`(.*?)`", row[1])}
            ours = attributes(dataset, path) - unused - ({"support"} if column == 4 else set())
            assert said == ours, f"docs/fields.md and the schema of {path} differ"
    finally:
        dataset.delete()


@pytest.fixture
def my_cameras(videos):
    dataset = fo.Dataset("my-cameras")
    dataset.add_group_field("group", default="right")
    group = fo.Group()
    for name, sample in zip(("left", "right"), videos, strict=False):
        dataset.add_sample(fo.Sample(sample.filepath, group=group.element(name)))
    yield dataset
    dataset.delete()


@pytest.fixture
def my_frames(tmp_path_factory):
    folder, dataset = tmp_path_factory.mktemp("frames"), fo.Dataset("my-frames")
    for k, frame in reversed(list(enumerate(make_world(23, "test").render()[0][::3]))):
        save_png(folder / f"{k}.png", frame)
        path = str(folder / f"{k}.png")
        dataset.add_sample(fo.Sample(path, scene="one", frame_number=k + 1))
    yield dataset
    dataset.delete()


@pytest.mark.slow
def test_apply_to_a_dataset(my_videos, my_cameras, my_frames, tmp_path):
    first = my_videos.first()
    first["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [3, 9])]
    )
    first.save()

    def in_python(names, said):
        dataset = names["dataset"]
        assert dataset.values("revseg_status")[4] == "unreadable"
        assert None not in dataset.values("revseg_status")
        assert "5 of 5 segmented" in said
        assert dataset.values("own_status") == ["ok", "no_target", "ok", "no_target", "unreadable"]
        assert f"{dict(names['summary'].counts)}" in said
        assert "there is no file" in said
        assert dataset.values("shown_status") == ["ok", None, None, None, None]
        assert "world-19.mp4 track" in said

    def through_apply_model(names, said):
        dataset = names["dataset"]
        assert dataset.values("third_status") == ["ok", "no_target", None, None, None]
        assert dataset.count("frames.third.detections") > 0
        own, third = dataset.values(
            ["frames.own.detections.label", "frames.third.detections.label"]
        )
        assert own[:2] == third[:2]
        # What the page warns of
        rest = dataset[2:3]
        with pytest.raises(ValueError, match=r"without 'frames\.'"):
            rest.apply_model(names["model"], label_field="frames.third", prompt_field="query")
        assert rest.count("frames.third") == 0

    def resume(names, said):
        dataset = names["dataset"]
        assert names["kept"].changed == {"spec.frames: 8 -> 6": 4}
        assert names["kept"].skipped == 4
        assert names["redone"].skipped == 0
        assert len(names["weak"]) > 0
        assert names["model"].config.label_field != "own"  # the argument is what counts
        frames = "own_trajectory.segmentations.settings.spec.frames"
        assert {n for sample in dataset.values(frames) for n in sample} >= {6, 8}
        assert "revseg_" in said
        assert "own_" in said

    def several_at_once(names, said):
        assert names["dataset"].values("batched_status")[4] == "unreadable"
        assert (names["engine"].dialogues.size, names["engine"].objects.size) == (4, 2)

    def clips(names, said):
        statuses = names["clips"].values("clipped_status")
        assert len(statuses) == 2
        assert str(statuses) in said
        dataset = names["dataset"]
        assert not dataset.to_clips("events").has_field("clipped_status")
        along = dataset.to_clips("events", other_fields=["clipped_status"])
        assert set(along.values("clipped_status")) <= set(statuses)
        answers = dataset.first().clipped_answers.classifications
        assert [list(answer.support) for answer in answers] == [[1, 4], [3, 9]]

    def grouped(names, said):
        left = names["cameras"].select_group_slices("left")
        assert left.values("revseg_status") == ["ok"]
        right = names["cameras"].select_group_slices("right")
        assert right.values("revseg_status") == [None]

    def images(names, said):
        ordered = names["images"].sort_by("frame_number")
        assert set(ordered.values("revseg_status")) == {"ok"}
        assert min(ordered.values(F("revseg.detections").length())) == 1
        keyframe = ordered.first().revseg_answers.classifications[0].keyframe
        marks = ordered.values(F("revseg_keyframes.classifications").length())
        assert marks == [int(k == keyframe) for k in range(1, len(ordered) + 1)]
        kept = [t is not None for t in ordered.values("revseg_trajectory")]
        assert kept == [True, *[False] * (len(ordered) - 1)]

    def mask_files(names, said):
        paths = names["dataset"].values("frames.filed.detections.mask_path", unwind=True)
        paths = {path for path in paths if path}
        assert paths == {str(path) for path in (tmp_path / "masks").glob("*/*/*/*.png")}
        (run,) = (r for r in revseg.list_runs(names["dataset"]) if r["label_field"] == "filed")
        folder = tmp_path / "masks" / names["dataset"].name / run["run_key"]
        assert str(folder / f"world-19-{names['dataset'].first().id}" / "000001_1.png") in paths

    run_page(
        "apply-to-a-dataset.md",
        {
            "In Python": in_python,
            "Through apply_model": through_apply_model,
            "Interrupt, resume, redo": resume,
            "Several videos at once": several_at_once,
            "Clips": clips,
            "Grouped datasets": grouped,
            "Images that are frames": images,
            "Masks as files": mask_files,
        },
    )


def shell_lines():
    pages = sorted(path.name for path in DOCS.glob("*.md"))
    return [
        line
        for page in pages
        for _, code in blocks(page, "bash")
        for line in code.replace("\\\n", " ").splitlines()
        if line.startswith("revseg ")
    ]


@pytest.mark.parametrize("line", shell_lines())
def test_commands_in_the_pages_are_understood(line):
    """Parses them, and runs nothing."""
    words = shlex.split(line, comments=True)[1:]
    command = main
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("revseg", words)


def test_there_are_commands_in_the_pages():
    assert any(line.startswith("revseg apply") for line in shell_lines())
    assert CliRunner().invoke(main, ["apply", "--help"]).exit_code == 0
