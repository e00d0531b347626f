"""Frame k is exactly frame k: every kind of file, every way of reading, both decoders."""

import random
from itertools import pairwise

import numpy as np
import pytest

from fiftyone_revseg.video import open_video
from fiftyone_revseg.video.pyav_reader import PyAVCursor

_X264 = ["-c:v", "libx264", "-crf", "10"]
_VP9 = ["-c:v", "libvpx-vp9", "-b:v", "1M"]
COLOURS = {
    format: ["a.mp4", *_X264, "-pix_fmt", format]
    for format in ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "nv12", "gray")
}
COLOURS |= {
    format: ["a.mp4", *_X264, "-pix_fmt", format]
    for format in ("yuv420p10le", "yuv422p10le", "yuv444p10le", "gray10le")
}
COLOURS |= {"rgb": ["a.mp4", "-c:v", "libx264rgb", "-crf", "10"]}
COLOURS |= {
    f"{matrix}_{shades}": ["a.mp4", *_X264, "-pix_fmt", "yuv420p", "-vf", scale, *tags]
    for matrix, name in (("bt709", "bt709"), ("bt601", "smpte170m"), ("bt2020", "bt2020nc"))
    for shades in ("tv", "pc")
    for scale in [f"scale=out_color_matrix={matrix}:out_range={shades}"]
    for tags in [["-colorspace", name, "-color_range", shades]]
}
COLOURS |= {
    f"vp9_{format}": ["a.webm", *_VP9, "-pix_fmt", format]
    for format in ("yuv420p", "yuv444p", "yuv420p10le", "gbrp")
}


@pytest.fixture(params=COLOURS)
def colours(request):
    return request.param


@pytest.fixture(params=[None, "pyav"], ids=["chosen", "pyav"])
def decoder(request):
    return request.param


def test_no_wrong_frame(kind, decoder, make_video, bars):
    path, numbers = make_video(kind)
    with open_video(path, decoder=decoder) as video:
        n = len(numbers)
        assert len(video) == n
        assert [(k, bars.read(x)) for k, x in video.walk(0)] == list(enumerate(numbers))
        backward = [(k, bars.read(x)) for k, x in video.walk(n - 1, -1)]
        assert backward == list(enumerate(numbers))[::-1]

        middle = n // 3
        assert [bars.read(x) for _, x in video.walk(middle)] == numbers[middle:]
        assert [bars.read(x) for _, x in video.walk(middle, -1)] == numbers[middle::-1]

        order = list(range(n)) * 2
        random.Random(0).shuffle(order)
        assert [bars.read(video[k]) for k in order] == [numbers[k] for k in order]
        some = sorted(random.Random(1).sample(range(n), 9))
        assert [bars.read(x) for x in video.frames(some)] == [numbers[k] for k in some]
        assert video.broken_frames == ()


def test_no_wrong_frame_when_groups_are_taken_in_parts(kind, make_video, bars):
    path, numbers = make_video(kind)
    with open_video(path, held_bytes=1, decoder="pyav") as video:
        read = [bars.read(x) for _, x in video.walk(len(video) - 1, -1)]
    assert read == numbers[::-1]


def test_both_decoders_give_the_same_pixels(kind, make_video):
    path, _ = make_video(kind)
    with open_video(path) as chosen, open_video(path, decoder="pyav") as exact:
        if chosen.decoder == "pyav":
            assert chosen.why_decoder
            pytest.skip(f"decord is not used: {chosen.why_decoder}")
        for (_, a), (_, b) in zip(chosen.walk(0), exact.walk(0), strict=True):
            np.testing.assert_array_equal(a, b)


def test_every_way_of_reading_gives_the_same_pixels(colours, tmp_path, bars):
    """A saturated pattern, in which each way of filling in colour shows at every edge."""
    width, height, count = 162, 90, 5
    patches = np.random.default_rng(0).integers(0, 2, (count, 15, 27, 3)) * 255
    pixels = patches.repeat(6, axis=1).repeat(6, axis=2).astype(np.uint8)
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", 8, "-i", "-"]
    path = tmp_path / COLOURS[colours][0]
    bars.ffmpeg(*given, *COLOURS[colours][1:], path, data=pixels.tobytes())
    with open_video(path) as video, open_video(path, decoder="pyav") as exact:
        single = [exact[k] for k in reversed(range(count))][::-1]
        for v in (video, exact):
            for k in (2, 0, 4, 1, 3):
                np.testing.assert_array_equal(v[k], single[k])
            for k, frame in (*v.walk(0), *v.walk(count - 1, -1)):
                np.testing.assert_array_equal(frame, single[k])


def test_times_increase_from_zero(kind, make_video):
    path, _ = make_video(kind)
    with open_video(path) as video:
        times = [video.time(k) for k in range(len(video))]
        assert times[0] == 0
        assert all(b > a for a, b in pairwise(times))
        assert video.size == (160, 96)
        if "vfr" not in kind:
            assert video.fps == pytest.approx(25, abs=0.1)
            assert times[10] == pytest.approx(0.4, abs=2e-3)
            assert video.duration == pytest.approx(len(video) / 25, abs=0.01)


def test_times_of_a_variable_frame_rate(make_video):
    for kind in ("vfr.mp4", "vfr.mkv"):
        with open_video(make_video(kind)[0]) as video:
            for k in (1, 4, 21, 40):
                shown = 40 * k + (17 if k % 7 > 3 else 0) + (500 if k > 20 else 0)
                assert video.time(k) == pytest.approx(shown / 1000, abs=2e-3)


