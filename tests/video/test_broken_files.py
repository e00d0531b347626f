"""Files that are missing, empty, no video, cut off or damaged."""

import os
import random
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from fiftyone_revseg.video import VideoError, diagnosis, open_video

TRUNCATED = ["h264.mkv", "h264.ts", "h264.flv", "hevc.ts", "hevc.mkv", "av1.webm", "vp9.webm"]
TRUNCATED += ["mpeg4_b.avi", "open_gop.mkv", "fragmented.mp4", "faststart.mp4"]


def test_missing(tmp_path):
    with pytest.raises(VideoError, match=r"there is no file .*missing\.mp4: check the path"):
        open_video(tmp_path / "missing.mp4")
    with pytest.raises(VideoError, match="nor its folder"):
        open_video(tmp_path / "unmounted" / "missing.mp4")


def test_moved_while_it_is_open(make_video, tmp_path, bars):
    path = tmp_path / "video.ts"  # PyAV walks it, and opens it again for each walk
    path.write_bytes(make_video("h264.ts")[0].read_bytes())
    with open_video(path) as video:
        path.rename(tmp_path / "moved.ts")
        with pytest.raises(VideoError, match=r"there is no file .*video\.ts"):
            next(video.walk(0))


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


@pytest.mark.parametrize("name", ["a.mp4", "a.txt", "a.jpg", "a"])
def test_text_under_any_name_says_how_it_begins(name, tmp_path):
    path = tmp_path / name
    path.write_text("version https://git-lfs.github.com/spec/v1\noid é" + 1000 * "é")
    with pytest.raises(VideoError, match=r"is a text file \(it begins with 'version https://git"):
        open_video(path)


@pytest.mark.parametrize("name", ["a.txt", "a.jpg", "a.py", "a"])
def test_a_video_is_a_video_under_any_name(name, make_video, tmp_path, bars):
    source, numbers = make_video("h264.mp4")
    path = tmp_path / name
    path.write_bytes(source.read_bytes())
    with open_video(path) as video:
        assert [bars.read(frame) for _, frame in video.walk(0)] == numbers


@pytest.mark.parametrize("image", ["jpeg", "png", "webp"])
def test_an_image_named_as_a_video_is_none(image, tmp_path):
    path = tmp_path / "a.mp4"
    Image.new("RGB", (32, 32)).save(path, image)
    with pytest.raises(VideoError, match=r"a\.mp4 is an image, not a video"):
        open_video(path)


def test_no_image_named_as_one(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(VideoError, match=r"a\.jpg is no video"):
        open_video(path)
    path.write_bytes(b"")
    with pytest.raises(VideoError, match="empty"):
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
    with pytest.raises(VideoError, match=r"none\.mkv ends before its first frame"):
        open_video(path)


@pytest.mark.parametrize(
    ("name", "codec", "options", "reason"),
    [
        ("a.mp4", "libx264", {}, "ends before its first frame"),
        ("a.mp4", "libx264", {"movflags": "empty_moov"}, "without a single whole frame"),
        ("a.avi", "mpeg4", {}, "without a single whole frame"),
        ("a.mkv", "mpeg4", {}, "ends before its first frame"),
    ],
)
def test_a_recording_that_was_stopped_at_once(name, codec, options, reason, tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / name
    with av.open(str(path), "w", options=options) as output:
        stream = output.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.start_encoding()
    with pytest.raises(VideoError, match=reason):
        open_video(path)


def test_an_mp4_that_lost_its_index_is_said_to_be_cut_off(make_video, tmp_path):
    data = make_video("h264.mp4")[0].read_bytes()
    path = tmp_path / "cut.mp4"
    index = data.index(b"moov")
    for end in (len(data) // 20, index // 2, index - 4, index + 100):
        path.write_bytes(data[:end])
        with pytest.raises(VideoError, match=r"cut\.mp4 is cut off"):
            open_video(path)


@pytest.mark.parametrize("size", [(1, 1), (16384, 8), (3, 4000)])
def test_odd_sizes(size, tmp_path, bars):
    width, height = size
    path = tmp_path / "odd.mkv"
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", 8, "-i", "-"]
    pixels = np.arange(3 * width * height * 3).astype(np.uint8)
    bars.ffmpeg(*given, "-c:v", "ffv1", path, data=pixels.tobytes())
    with open_video(path) as video:
        assert (len(video), video.size) == (3, size)
        frames = [frame for _, frame in video.walk(0)]
        assert np.array_equal(np.stack(frames), pixels.reshape(3, height, width, 3))
        backward = [frame for _, frame in video.walk(2, -1)]
        assert np.array_equal(np.stack(backward), np.stack(frames)[::-1])


def test_frames_too_large_for_memory_are_refused_before_they_are_decoded(tmp_path, bars):
    path = tmp_path / "huge.mp4"
    fill = ["-f", "lavfi", "-i", "color=gray:size=16000x4400:rate=8", "-frames:v", 1]
    bars.ffmpeg(*fill, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", path)
    with pytest.raises(VideoError, match=r"16000 x 4400 pixels, more than .* scale"):
        open_video(path)
    image = tmp_path / "huge.png"
    Image.new("1", (10000, 7000)).save(image)
    with pytest.raises(VideoError, match="10000 x 7000 pixels, more than"):
        open_video(image)
    with pytest.raises(VideoError, match="10000 x 7000 pixels, more than"):
        open_video([image])
    Image.new("1", (16000, 12000)).save(image)
    with pytest.raises(VideoError, match="too large"):
        open_video(image)


@pytest.mark.parametrize("name", ["h264.ts", "h264.mkv", "mpeg2.ts", "vp9.webm", "raw.h264"])
def test_a_size_that_only_the_pictures_state_is_refused(name, make_video, monkeypatch):
    monkeypatch.setattr(diagnosis, "MAX_PIXELS", 160 * 96 - 1)
    with pytest.raises(VideoError, match="160 x 96 pixels, more than memory"):
        open_video(make_video(name)[0])


def test_pictures_that_become_too_large_on_the_way_are_not_decoded(tmp_path, bars, monkeypatch):
    for name, width in (("a.ts", 160), ("b.ts", 320)):
        bars.encode(tmp_path / name, *bars.h264, "-bf", "0", width=width, height=96)
    late = ["-itsoffset", 10, "-i", tmp_path / "b.ts", "-c", "copy", "-copyts", tmp_path / "c.ts"]
    bars.ffmpeg(*late)
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "c.ts").read_bytes())
    monkeypatch.setattr(diagnosis, "MAX_PIXELS", 160 * 96)
    with open_video(joined) as video:
        codes = [bars.read(frame) for _, frame in video.walk(0)]
        assert codes[: bars.count] == list(range(bars.count))
        assert set(codes[bars.count :]) <= {bars.count - 1}
        assert video.broken_frames == tuple(range(bars.count, len(video)))


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


def test_nothing_is_printed_about_a_damaged_file(make_video, tmp_path, capfd):
    pytest.importorskip("decord")
    data = make_video("h264.mkv")[0].read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) // 2])
    with open_video(path) as video:
        assert video.decoder == "decord"
        assert len(list(video.walk(0))) == len(video) > 0
    assert capfd.readouterr() == ("", "")
