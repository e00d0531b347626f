"""Archives for servers: written, checked, spoilt in every way and checked again."""

import gc
import io
import json
import shutil
import zipfile

import fiftyone as fo
import numpy as np
import pytest
from click.testing import CliRunner
from miniatures import SIZE, write_miniature
from PIL import Image
from png_predictions import predicted, stored_masks, write_predictions

from fiftyone_revseg.cli import main
from fiftyone_revseg.evaluation.benchmarks import import_benchmark
from fiftyone_revseg.evaluation.predictions import load_predictions
from fiftyone_revseg.evaluation.submission import validate_submission, write_submission

ROOTS = {"mevis": "", "ref-youtube-vos": "Annotations/"}


def imported(miniature):
    name = f"revseg-test-submission-{miniature.root.parent.name}-{miniature.name}"
    if fo.dataset_exists(name):
        fo.delete_dataset(name)
    return import_benchmark(miniature.name, miniature.root, miniature.split, name)


@pytest.fixture(scope="module", params=ROOTS)
def world(request, tmp_path_factory):
    """A miniature of a split that only a server can score, its dataset, and an archive for it."""
    folder = tmp_path_factory.mktemp("world")
    miniature = write_miniature(request.param, folder / "root", "valid")
    dataset = imported(miniature)
    masks = write_predictions(miniature, folder / "masks", skip=[skipped(miniature)])
    load_predictions(dataset, masks, "other")
    archive = folder / "out.zip"
    summary = write_submission(dataset, "other", path=archive)
    yield miniature, dataset, archive, summary
    # FiftyOne cannot let go of samples that someone holds whose path looks like that of an image
    gc.collect()
    dataset.delete()


def skipped(miniature):
    video, about = next(iter(miniature.videos.items()))
    return f"{video}/{about.expressions[-1].id}"


def test_every_mask_is_there_under_its_name(world):
    miniature, _, archive, summary = world
    expected = {}
    for name, video in miniature.videos.items():
        for k, expression in enumerate(video.expressions):
            for frame, mask in zip(video.frame_names, predicted(video, k), strict=True):
                empty = f"{name}/{expression.id}" == skipped(miniature)
                path = f"{ROOTS[miniature.name]}{name}/{expression.id}/{frame}.png"
                expected[path] = mask & (not empty)
    with zipfile.ZipFile(archive) as written:
        assert sorted(written.namelist()) == sorted(expected)
        for name, mask in expected.items():
            with Image.open(io.BytesIO(written.read(name))) as picture:
                assert (picture.format, picture.mode, picture.size) == ("PNG", "L", SIZE)
                np.testing.assert_array_equal(np.asarray(picture), mask * 255)
    assert (summary.videos, summary.files) == (len(miniature.videos), len(expected))
    assert summary.missing == [skipped(miniature)]
    assert (
        f"MISSING: nothing was predicted for 1 of them, whose masks are empty: {skipped(miniature)}"
        in str(summary)
    )
    assert not list(archive.parent.glob(".*"))


def test_the_bytes_depend_on_the_masks_alone(world, tmp_path):
    miniature, dataset, archive, _ = world
    reversed_order = dataset.sort_by("video_name", reverse=True)
    write_submission(reversed_order, "frames.other", miniature.name, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_it_is_valid(world):
    miniature, _, archive, _ = world
    assert validate_submission(archive, miniature.root, miniature.name) == []
    assert validate_submission(archive, miniature.meta, miniature.name, miniature.images) == []


def test_it_comes_back(world):
    _, dataset, archive, _ = world
    loaded = load_predictions(dataset, archive, "back", overwrite=True)
    assert (loaded.missing, loaded.gaps, loaded.unused, loaded.skipped) == ([], {}, 0, {})
    before, after = stored_masks(dataset, "other"), stored_masks(dataset, "back")
    assert before.keys() == after.keys()
    for key, masks in before.items():
        np.testing.assert_array_equal(after[key], masks)
    dataset.delete_frame_field("back")


def spoil(archive, target, change):
    """Copies an archive, with what ``change`` makes of its files: a dict of name -> bytes."""
    with zipfile.ZipFile(archive) as source:
        files = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(target, "w") as out:
        for name, data in change(files).items():
            out.writestr(name, data)
    return target


def png(array, mode=None, palette=None, kind="PNG"):
    picture = Image.fromarray(array, mode) if mode else Image.fromarray(array)
    if palette:
        picture.putpalette(palette)
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


BLANK = np.zeros((SIZE[1], SIZE[0]), np.uint8)
DAVIS = [0, 0, 0, 128, 0, 0]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (png(BLANK + 1), "have values other than 0 and 255: {name} (1)"),
        (png(BLANK + 1, "P", DAVIS), None),
        (png(BLANK + 1, "P", [9, 9, 9, 0, 0, 0]), "have a palette in which 0 is not black"),
        (png(np.zeros((SIZE[1], SIZE[0], 3), np.uint8)), "are not single-channel with 8 bits"),
        (png(BLANK[:8]), "have another size than their frames: {name} (48 x 8, not 48 x 32)"),
        (png(BLANK, kind="BMP"), "are no PNGs"),
        (b"not a picture", "cannot be used: {name}: no picture that can be read"),
        (png(BLANK)[:60], "cannot be used: {name}: it ends too early"),
    ],
)
def test_masks_that_are_wrong(world, tmp_path, data, problem):
    miniature, _, archive, _ = world

    def change(files):
        return {**files, min(files): data}

    spoilt = spoil(archive, tmp_path / "spoilt.zip", change)
    found = validate_submission(spoilt, miniature.root, miniature.name)
    if problem is None:
        assert found == []
        return
    with zipfile.ZipFile(archive) as source:
        name = min(source.namelist())
    (only,) = found
    assert f"1 masks {problem.format(name=name)}" in only


