"""Masks of other methods, loaded and scored."""

import gc
import shutil
import zipfile
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from bson import ObjectId
from miniatures import SIZE, SPLITS, write_miniature
from PIL import Image
from png_predictions import stored_masks, write_predictions

import fiftyone_revseg as revseg
from fiftyone_revseg.evaluation import predictions
from fiftyone_revseg.evaluation.benchmarks import import_benchmark
from fiftyone_revseg.evaluation.evaluate import evaluate_view
from fiftyone_revseg.evaluation.predictions import load_predictions
from fiftyone_revseg.evaluation.submission import write_submission

WITH_TRUTH = [name for name in SPLITS if name != "lv-vis"]  # its texts are rewritten on import


@pytest.fixture
def imported(tmp_path):
    made = []

    def make(name):
        split = "train" if name == "ref-youtube-vos" else SPLITS[name][0]
        miniature = write_miniature(name, tmp_path / "root", split)
        made.append(import_benchmark(name, miniature.root, split, f"revseg-test-{tmp_path.name}"))
        return miniature, made[-1]

    yield make
    gc.collect()  # FiftyOne cannot let go of samples whose path looks like that of an image
    for dataset in made:
        dataset.delete()


@pytest.mark.parametrize("name", WITH_TRUTH)
def test_the_truth_scores_100_and_nothing_scores_what_is_known(imported, tmp_path, name):
    miniature, dataset = imported(name)
    for field, of in (("perfect", miniature.union), ("nothing", None)):
        masks_of = of or (lambda video, e: 0 * miniature.union(video, e))
        folder = write_predictions(miniature, tmp_path / field, masks_of)
        loaded = load_predictions(dataset, folder, field)
        assert (loaded.missing, loaded.gaps, loaded.skipped, loaded.unused) == ([], {}, {}, 0)
        assert loaded.videos == len(miniature.videos)
    perfect = evaluate_view(dataset, "perfect", workers=1)
    assert all(score.jf == 1 and not score.missing for score in perfect.scores)
    assert perfect.table[-1]["jf"] == 1
    assert perfect.model == "perfect"
    nothing = evaluate_view(dataset, "nothing", workers=1)
    for score in nothing.scores:
        # Right on the frames without the object, and nowhere else
        expression = next(
            e for e in miniature.videos[score.video].expressions if e.id == score.expression_id
        )
        truth = miniature.union(score.video, expression)
        absent = float(np.mean(~truth.any(axis=(1, 2))))
        assert (score.j, score.f, score.missing) == (absent, absent, False)


def test_what_a_person_accepts_while_masks_are_loaded_is_kept(imported, tmp_path, monkeypatch):
    miniature, dataset = imported("mevis")
    folder = write_predictions(miniature, tmp_path / "theirs", miniature.union)
    load_predictions(dataset, folder, "theirs")
    read, accepted = predictions._read, []

    def read_slowly(video, *args):
        if not accepted:
            assert revseg.accept(dataset.select(video.id), label_field="theirs")
            accepted.extend([video.name, video.id, stored(video.id)])
        return read(video, *args)

    def stored(sample_id):
        of = {"_sample_id": ObjectId(sample_id)}
        return list(dataset._frame_collection.find(of).sort("_id", 1))

    monkeypatch.setattr(predictions, "_read", read_slowly)
    loaded = load_predictions(dataset, folder, "theirs", overwrite=True)
    (name,) = loaded.skipped
    assert (name, loaded.videos) == (accepted[0], len(miniature.videos) - 1)
    assert "a person corrected, accepted" in loaded.skipped[name]
    assert stored(accepted[1]) == accepted[2]


def test_what_is_written_is_what_is_stored(imported, tmp_path):
    miniature, dataset = imported("revos")  # with slashes in the names of videos
    folder = write_predictions(miniature, tmp_path / "deep" / "valid" / "Annotations")
    (folder.parent / "log.txt").write_text("")
    loaded = load_predictions(dataset, tmp_path / "deep", "frames.theirs", model="SomeMethod")
    assert loaded.unused == 1
    assert "1 files are of no expression or frame in the dataset" in str(loaded)
    for (video, query), masks in stored_masks(dataset, "theirs").items():
        about = miniature.videos[video]
        k = [e.text for e in about.expressions].index(query)
        np.testing.assert_array_equal(masks, about.masks[list(about.masks)[k % 2]])
    sample = dataset.first()
    assert {a.model for a in sample.theirs_answers.classifications} == {"SomeMethod"}
    assert sample.theirs_status == "ok"
    (first,) = {d.instance.id for f in sample.frames.values() for d in f.theirs.detections
                if d.index == 1}  # fmt: skip
    assert first

    shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path / "deep")
    with pytest.raises(ValueError, match="There are results in 'theirs' already"):
        load_predictions(dataset, tmp_path / "zipped.zip", "theirs")
    load_predictions(dataset, tmp_path / "zipped.zip", "theirs", overwrite=True)
    assert len(dataset.first().theirs_answers.classifications) == 4


