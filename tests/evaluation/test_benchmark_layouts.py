"""What can be wrong with the folder of a benchmark, read without a database."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from miniatures import SIZE, SPLITS, write_miniature
from PIL import Image
from pycocotools import mask as coco

from fiftyone_revseg.evaluation.benchmarks import (
    BENCHMARKS,
    BrokenVideoError,
    LayoutError,
    mask_dictionary,
    open_benchmark,
)
from fiftyone_revseg.masks.rle import decode_masks


def test_the_readers_need_no_fiftyone():
    code = "import sys, fiftyone_revseg.evaluation.benchmarks; sys.exit('fiftyone' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_an_empty_folder(name, tmp_path):
    with pytest.raises(LayoutError, match=r"Expected: .*JPEGImages"):
        open_benchmark(name, tmp_path)
    with pytest.raises(LayoutError, match=r"no folder .*nowhere"):
        open_benchmark(name, tmp_path / "nowhere")


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_no_images(name, tmp_path):
    miniature = write_miniature(name, tmp_path)
    shutil.rmtree(miniature.images)
    with pytest.raises(LayoutError, match=r"no folder '.*JPEGImages' with the images"):
        open_benchmark(name, tmp_path)


@pytest.mark.parametrize("name", list(BENCHMARKS))
@pytest.mark.parametrize("content", ["{", "[]", "\x00", '{"videos": []}'])
def test_no_json(name, content, tmp_path):
    miniature = write_miniature(name, tmp_path)
    miniature.meta.write_text(content)
    with pytest.raises(LayoutError, match=f"'{miniature.meta}' (cannot be read|holds no)"):
        open_benchmark(name, tmp_path)


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_one_broken_video_does_not_stop_the_others(name, tmp_path):
    miniature = write_miniature(name, tmp_path)
    first = next(iter(miniature.videos))
    shutil.rmtree(miniature.images / first)
    benchmark = open_benchmark(name, tmp_path, miniature.split)
    with pytest.raises(BrokenVideoError, match=f"no folder '.*{first}' with images"):
        benchmark.read(first)
    for other in list(miniature.videos)[1:]:
        assert list(benchmark.read(other).truth())


def test_other_splits(tmp_path):
    write_miniature("mevis", tmp_path)
    with pytest.raises(LayoutError, match=r"no split 'valid' of mevis \(there is valid_u\)"):
        open_benchmark("mevis", tmp_path, "valid")
    with pytest.raises(ValueError, match="no benchmark 'mewis': choose from revos, "):
        open_benchmark("mewis", tmp_path)
    (tmp_path / "valid_u" / "mask_dict.json").unlink()
    with pytest.raises(LayoutError, match=r"no file '.*mask_dict.json' with the masks"):
        open_benchmark("mevis", tmp_path).read("0ab4afe7fb46")


def change(miniature, video, edit):
    """Edits what the file of expressions says about a video."""
    meta = json.loads(miniature.meta.read_text())
    edit(meta["videos"][video])
    miniature.meta.write_text(json.dumps(meta))


MEVIS = "0ab4afe7fb46"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v.pop("expressions"), r"gives no 'expressions' for video '0ab4afe7fb46'"),
        (lambda v: v["expressions"]["0"].pop("exp"), r"Expression '0' of .* has no text"),
        (lambda v: v["expressions"]["0"].pop("anno_id"), r"has no list 'anno_id'"),
        (lambda v: v["expressions"].update({"7": "text"}), r"Expression '7' of .* is no object"),
        (lambda v: v["expressions"]["0"].update(anno_id=[4711]), r"no masks for anno_id 4711"),
        (lambda v: v.update(frames=[]), r"has no frames"),
        (lambda v: v.update(frames=["00001", "00000"]), r"out of order"),
        (lambda v: v.update(frames=["00000", "00000"]), r"twice"),
        (lambda v: v["frames"].append("00031"), r"The image '.*00031.jpg' is missing"),
        (lambda v: v["frames"].pop(), r"anno_id \d+ of video .* has 6 masks for 5 frames"),
        (lambda v: v.update(width=50, height=32), r"a mask of 48 x 32 in a video of 50 x 32"),
    ],
)
def test_a_wrong_entry(edit, message, tmp_path):
    miniature = write_miniature("mevis", tmp_path)
    change(miniature, MEVIS, edit)
    with pytest.raises(BrokenVideoError, match=message) as caught:
        list(open_benchmark("mevis", tmp_path).read(MEVIS).truth())
    assert str(tmp_path) in str(caught.value)


def test_revos_types_and_foreground(tmp_path):
    miniature = write_miniature("revos", tmp_path)
    name = "UVO/video/clip-1"
    change(miniature, name, lambda v: v["expressions"]["0"].update(type_id=3))
    with pytest.raises(BrokenVideoError, match="an expression of type_id 3"):
        open_benchmark("revos", tmp_path).read(name)
    change(miniature, name, lambda v: v["expressions"]["0"].update(type_id=0))
    (tmp_path / "mask_dict_foreground.json").write_text("{}")
    with pytest.raises(BrokenVideoError, match=f"no 'masks_rle' for video '{name}'"):
        list(open_benchmark("revos", tmp_path).read(name).truth())
    (tmp_path / "mask_dict_foreground.json").unlink()
    assert all(t.foreground is None for t in open_benchmark("revos", tmp_path).read(name).truth())


def test_ref_davis17_needs_four_annotators(tmp_path):
    miniature = write_miniature("ref-davis17", tmp_path)
    change(miniature, "blackswan", lambda v: v["expressions"].pop("3"))
    with pytest.raises(BrokenVideoError, match="3 expressions of object 1 of video 'blackswan'"):
        open_benchmark("ref-davis17", tmp_path).read("blackswan")


def test_ref_youtube_vos_valid_leaves_test_out(tmp_path):
    miniature = write_miniature("ref-youtube-vos", tmp_path, "valid")
    assert "fffabcdef0" in miniature.meta.read_text()
    assert open_benchmark("ref-youtube-vos", tmp_path).names() == list(miniature.videos)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda path: path.unlink(), "with masks is missing"),
        (lambda path: path.write_bytes(b"no image"), "cannot be read"),
        (lambda path: Image.new("RGB", SIZE).save(path), "has colors"),
        (lambda path: Image.new("L", (9, 9)).save(path), "is 9 x 9 pixels, but its video 48 x 32"),
    ],
)
def test_wrong_palette_images(edit, message, tmp_path):
    write_miniature("ref-davis17", tmp_path)
    path = tmp_path / "valid" / "Annotations" / "blackswan" / "00003.png"
    edit(path)
    with pytest.raises(BrokenVideoError, match=message) as caught:
        list(open_benchmark("ref-davis17", tmp_path).read("blackswan").truth())
    assert str(path) in str(caught.value)


def test_reasonvos_scores_the_frames_that_have_masks(tmp_path):
    write_miniature("reasonvos", tmp_path)
    folder = tmp_path / "Annotations" / "MOSE_a1b2c3_3"
    (folder / "00002.png").unlink()
    truth = list(open_benchmark("reasonvos", tmp_path).read("a1b2c3").truth())
    assert [t is None for t in truth] == [False, True, False, False, False]
    (folder / "00003.png").rename(folder / "00077.png")
    with pytest.raises(BrokenVideoError, match=r"no image for the masks in '.*00077.png'"):
        list(open_benchmark("reasonvos", tmp_path).read("a1b2c3").truth())
    shutil.rmtree(folder)
    with pytest.raises(BrokenVideoError, match=r"no folder '.*MOSE_a1b2c3_3' with masks"):
        open_benchmark("reasonvos", tmp_path).read("a1b2c3")


def test_reasonvos_ids_that_are_used_twice(tmp_path):
    miniature = write_miniature("reasonvos", tmp_path)
    change(miniature, "a1b2c3", lambda v: v["expressions"][2].update(exp_id=0))
    expressions = open_benchmark("reasonvos", tmp_path).read("a1b2c3").expressions
    assert [e.id for e in expressions] == ["3_0", "1", "11_0"]


@pytest.mark.parametrize("block", [1, 7, 100, 10**6])
@pytest.mark.parametrize("indent", [None, 2])
def test_large_files_are_read_block_by_block(block, indent, tmp_path, monkeypatch):
    monkeypatch.setattr(mask_dictionary, "_BLOCK", block)
    entries = {"1": [{"size": [3, 4], "counts": '\\[{]}"`_'}, None], 'a "b"': [], "c": {"d": [1]}}
    path = tmp_path / "masks.json"
    path.write_text(json.dumps(entries, indent=indent) + "\n")
    read = mask_dictionary.JsonEntries(path)
    assert dict(read) == entries
    assert list(read) == list(entries)
    path.write_text("{}")
    assert not len(mask_dictionary.JsonEntries(path))


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"a": [1]', '{"a": [1', '{"a": [1]} {', '{"a" [1]}', "{", "null"]
)
def test_large_files_that_are_no_json(text, tmp_path):
    path = tmp_path / "masks.json"
    path.write_text(text)
    with pytest.raises(LayoutError, match=f"'{path}' cannot be read as JSON"):
        mask_dictionary.JsonEntries(path)


def test_all_forms_of_run_length_codes():
    width, height = SIZE
    parts = np.zeros((2, height, width), np.uint8)
    parts[0, 3:9, 4:20] = parts[1, 20:30, 30:40] = 1
    packed = [coco.encode(np.asfortranarray(part)) for part in parts]
    runs = []
    for part in parts:  # not compressed: lengths of runs down the columns, zeros first
        flat = part.flatten(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        lengths = np.diff([0, *edges, flat.size]).tolist()
        runs.append({"size": [height, width], "counts": lengths})
    text = {"size": [height, width], "counts": packed[0]["counts"].decode()}
    empty = coco.encode(np.asfortranarray(np.zeros((height, width), np.uint8)))
    masks = [text, packed[0], runs[0], packed, runs, None, [], empty]
    found = decode_masks(mask_dictionary.check_masks(masks, len(masks), SIZE, "here"), SIZE)
    both, nothing = parts.any(axis=0), np.zeros((height, width), bool)
    expected = [parts[0], parts[0], parts[0], both, both, nothing, nothing, nothing]
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(BrokenVideoError, match="here holds something that is no mask"):
        mask_dictionary.check_masks([{"size": [height, width]}], 1, SIZE, "here")
    # Numbers of more digits than any mask has pixels
    for counts in ("o" * 12 + "0", "0" + "o" * 30 + "1", [2**40, 1], [10**5000], [0.5, 1.5], ["a"]):
        mask = {"size": [height, width], "counts": counts}
        with pytest.raises(BrokenVideoError, match="here holds something that is no mask"):
            mask_dictionary.check_masks([mask], 1, SIZE, "here")
    # Runs that end too early or too late: pycocotools joins the former forever
    for counts in ([10, 5], [0, height * width + 7], [], [-3, height * width + 3]):
        broken = {"size": [height, width], "counts": counts}
        short = coco.frPyObjects(broken, height, width) if min(counts, default=0) >= 0 else broken
        for mask in (broken, short, [text, broken], [broken, broken]):
            with pytest.raises(BrokenVideoError, match="here holds something that is no mask"):
                mask_dictionary.check_masks([mask], 1, SIZE, "here")


@pytest.mark.parametrize(("name", "split"), [(n, s) for n, all_ in SPLITS.items() for s in all_])
def test_without_masks_expressions_are_the_same(name, split, tmp_path):
    write_miniature(name, tmp_path, split)
    with_masks, without = (open_benchmark(name, tmp_path, split, masks) for masks in (True, False))
    assert with_masks.names() == without.names()
    for video in with_masks.names():
        one, other = with_masks.read(video), without.read(video)
        assert one.expressions == other.expressions
        assert one.images == other.images


OUT = ["..", "../evil", "/etc", "a/../../evil", "a\\..\\..\\evil", ""]


@pytest.mark.parametrize("name", list(BENCHMARKS))
@pytest.mark.parametrize("evil", OUT)
def test_a_video_or_an_expression_whose_name_leads_out_is_left_out(name, evil, tmp_path):
    root = tmp_path / "root"
    miniature = write_miniature(name, root)
    meta = json.loads(miniature.meta.read_text())
    first = next(iter(meta["videos"]))
    meta["videos"][evil] = meta["videos"][first]
    meta["videos"]["other"] = json.loads(json.dumps(meta["videos"][first]))
    (miniature.images / "other").symlink_to(miniature.images / first)
    (tmp_path / "evil").mkdir()
    expressions = meta["videos"]["other"]["expressions"]
    if isinstance(expressions, dict):
        expressions[evil] = next(iter(expressions.values()))
    else:
        expressions[0]["exp_id"] = evil
    miniature.meta.write_text(json.dumps(meta))
    benchmark = open_benchmark(name, root, miniature.split)
    with pytest.raises(BrokenVideoError, match="leads out"):
        benchmark.read(evil)
    with pytest.raises(BrokenVideoError, match="cannot be"):
        benchmark.read("other")
    assert list(benchmark.read(first).truth())


@pytest.mark.parametrize("path", ["train_instances.json", "val/val_instances_.json"])
def test_lv_vis_itself_has_no_expressions(path, tmp_path):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("{}")
    (tmp_path / "JPEGImages" / "train" / "00000").mkdir(parents=True)
    with pytest.raises(LayoutError, match="form of YouTube-VIS, which has no expressions"):
        open_benchmark("lv-vis", tmp_path)
