"""Times that are missing, repeated or out of order: the good ones stay, and the others follow."""

import json
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video import open_video
from fiftyone_revseg.video.stamps import mend_stamps

X = None
NINE = [0, 40, 80, 120, 160, 200, 240, 280, 320]


@pytest.mark.parametrize(
    ("stamps", "mended", "guessed", "restarts"),
    [
        ([0, 40, 80, 80, 160], [0, 40, 80, 120, 160], 1, 0),
        ([0, 40, X, X, 160], [0, 40, 80, 120, 160], 2, 0),
        ([X, X, 80, 120], [0, 40, 80, 120], 2, 0),
        ([0, 100, 200, X, X], [0, 100, 200, 300, 400], 2, 0),
        ([0, 40, 80, 9999, 160, 200], [0, 40, 80, 120, 160, 200], 1, 0),
        ([0, 40, 80, 2**62, 160, 200], [0, 40, 80, 120, 160, 200], 1, 0),
        ([0, 40, 80, 120, 0], [0, 40, 80, 120, 160], 1, 0),
        ([0, 40, 80, 120, *[0] * 5, 360, 400], [*NINE, 360, 400], 5, 0),
        ([0, 40, 80, 7000, 7040, 7080], [0, 40, 80, 7000, 7040, 7080], 0, 0),  # a long break
        ([7] * 4, [7, 47, 87, 127], 3, 0),
        # Two recordings, the second of which begins anew, or before the first one's end
        ([0, 40, 80, 120, 160, 0, 40, 80, 120], NINE, 0, 1),
        ([1000, 1040, 1080, 1120, 960, 1000, 1040, 1080, 1120], [1000 + k for k in NINE], 0, 1),
        ([2**33 - 120, 2**33 - 80, 2**33 - 40, 2**33, 40, 80, 120, 160], X, 0, 1),
        ([0, 0, 1, 2, 2, 3, 4, 5, 5], [0, 0.5, 1, 2, 2.5, 3, 4, 5, 6], 3, 0),
    ],
)
def test_what_is_good_stays(stamps, mended, guessed, restarts):
    found = mend_stamps(stamps, 40)
    if mended is X:
        mended = [2**33 - 120 + 40 * k for k in range(len(stamps))]
    assert (found.stamps / found.scale).tolist() == mended
    assert (found.guessed, found.restarts) == (guessed, restarts)


@given(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300), min_size=1),
    st.floats(1e-6, 1e6),
)
@example([0, 0, -9_007_199_255], 1e-6)  # too many units for a float to count
@settings(max_examples=300, deadline=None)
def test_any_stamps_become_increasing(stamps, step):
    found = mend_stamps(stamps, step)
    assert len(found.stamps) == len(stamps)
    assert (np.diff(found.stamps) > 0).all()


@given(st.lists(st.integers(1, 1000), min_size=1), st.integers(-(10**6), 10**6))
def test_good_stamps_stay_as_they_are(steps, start):
    stamps = np.cumsum([start, *steps]).tolist()
    found = mend_stamps(stamps, 40)
    assert (found.stamps / found.scale).tolist() == stamps
    assert found.guessed == found.restarts == 0


def rewrite(source, path, change):
    """Copies a video, with each stamp changed."""
    with av.open(str(source)) as given, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        for k, packet in enumerate(p for p in given.demux(video=0) if p.size):
            packet.pts = packet.dts = change(k, packet.pts)
            packet.stream = stream
            output.mux(packet)


@pytest.fixture(scope="module")
def five_a_second(tmp_path_factory, bars):
    """A recording of a browser: it says nothing of its rate; 40 frames in 8 s."""
    path = tmp_path_factory.mktemp("stamps") / "plain.webm"
    bars.encode(
        path, "-vf", "setpts=N/5/TB", "-r", 5, "-c:v", "libvpx", "-g", 12, numbers=range(40)
    )
    return path


@pytest.mark.parametrize("twice", [(11,), (1,), (39,), (7, 8, 9)], ids=str)
def test_a_stamp_twice_does_not_throw_away_the_others(twice, five_a_second, tmp_path, bars):
    path = tmp_path / "twice.webm"
    before = min(twice) - 1
    rewrite(five_a_second, path, lambda k, pts: 200 * before if k in twice else pts)
    with open_video(path) as video:
        assert [bars.read(frame) for _, frame in video.walk(0)] == list(range(40))
        assert video.duration == pytest.approx(8, rel=0.03)
        assert video.fps == pytest.approx(5, rel=0.03)
        assert video.times[-2] == pytest.approx(7.6, abs=0.21)
        assert f"{len(twice)} of 40 frames have no usable time" in video.remarks[0]
        table = video.sample(4)  # whose times the model is told, and the trajectory keeps
        assert table.remarks == video.remarks
        assert FrameTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table
        assert [bars.read(video[k]) for k in (25, 3, 39)] == [25, 3, 39]


def test_good_times_need_no_remark(kind, make_video):
    with open_video(make_video(kind)[0]) as video:
        assert video.remarks == ()
        assert "remarks" not in video.sample(4).to_dict()


def test_more_frames_than_the_clock_has_ticks(tmp_path, bars):
    path = tmp_path / "fast.mkv"
    bars.ffmpeg("-f", "lavfi", "-i", "testsrc=s=160x96:r=1200:d=0.1", *bars.h264, path)
    with open_video(path) as video:
        assert len(video) == 120
        assert video.duration == pytest.approx(0.1, rel=0.03)
        assert video.fps == pytest.approx(1200, rel=0.02)
        assert all(b > a for a, b in pairwise(video.times))


def test_the_counter_of_a_transport_stream_overflows(make_video, tmp_path, bars):
    path = tmp_path / "wrap.ts"
    late = ["-output_ts_offset", str(2**33 / 90000 - 1.4 - 0.9)]
    bars.ffmpeg("-i", make_video("h264.ts")[0], "-c", "copy", *late, path)
    with open_video(path) as video:
        assert [bars.read(frame) for _, frame in video.walk(0)] == list(range(bars.count))
        assert [bars.read(video[k]) for k in (40, 3, 47, 20)] == [40, 3, 47, 20]
        assert video.times == pytest.approx([k / 25 for k in range(bars.count)], abs=1e-3)


def test_the_clock_of_joined_recordings_goes_on(make_video, tmp_path, bars):
    path = tmp_path / "joined.ts"
    path.write_bytes(make_video("h264.ts")[0].read_bytes() * 2)
    with open_video(path) as video:
        assert video.duration == pytest.approx(len(video) / 25, rel=0.02)
        assert video.fps == pytest.approx(25, rel=0.02)


def test_times_before_zero(five_a_second, tmp_path, bars):
    path = tmp_path / "early.mkv"
    rewrite(five_a_second, path, lambda k, pts: pts - 70)
    with open_video(path) as video:
        assert [bars.read(frame) for _, frame in video.walk(0)] == list(range(40))
        assert video.duration == pytest.approx(8)
        assert bars.read(video[17]) == 17
