"""Interlaced pictures coded as two fields count once, in whatever packets they come."""

import random

import av
import field_coding
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_revseg.video import open_video
from fiftyone_revseg.video.h264 import H264Packets

COUNT = 26
CODINGS = {
    "fields": {},
    "reordered": {"reorder": True},
    "mixed": {"as_fields": lambda k: k % 5 in (0, 3), "reorder": True},
    "mixed_later": {"as_fields": lambda k: k >= 17},
    "frames": {"as_fields": lambda k: False},
    "high_profile": {"high": True},
    "long_gop": {"gop": 100, "reorder": True},
}


@pytest.fixture(scope="module")
def grey(bars):
    return [bars.draw(k)[..., 0] for k in range(COUNT)]


def check(path, bars, count=COUNT):
    with open_video(path) as video:
        assert len(video) == count
        assert [bars.read(frame) for _, frame in video.walk(0)] == list(range(count))
        backward = [bars.read(frame) for _, frame in video.walk(count - 1, -1)]
        assert backward == list(range(count))[::-1]
        order = random.Random(0).sample(range(count), count)
        assert [bars.read(video[k]) for k in order] == order
        assert video.broken_frames == ()
        assert video.fps == pytest.approx(25, rel=0.01)
        assert video.times == pytest.approx([k / 25 for k in range(count)], abs=2e-3)


@pytest.mark.parametrize("coding", CODINGS)
def test_pictures_are_counted_not_fields(coding, grey, tmp_path, bars):
    path = field_coding.write(tmp_path / "a.ts", grey, **CODINGS[coding])
    check(path, bars)
    for name in ("a.mp4", "a.mkv"):
        bars.ffmpeg("-i", path, "-c", "copy", tmp_path / name)
        check(tmp_path / name, bars)


@pytest.mark.parametrize("coding", ["fields", "reordered", "mixed"])
def test_packets_of_a_transport_stream_hold_both_fields(coding, grey, tmp_path, bars):
    """As camcorders write it: the second field has no time of its own."""
    path = field_coding.write(tmp_path / "a.ts", grey, per_field=False, **CODINGS[coding])
    check(path, bars)
    if coding == "fields":  # of the others, ffmpeg guesses the times, and wrongly
        for name in ("a.mp4", "a.mov"):
            bars.ffmpeg("-i", path, "-c", "copy", tmp_path / name)
            check(tmp_path / name, bars)


@pytest.mark.parametrize(("name", "coding"), [("a.h264", "mixed"), ("a.avi", "fields")])
def test_fields_without_times(name, coding, grey, tmp_path, bars):
    path = field_coding.write(tmp_path / "a.ts", grey, **CODINGS[coding])
    bars.ffmpeg("-i", path, "-c", "copy", tmp_path / name)
    check(tmp_path / name, bars)


@pytest.mark.parametrize("lost", [0, 7, 8, 51], ids=str)
def test_a_field_without_the_other_one(lost, grey, tmp_path, bars):
    """Cut or damaged: what the decoder makes of it counts, and every way of reading agrees."""
    whole = field_coding.write(tmp_path / "a.ts", grey)
    path = tmp_path / "b.ts"
    with av.open(str(whole)) as source, av.open(str(path), "w", format="mpegts") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for i, packet in enumerate(source.demux(video=0)):
            if i != lost and packet.size:
                packet.stream = stream
                output.mux(packet)
    with open_video(path) as video:
        walked = [bars.read(frame) for _, frame in video.walk(0)]
        assert COUNT - 2 <= len(walked) == len(video) <= COUNT
        order = random.Random(0).sample(range(len(video)), len(video))
        assert [bars.read(video[k]) for k in order] == [walked[k] for k in order]
        assert [bars.read(x) for _, x in video.walk(len(video) - 1, -1)] == walked[::-1]


@given(st.binary(max_size=200), st.binary(max_size=200), st.booleans())
@settings(max_examples=200, deadline=None)
def test_nonsense_is_a_whole_picture_or_none(extradata, data, allowed):
    known = field_coding.parameters(160, 96) if allowed else b""
    packets = H264Packets(known + extradata)
    packet = av.Packet(data)
    packet.is_keyframe = True
    picture = packets.read(packet)
    assert picture.shown or not picture.interlaced
