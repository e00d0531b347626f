"""Files that are missing, empty, no video, cut off or damaged."""

import os
import random
from itertools import pairwise

import pytest

from fiftyone_revseg.video import VideoError, open_video

TRUNCATED = ["h264.mkv", "h264.ts", "h264.flv", "hevc.ts", "hevc.mkv", "av1.webm", "vp9.webm"]
TRUNCATED += ["mpeg4_b.avi", "open_gop.mkv", "fragmented.mp4", "faststart.mp4"]


def test_missing(tmp_path):
    with pytest.raises(VideoError, match="there is no file"):
        open_video(tmp_path / "missing.mp4")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.webm", "a"])
@pytest.mark.parametrize("content", [b"", b"hello\n" * 50, bytes(2000), bytes(range(256)) * 40])
def test_no_video(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VideoError, match=name) as e:
        open_video(path)
    assert isinstance(e.value, ValueError)
    assert "\n" not in e.value.reason
    assert e.value.reason.endswith(".")


def test_text_is_no_video(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader,\n" * 20)
    with pytest.raises(VideoError, match=r"letter\.txt"):
        open_video(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.wav"])
def test_audio_only(name, tmp_path, bars):
    path = tmp_path / name
    bars.ffmpeg("-f", "lavfi", "-i", "sine=duration=0.3", path)
    with pytest.raises(VideoError, match="no video stream, only audio"):
        open_video(path)


def test_a_cover_is_no_video(tmp_path, bars):
    cover, path = tmp_path / "cover.png", tmp_path / "song.m4a"
    bars.ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", 1, cover)
    audio = ["-f", "lavfi", "-i", "sine=duration=0.3", "-i", cover, "-map", 0, "-map", 1]
    bars.ffmpeg(*audio, "-c:v", "png", "-disposition:v", "attached_pic", path)
    with pytest.raises(VideoError, match="only audio"):
        open_video(path)


def test_a_video_stream_without_frames(make_video, tmp_path, bars):
    path = tmp_path / "none.mkv"
    bars.ffmpeg("-i", make_video("h264.mkv")[0], "-c", "copy", "-frames:v", 0, path)
    with pytest.raises(VideoError, match=r"none\.mkv"):
        open_video(path)


def test_not_a_frame_decodes(make_video, tmp_path):
    data = bytearray(make_video("h264.mp4")[0].read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path = tmp_path / "zeros.mp4"
    path.write_bytes(data)
    with pytest.raises(VideoError, match="not one frame"):
        open_video(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(make_video, tmp_path):
    path = tmp_path / "secret.mp4"
    path.write_bytes(make_video("h264.mp4")[0].read_bytes())
    path.chmod(0)
    with pytest.raises(VideoError, match="permissions"):
        open_video(path)


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_truncated_tail_is_not_counted(name, make_video, tmp_path, bars):
    path = tmp_path / f"cut_{name}"
    if name == "faststart.mp4":
        whole = tmp_path / name
        bars.ffmpeg("-i", make_video("h264.mp4")[0], "-c", "copy", "-movflags", "faststart", whole)
    else:
        whole = make_video(name)[0]
    data = whole.read_bytes()
    share = random.Random(0)
    opened = 0
    for _ in range(8):
        path.write_bytes(data[: int(len(data) * share.uniform(0.6, 0.97))])
        try:
            video = open_video(path)
        except VideoError:
            continue  # a cut within the index at the end of the file leaves nothing to open
        with video:
            opened += 1
            forward = [bars.read(frame) for _, frame in video.walk(0)]
            assert len(forward) == len(video) < bars.count
            assert -1 not in forward  # the half frame at the end is none
            assert all(b > a for a, b in pairwise(forward))
            assert forward[:10] == list(range(10))
            backward = [bars.read(x) for _, x in video.walk(len(video) - 1, -1)]
            assert backward == forward[::-1]
            assert video.broken_frames == ()
    assert opened >= 4


def test_a_frame_that_breaks_in_the_middle_shows_the_one_before(make_video, tmp_path, bars, caplog):
    av = pytest.importorskip("av")
    source, numbers = make_video("av1.mp4")
    with av.open(str(source)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(source.read_bytes())
    position, size = packets[30]
    data[position : position + size] = b"\xff" * size
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with open_video(path, decoder="pyav") as video:
        assert len(video) == len(numbers)
        forward = [bars.read(frame) for _, frame in video.walk(0)]
        broken = video.broken_frames
        assert broken
        assert "cannot be decoded" in caplog.text
        for k in range(len(video)):
            assert forward[k] == (forward[k - 1] if k in broken else k)
        assert [bars.read(x) for _, x in video.walk(len(video) - 1, -1)] == forward[::-1]
        order = random.Random(0).sample(range(len(video)), len(video))
        assert [bars.read(video[k]) for k in order] == [forward[k] for k in order]


@pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "hevc.mkv", "mpeg4_b.avi", "vp9.webm"])
def test_damage_never_raises_anything_else(name, make_video, tmp_path):
    data = make_video(name)[0].read_bytes()
    chance = random.Random(0)
    path = tmp_path / f"damaged_{name}"
    for _ in range(8):
        bad = bytearray(data)
        at = chance.randrange(len(data) - 60)
        bad[at : at + 40] = chance.randbytes(40)
        path.write_bytes(bad)
        try:
            with open_video(path) as video:
                assert sum(1 for _ in video.walk(0)) == len(video)
                assert sum(1 for _ in video.walk(len(video) - 1, -1)) == len(video)
        except VideoError:
            pass  # the only error there may be


def test_wrong_arguments(make_video):
    path, _ = make_video("h264.mp4")
    with pytest.raises(ValueError, match="decoder"):
        open_video(path, decoder="opencv")
    with pytest.raises(ValueError, match="fps"):
        open_video(path, fps=0)
    with pytest.raises(VideoError, match="does not decode"):
        open_video(make_video("h264.ts")[0], decoder="decord")