def test_files_that_are_wrong(world, tmp_path):
    miniature, _, archive, _ = world
    root, name = ROOTS[miniature.name], miniature.name
    video = next(iter(miniature.videos))

    def check(change):
        spoilt = spoil(archive, tmp_path / "spoilt.zip", change)
        return validate_submission(spoilt, miniature.root, name)

    def without(start):
        return lambda files: {k: v for k, v in files.items() if not k.startswith(root + start)}

    assert check(without(f"{video}/")) == [f"1 videos are missing as a whole: {video}."]
    assert check(without(f"{video}/1/")) == [f"1 expressions are missing as a whole: {video}/1."]
    frame = miniature.videos[video].frame_names[1]
    assert check(without(f"{video}/1/{frame}")) == [
        f"1 expressions have fewer masks than there are frames: {video}/1."
    ]
    (extra,) = check(lambda files: {**files, "__MACOSX/._x": b"", f"{root}{video}/x": b""})
    assert extra == f"2 files were not asked for: __MACOSX/._x, {root}{video}/x."
    (deeper,) = check(lambda files: {f"out/{k}": v for k, v in files.items()})
    assert deeper.startswith("There is a folder 'out' around all others, where ")
    if root:
        (flat,) = check(lambda files: {k.removeprefix(root): v for k, v in files.items()})
        assert flat == "There is no folder 'Annotations' around the folders of the videos."
    assert check(lambda files: {}) == ["There is no file in the archive."]


def test_archives_that_are_none(world, tmp_path):
    miniature, _, archive, _ = world
    meta, name = miniature.root, miniature.name
    (tmp_path / "x.zip").write_bytes(archive.read_bytes()[:500])
    (broken,) = validate_submission(tmp_path / "x.zip", meta, name)
    assert "is no zip file, or not whole" in broken
    (gone,) = validate_submission(tmp_path / "gone.zip", meta, name)
    assert "gone.zip cannot be read: No such file" in gone
    (folder,) = validate_submission(tmp_path, meta, name)
    assert "is a folder: servers take zip files" in folder
    with pytest.raises(ValueError, match=r"holds no .*meta_expressions.json"):
        validate_submission(archive, tmp_path, name)
    (tmp_path / "meta_expressions.json").write_text("[]")
    with pytest.raises(ValueError, match="is no list of expressions"):
        validate_submission(archive, tmp_path, name)
    (tmp_path / "meta_expressions.json").write_text('{"videos": {"a": {}}}')
    with pytest.raises(ValueError, match="a video has no 'frames' in it"):
        validate_submission(archive, tmp_path, name)
    with pytest.raises(ValueError, match="servers score mevis and ref-youtube-vos"):
        validate_submission(archive, meta, "revos")