def test_decord_is_used_where_it_is_exact_and_nowhere_else(make_video):
    pytest.importorskip("decord")
    for kind, used in {
        "h264.mp4": True,
        "h264.mkv": True,
        "vfr.mp4": True,
        "rotated_90.mp4": True,
        "h264.ts": False,
        "open_gop.mp4": False,
        "refresh.mp4": False,
        "hevc.mp4": False,
        "cut_h264.mp4": False,
        "fragmented.mp4": False,
        "mpeg4_b.avi": False,
    }.items():
        with open_video(make_video(kind)[0]) as video:
            assert (video.decoder == "decord") == used, (kind, video.why_decoder)


def test_without_decord_pyav_does_it_all(make_video, bars, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "decord", None)  # importing it then fails
    path, numbers = make_video("h264.mp4")
    with open_video(path) as video:
        assert video.decoder == "pyav"
        assert "decord2" in video.why_decoder
        assert [bars.read(x) for _, x in video.walk(0)] == numbers


def test_pyav_goes_on_where_decord_fails(make_video, bars):
    decord = pytest.importorskip("decord")
    path, _ = make_video("h264.mp4")
    with open_video(path) as video:
        assert video.decoder == "decord"
        cursor = video._source.open(forward=True)
        assert bars.read(cursor.read(3)) == 3

        class Failing:
            def __getattr__(self, name):
                raise decord.DECORDError("broken")

        cursor._reader = Failing()
        assert [bars.read(cursor.read(k)) for k in (4, 20, 11)] == [4, 20, 11]
        cursor.close()


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_mirrored_videos_are_shown_as_ffmpeg_shows_them(degrees, make_video, display_matrix, bars):
    source, _ = make_video("h264.mp4")
    path = source.with_name(f"mirrored_{degrees}.mp4")
    display_matrix(source, path, degrees, mirrored=True)
    raw = path.with_suffix(".rgb")
    bars.ffmpeg("-i", path, "-frames:v", 8, "-f", "rawvideo", "-pix_fmt", "rgb24", raw)
    shape = (8, 96, 160, 3) if degrees in (0, 180) else (8, 160, 96, 3)
    expected = np.frombuffer(raw.read_bytes(), np.uint8).reshape(shape)
    with open_video(path) as video:
        assert video.decoder == "pyav"
        for k in range(8):
            np.testing.assert_allclose(video[k].astype(int), expected[k], atol=2)


def test_the_size_of_a_video_does_not_change_on_the_way(make_video, bars, tmp_path):
    for name, width in (("a.ts", 160), ("b.ts", 320)):
        bars.encode(tmp_path / name, *bars.h264, "-bf", "0", width=width, height=96)
    run = bars.ffmpeg
    run("-itsoffset", 10, "-i", tmp_path / "b.ts", "-c", "copy", "-copyts", tmp_path / "late.ts")
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "late.ts").read_bytes())
    with open_video(joined) as video:
        shapes = {frame.shape for _, frame in video.walk(0)}
        codes = [bars.read(frame) for _, frame in video.walk(0)]
    assert shapes == {(96, 160, 3)}
    assert codes == list(range(bars.count)) * 2


def test_recordings_joined_without_new_times_are_counted(make_video, bars, tmp_path):
    data = make_video("h264.ts")[0].read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(data + data)
    with open_video(path) as video:
        codes = [bars.read(frame) for _, frame in video.walk(0)]
        assert codes[: bars.count] == list(range(bars.count))
        assert [bars.read(x) for _, x in video.walk(len(video) - 1, -1)] == codes[::-1]


def test_decord_does_not_walk_through_what_it_might_decode_all_ahead_of(make_video, monkeypatch):
    from fiftyone_revseg.video import decord_reader

    pytest.importorskip("decord")
    with open_video(make_video("h264.mp4")[0], decoder="decord") as video:
        assert isinstance(video._source.open(forward=True), decord_reader.DecordCursor)
        width, height = video.size
        monkeypatch.setattr(decord_reader, "_AHEAD_BYTES", 3 * width * height * len(video) - 1)
        assert not isinstance(video._source.open(forward=True), decord_reader.DecordCursor)


def test_threads_do_not_mix_up_what_theora_refers_to(tmp_path, bars, monkeypatch):
    path = tmp_path / "a.ogv"
    moving = ["-f", "lavfi", "-i", "testsrc2=s=160x96:r=25:d=4", "-c:v", "libtheora", "-g", 30]
    bars.ffmpeg(*moving, "-b:v", "200k", path)
    reopen = PyAVCursor._reopen

    def on_many_cores(cursor):
        reopen(cursor)
        cursor._stream.codec_context.thread_count = 8

    monkeypatch.setattr(PyAVCursor, "_reopen", on_many_cores)
    with open_video(path) as video:
        walked = [frame for _, frame in video.walk(0)]
        assert len(walked) == 100
        for k in random.Random(0).sample(range(100), 100):
            np.testing.assert_array_equal(video[k], walked[k])


def test_stamps_that_follow_the_order_of_decoding(tmp_path, bars):
    path = tmp_path / "a.asf"
    bars.encode(path, *bars.h264)
    with open_video(path) as video:
        assert [bars.read(frame) for _, frame in video.walk(0)] == list(range(bars.count))
        order = random.Random(0).sample(range(bars.count), bars.count)
        assert [bars.read(video[k]) for k in order] == order
        assert video.times == pytest.approx([k / 25 for k in range(bars.count)], abs=1e-3)