def test_what_is_missing_is_said_and_scored_as_missing(imported, tmp_path):
    miniature, dataset = imported("mevis")
    first, second = miniature.videos
    folder = write_predictions(miniature, tmp_path / "out", miniature.union, [f"{first}/1"])
    (folder / second / "0" / "00002.png").unlink()
    loaded = load_predictions(dataset, folder, "theirs")
    assert loaded.missing == [f"{first}/1"]
    assert loaded.gaps == {f"{second}/0": 1}
    assert f"MISSING: 1 expressions have no files, so no prediction: {first}/1" in str(loaded)
    scores = {
        (s.video, s.expression_id): s for s in evaluate_view(dataset, "theirs", workers=1).scores
    }
    assert [key for key, score in scores.items() if score.missing] == [(first, "1")]
    assert scores[first, "1"].jf == 0
    assert scores[second, "0"].j == 3 / 4


def test_pictures_of_any_kind(imported, tmp_path):
    miniature, dataset = imported("mevis")
    folder = write_predictions(miniature, tmp_path / "out")
    name, video = next(iter(miniature.videos.items()))
    mask = np.asarray(Image.open(folder / name / "0" / "00000.png")) > 0
    palette = Image.fromarray(mask.astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    red = np.zeros((*mask.shape, 4), np.uint8)
    red[mask, 0] = 255
    red[..., 3] = 255
    kinds = [palette, Image.fromarray(mask), Image.fromarray(red), Image.fromarray(red[..., :3])]
    kinds.append(Image.fromarray(mask.astype(np.uint16) * 1000))
    expected = np.zeros((len(video.frame_names), *mask.shape), bool)
    for k, picture in enumerate(kinds):
        picture.save(folder / name / "0" / f"{video.frame_names[k]}.png")
        expected[k] = mask
    expected[5] = video.masks[1][5]
    load_predictions(dataset, folder, "theirs")
    text = video.expressions[0].text
    np.testing.assert_array_equal(stored_masks(dataset, "theirs")[name, text], expected)


def test_masks_of_another_size_are_scaled(imported, tmp_path):
    miniature, dataset = imported("mevis")
    twice = (2 * SIZE[0], 2 * SIZE[1])
    load_predictions(
        dataset, write_predictions(miniature, tmp_path / "out", miniature.union, size=twice), "big"
    )
    assert all(s.j == 1 for s in evaluate_view(dataset, "big", workers=1).scores)


def test_what_cannot_be_loaded(imported, tmp_path):
    miniature, dataset = imported("mevis")
    first, second = miniature.videos
    folder = write_predictions(miniature, tmp_path / "out")
    (folder / first / "0" / "00001.png").write_bytes(b"not a picture")
    loaded = load_predictions(dataset, folder, "theirs")
    assert (loaded.videos, list(loaded.skipped)) == (1, [first])
    assert f"skipped: {first}: {first}/0/00001.png: it is no picture" in str(loaded)
    assert dataset.exists("theirs_status").values("video_name") == [second]

    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"No file in .* is of a video in this dataset"):
        load_predictions(dataset, tmp_path / "empty", "x")
    with pytest.raises(ValueError, match=r"gone.zip cannot be read: No such file"):
        load_predictions(dataset, tmp_path / "gone.zip", "x")
    assert "x_status" not in dataset.get_field_schema()
    other = fo.Dataset()
    other.media_type = "video"
    with pytest.raises(ValueError, match="There is no field 'video_name'"):
        load_predictions(other, folder, "x")
    other.delete()