def test_a_dataset_of_ones_own_is_no_benchmark(make_dataset, tmp_path):
    dataset = make_dataset(fo.Sample(str(tmp_path / "a.mp4")))
    for samples in (dataset, dataset.view()):
        with pytest.raises(ValueError, match=r"'video_name' in dataset .* see revseg import"):
            write_submission(samples, "revseg", "mevis", tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_without_the_images_all_masks_of_a_video_have_one_size(world, tmp_path):
    miniature, _, archive, _ = world
    shutil.copy(miniature.meta, tmp_path / "meta_expressions.json")

    def change(files):
        return {**files, max(files): png(BLANK[:8])}

    meta = tmp_path / "meta_expressions.json"
    spoilt = spoil(archive, tmp_path / "x.zip", change)
    # Alone, the list of Ref-YouTube-VOS has a video of the test split in it
    lacking = ["1 videos are missing as a whole: fffabcdef0."] if ROOTS[miniature.name] else []
    assert validate_submission(archive, meta, miniature.name) == lacking
    *found, size = validate_submission(spoilt, meta, miniature.name)
    assert found == lacking
    assert "(48 x 8, not 48 x 32)" in size


def test_nothing_is_left_of_an_archive_that_cannot_be_written(world, tmp_path):
    miniature, dataset, _, _ = world
    with pytest.raises(ValueError, match=r"There is no field 'frames\.none'"):
        write_submission(dataset, "none", path=tmp_path / "x.zip")
    with pytest.raises(ValueError, match="is a folder: name the zip file"):
        write_submission(dataset, "other", path=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="Nothing can be written to"):
        write_submission(dataset, "other", path=tmp_path / "file" / "x.zip")
    with pytest.raises(ValueError, match="servers score"):
        write_submission(dataset, "other", "revos", tmp_path / "x.zip")

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_submission(dataset, "other", path=tmp_path / "x.zip", progress=stop)
    first = next(iter(miniature.videos))
    meta = json.loads(miniature.meta.read_text())
    meta["videos"][first]["frames"].append("99999")
    (tmp_path / "m.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=f"Frame '99999' of video '{first}' is on the benchmark"):
        write_submission(dataset, "other", path=tmp_path / "x.zip", meta=tmp_path / "m.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "m.json"]


def test_a_part_is_written_but_not_valid(world, tmp_path):
    miniature, dataset, _, _ = world
    summary = write_submission(dataset.limit(1), "other", path=tmp_path / "x.zip")
    assert summary.videos == 1
    problems = validate_submission(tmp_path / "x.zip", miniature.root, miniature.name)
    assert [p for p in problems if "videos are missing as a whole" in p]


def test_commands(world, tmp_path):
    miniature, dataset, archive, _ = world
    runner = CliRunner()
    out = tmp_path / "x.zip"
    result = runner.invoke(main, ["submit", dataset.name, str(out), "--field", "other"])
    assert result.exit_code == 0, result.output
    assert "MISSING: nothing was predicted for 1 of them" in result.stdout
    assert "as the server wants it" in result.stdout
    assert out.read_bytes() == archive.read_bytes()

    arguments = ["validate", str(out), str(miniature.root), "--benchmark", miniature.name]
    result = runner.invoke(main, arguments)
    assert result.exit_code == 0, result.output
    spoilt = spoil(archive, tmp_path / "y.zip", lambda files: {**files, "x": b""})
    arguments[1] = str(spoilt)
    result = runner.invoke(main, arguments)
    assert result.exit_code == 1
    assert "1 files were not asked for: x." in result.output

    arguments = ["load-predictions", dataset.name, str(archive), "--field", "others"]
    result = runner.invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "loaded into 'others'" in result.stdout
    result = runner.invoke(main, arguments)
    assert result.exit_code == 1
    assert "There are results in 'others' already" in result.output
    dataset.delete_frame_field("others")


def test_names_that_no_server_takes_are_problems(world, tmp_path):
    miniature, _, archive, _ = world
    spoilt = tmp_path / "spoilt.zip"
    odd = ["../evil.png", "/etc/evil.png", "__MACOSX/a/._00000.png", "a\\b\\00000.png"]
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(spoilt, "w") as target:
        for info in source.infolist():
            target.writestr(info, source.read(info))
        for name in odd:
            info = zipfile.ZipInfo("x")
            info.filename = name
            target.writestr(info, b"")
    problems = validate_submission(spoilt, miniature.root, miniature.name)
    assert [p.rpartition(":")[0] for p in problems] == [
        "2 files have names that lead out of the archive, or are links",
        "1 files have backslashes in their names, where slashes must be",
        "1 files were not asked for",
    ]


def test_an_id_that_leads_out_of_an_archive_is_written_by_nobody(world, tmp_path):
    dataset = world[1]
    sample = dataset.first()
    was = sample.expressions.classifications[0].expression_id
    try:
        for evil in ("../../evil", "/evil", ".."):
            sample.expressions.classifications[0].expression_id = evil
            sample.save()
            with pytest.raises(ValueError, match="cannot be the name of a folder"):
                write_submission(dataset, "other", path=tmp_path / "out.zip")
    finally:
        sample.expressions.classifications[0].expression_id = was
        sample.save()
        del sample
    assert not list(tmp_path.iterdir())
