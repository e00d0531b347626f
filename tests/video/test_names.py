"""Names of files that FFmpeg would read as something else."""

import os

import pytest

from fiftyone_revseg.masks.pictures import write_video
from fiftyone_revseg.video import open_video

NAMES = ["2024-05-01T10:20:30.mp4", "-i.mp4", "concat:a|b.mp4", "pipe:0", "http:x.mp4", "50%.mp4"]
NAMES += [
    "%05d.mp4",
    "a b'c\"d.mp4",
    "\u30d3\u30c7\u30aa.mp4",
    "#1?x=1&y.mp4",
    "file:a.mp4",
    "data:,x.mp4",
]


@pytest.mark.parametrize("name", [*NAMES, os.fsdecode(b"\xff.mp4")], ids=ascii)
@pytest.mark.parametrize("folder", ["", "of:them/"], ids=["here", "folder"])
def test_a_name_is_a_name(name, folder, make_video, bars, tmp_path, monkeypatch):
    source, numbers = make_video("h264.mp4")
    monkeypatch.chdir(tmp_path)
    if folder:
        os.mkdir(folder)
    os.link(source, folder + name)
    with open_video(folder + name) as video:
        assert video.path == folder + name
        assert [bars.read(frame) for _, frame in video.walk(0)] == numbers
        assert bars.read(video[30]) == 30


def test_a_video_is_written_under_any_name(bars, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("10:20.mp4", "-y.mp4", "out:1/50%.mp4"):
        write_video(name, [(k / 5, bars.draw(k)) for k in range(3)])
        with open_video(name) as video:
            assert [bars.read(frame) for _, frame in video.walk(0)] == [0, 1, 2]