def test_expressions_with_one_text_keep_their_own_masks(imported, tmp_path):
    miniature, dataset = imported("mevis")
    first, _ = miniature.videos
    for sample in dataset:
        for expression in sample.expressions.classifications:
            expression.label = "an object that moves"
        sample.save()
    folder = write_predictions(miniature, tmp_path / "out", miniature.union, [f"{first}/1"])
    loaded = load_predictions(dataset, folder, "theirs")
    assert loaded.missing == [f"{first}/1"]
    scores = evaluate_view(dataset, "theirs", workers=1).scores
    found = {(score.video, score.expression_id): (score.jf, score.missing) for score in scores}
    assert found.pop((first, "1")) == (0, True)
    assert set(found.values()) == {(1.0, False)}

    summary = write_submission(dataset, "theirs", "mevis", tmp_path / "out.zip")
    assert summary.missing == [f"{first}/1"]
    again = load_predictions(dataset, tmp_path / "out.zip", "again")
    assert again.masks == loaded.masks
    scores = evaluate_view(dataset, "again", workers=1).scores
    assert {s.jf for s in scores if (s.video, s.expression_id) != (first, "1")} == {1.0}
    # So that the App can filter on it
    assert dataset.get_field("frames.theirs.detections.expression_id") is not None


APPLE_DOUBLE = bytes.fromhex("0005160700020000") + b"Mac OS X        " + bytes(90)


def zipped(folder, path, style):
    """Zips predictions as the systems of this world do."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            name = file.relative_to(folder).as_posix()
            beside = f"__MACOSX/{Path(name).parent}/._{file.name}"
            if style == "Finder":
                archive.write(file, name)
                archive.writestr(beside, APPLE_DOUBLE)
            elif style == "Finder, first":
                archive.writestr(beside, APPLE_DOUBLE)
                archive.write(file, name)
            elif style == "Finder, a folder":
                archive.write(file, f"results/{name}")
                archive.writestr(f"__MACOSX/results/{Path(name).parent}/._{file.name}", b"x")
                archive.writestr(f"results/{Path(name).parent}/.DS_Store", b"x")
            elif style == "tar on macOS":
                archive.writestr(f"{Path(name).parent}/._{file.name}", APPLE_DOUBLE)
                archive.write(file, f"./{name}")
            elif style == "Windows":
                archive.writestr(zip_info(name.replace("/", "\\")), file.read_bytes())
                archive.writestr(zip_info(f"{Path(name).parent}\\Thumbs.db"), b"x")
    return path


def zip_info(name):
    """One whose name stays as it is."""
    info = zipfile.ZipInfo("x")
    info.filename = name
    return info


STYLES = ["Finder", "Finder, first", "Finder, a folder", "tar on macOS", "Windows"]


@pytest.mark.parametrize("style", STYLES)
def test_what_systems_put_into_archives_is_no_mask(imported, tmp_path, style):
    miniature, dataset = imported("mevis")
    folder = write_predictions(miniature, tmp_path / "masks")
    load_predictions(dataset, folder, "plain")
    loaded = load_predictions(dataset, zipped(folder, tmp_path / "a.zip", style), "theirs")
    assert (loaded.missing, loaded.gaps, loaded.skipped) == ([], {}, {})
    assert (loaded.unused, loaded.refused) == (0, [])
    expected, found = stored_masks(dataset, "plain"), stored_masks(dataset, "theirs")
    assert all((found[key] == masks).all() for key, masks in expected.items())
    assert any(masks.any() for masks in found.values())


def test_what_macos_puts_beside_files_is_no_mask(imported, tmp_path):
    miniature, dataset = imported("mevis")
    folder = write_predictions(miniature, tmp_path / "masks")
    for file in list(folder.rglob("*.png")):
        file.with_name(f"._{file.name}").write_bytes(APPLE_DOUBLE)
    loaded = load_predictions(dataset, folder, "theirs")
    assert (loaded.missing, loaded.gaps, loaded.skipped, loaded.unused) == ([], {}, {}, 0)


def test_members_that_lead_out_are_not_read_and_named(imported, tmp_path):
    miniature, dataset = imported("mevis")
    folder = write_predictions(miniature, tmp_path / "masks")
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    data = (folder / names[0]).read_bytes()
    odd = ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:\\evil.png", "..\\evil.png"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in odd:
            archive.writestr(zip_info(name), data)
        link = zip_info(names[0])
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        for name in names[1:]:
            archive.write(folder / name, name)
    loaded = load_predictions(dataset, tmp_path / "a.zip", "theirs")
    assert sorted(loaded.refused) == sorted([*odd, names[0]])
    assert "6 files were not read: their names, or links, lead out" in str(loaded)
    assert list(loaded.gaps.values()) == [1]

    (folder / names[0]).unlink()
    (tmp_path / "secret.png").write_bytes(data)
    (folder / names[0]).symlink_to(tmp_path / "secret.png")
    loaded = load_predictions(dataset, folder, "linked")
    assert loaded.refused == [names[0]]
