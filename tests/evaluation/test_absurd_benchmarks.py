"""Files of benchmarks in which one video is absurd: it is left out in words, the others come in."""

import json
import struct
import zlib

import pytest
from miniatures import SIZE, write_miniature

from fiftyone_revseg.evaluation.benchmarks import BrokenVideoError, open_benchmark
from fiftyone_revseg.evaluation.benchmarks.importer import add_videos
from fiftyone_revseg.evaluation.benchmarks.palette import read_values

HUGE = "9" * 5000


def set_size(video):
    video.update(width=30_000, height=30_000)


def set_infinite_size(video):
    video.update(width=float("inf"), height=float("nan"))


def set_frames(video):
    video["frames"][-1] = HUGE


def set_anno_id(video):
    next(iter(video["expressions"].values()))["anno_id"] = ["HUGE"]


def set_obj_id(video):
    for entry in video["expressions"].values():
        entry["obj_id"] = ["HUGE"] * len(entry["anno_id"])


def set_text(video):
    next(iter(video["expressions"].values()))["exp"] = float("nan")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (set_size, "30000 x 30000 pixels"),
        (set_infinite_size, None),  # its images say what it is
        (set_frames, "is missing"),
        (set_anno_id, "no masks for anno_id 99999"),
        (set_obj_id, None),  # only an order
        (set_text, "has no text"),
    ],
)
def test_absurd_values_in_one_video_do_not_stop_the_others(make_dataset, tmp_path, change, why):
    miniature = write_miniature("mevis", tmp_path)
    meta = json.loads(miniature.meta.read_text())
    first = next(iter(meta["videos"]))
    change(meta["videos"][first])
    # Infinity, NaN and numbers of 5,000 digits as they are in a file
    miniature.meta.write_text(json.dumps(meta).replace('"HUGE"', HUGE))
    dataset = make_dataset()
    summary = add_videos(dataset, open_benchmark("mevis", tmp_path, miniature.split))
    assert summary.added == len(meta["videos"]) - (why is not None)
    assert list(summary.broken) == ([] if why is None else [first])
    assert why is None or (why in summary.broken[first] and first in summary.broken[first])


@pytest.mark.parametrize("name", ["mevis", "ref-youtube-vos"])
def test_a_picture_that_says_that_it_is_huge_is_not_decoded(make_dataset, tmp_path, name):
    miniature = write_miniature(name, tmp_path)
    first = next(iter(miniature.videos))
    for image in (miniature.images / first).iterdir():
        image.write_bytes(huge_png(30_000, 30_000))
    dataset = make_dataset()
    summary = add_videos(dataset, open_benchmark(name, tmp_path, miniature.split))
    assert list(summary.broken) == [first]
    assert "decompression bomb" in summary.broken[first]
    assert summary.added == len(miniature.videos) - 1


def test_a_picture_of_masks_that_says_that_it_is_huge_is_not_decoded(tmp_path):
    (tmp_path / "mask.png").write_bytes(huge_png(30_000, 30_000))
    with pytest.raises(BrokenVideoError, match=r"cannot be read.*decompression bomb"):
        read_values(tmp_path / "mask.png", SIZE)
    (tmp_path / "mask.png").write_bytes(huge_png(8_000, 8_000))
    with pytest.raises(BrokenVideoError, match="is 8000 x 8000 pixels, but its video 48 x 32"):
        read_values(tmp_path / "mask.png", SIZE)


def huge_png(width, height):
    """A grey PNG that says how large it is, and has next to no pixels."""
    chunks = b"\x89PNG\r\n\x1a\n"
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    for name, data in ((b"IHDR", size), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + name + data
        chunks += struct.pack(">I", zlib.crc32(name + data))
    return chunks
