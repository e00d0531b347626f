"""What walking costs: frames decoded, frames held; and how clips number their frames."""

import threading
import weakref

import numpy as np
import pytest

from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video import Video, VideoError, open_video


class CountingSource:
    """Counts the frames that it decodes and those that are alive."""

    path, size, fps, decoder, why, broken = "fake", (4, 4), 25.0, "fake", "", frozenset()
    frame_bytes = 100

    def __init__(self, count, gop):
        self.times = np.arange(count) / self.fps
        self.key_frames = np.arange(0, count, gop)
        self.decoded = self.alive = self.most_alive = self.opened = self.closed = 0
        self.lock = threading.Lock()

    def open(self, forward=False):
        self.opened += 1
        return CountingCursor(self)

    def born(self, frame):
        with self.lock:
            self.alive += 1
            self.most_alive = max(self.most_alive, self.alive)
        weakref.finalize(frame, self.died)
        return frame

    def died(self):
        with self.lock:
            self.alive -= 1


class Frame(np.ndarray):
    """An array that can be watched."""


class CountingCursor:
    def __init__(self, source):
        self.source, self.at = source, None

    def read(self, k):
        keys = self.source.key_frames
        key = keys[np.searchsorted(keys, k, side="right") - 1]
        begin = self.at if self.at is not None and key <= self.at <= k else key
        self.source.decoded += k + 1 - begin
        self.at = k + 1
        frame = np.full((4, 4, 3), k % 251, np.uint8).view(Frame)
        return self.source.born(frame)

    def to_rgb(self, held):
        return held

    def close(self):
        self.source.closed += 1


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("ahead", [0, 3])
def test_each_group_is_decoded_once_and_few_frames_are_held(step, ahead):
    source = CountingSource(500, gop=25)
    video = Video(source, ahead=ahead, held_bytes=30 * source.frame_bytes)
    walked = []
    for k, frame in video.walk(0 if step == 1 else 499, step):
        assert frame[0, 0, 0] == k % 251
        walked.append(k)
        del frame
    assert walked == list(range(500))[::step]
    assert source.decoded == 500
    # the group, what waits in the queue, the frame given and the one in the making
    assert source.most_alive <= (25 if step == -1 else 1) + ahead + 2
    assert source.opened == source.closed == 1


def test_memory_is_bounded_in_a_group_of_thousands_of_frames():
    source = CountingSource(5000, gop=5000)
    video = Video(source, ahead=4, held_bytes=500 * source.frame_bytes)
    assert [k for k, _ in video.walk(4999, -1)] == list(range(5000))[::-1]
    assert source.most_alive <= 500 + 4 + 2
    parts = 10
    assert source.decoded == 5000 * (parts + 1) / 2  # the price that the docstring states


def test_pyav_decodes_each_group_once(make_video):
    path, numbers = make_video("h264.mp4")
    video = open_video(path, decoder="pyav", ahead=0)
    source, cursors = video._source, []
    opened = source.open
    source.open = lambda forward=False: cursors.append(opened()) or cursors[-1]
    assert len(list(video.walk(0))) == len(numbers)
    assert len(list(video.walk(len(numbers) - 1, -1))) == len(numbers)
    # The last frame of a group is known to be one only by the frame after it, so none is spare
    assert [c.decoded for c in cursors] == [len(numbers)] * 2
    video.frames([1, 5, 11, 40])
    assert cursors[-1].decoded <= 12 + 12
    video.close()


def test_a_dropped_walk_releases_its_decoder():
    source = CountingSource(100, gop=10)
    for ahead in (0, 4):
        walk = Video(source, ahead=ahead).walk(99, -1)
        next(walk)
        walk.close()
    assert source.opened == source.closed == 2


def test_walks_and_single_frames_do_not_disturb_each_other(make_video, bars):
    path, numbers = make_video("h264.mkv")
    with open_video(path) as video:
        forward, backward = video.walk(0), video.walk(len(video) - 1, -1)
        for k, ((i, a), (j, b)) in enumerate(zip(forward, backward, strict=True)):
            assert bars.read(a) == numbers[i]
            assert bars.read(b) == numbers[j]
            assert bars.read(video[(7 * k) % len(video)]) == numbers[(7 * k) % len(video)]


def test_a_clip_is_a_video_of_its_own(kind, make_video, bars):
    path, numbers = make_video(kind)
    with open_video(path) as whole, open_video(path, frame_range=(15, 27)) as clip:
        expected = numbers[15:27]
        assert len(clip) == 12
        assert clip.first_frame == 15
        assert clip.time(0) == 0
        assert clip.time(5) == pytest.approx(whole.time(20) - whole.time(15))
        assert [bars.read(x) for _, x in clip.walk(0)] == expected
        assert [k for k, _ in clip.walk(11, -1)] == list(range(12))[::-1]
        assert [bars.read(x) for _, x in clip.walk(11, -1)] == expected[::-1]
        assert bars.read(clip[3]) == expected[3]
        assert clip.sample(3).indices == (0, 6, 11)
        with pytest.raises(IndexError):
            clip[12]


def test_a_clip_outside_the_video_is_refused(make_video):
    path, numbers = make_video("h264.mp4")
    for bad in ((0, len(numbers) + 1), (5, 5), (-1, 4), (9, 3)):
        with pytest.raises(VideoError, match=f"{len(numbers)} frames"):
            open_video(path, frame_range=bad)


def test_wrong_numbers_are_refused(make_video):
    with open_video(make_video("h264.mp4")[0]) as video:
        for k in (-1, len(video)):
            with pytest.raises(IndexError):
                video[k]
            with pytest.raises(IndexError):
                video.walk(k)
        with pytest.raises(ValueError, match="step"):
            video.walk(0, 2)
        with pytest.raises(ValueError, match="increasing"):
            video.frames([3, 3])
    with pytest.raises(VideoError, match="closed"):
        video[0]
    with pytest.raises(VideoError, match="closed"):
        video.walk(0)


def test_sampled_frames_and_times(make_video):
    with open_video(make_video("h264.mp4")[0]) as video:
        table = video.sample(5)
        assert isinstance(table, FrameTable)
        assert table.indices == (0, 12, 24, 35, 47)
        assert table.frame_count == 48
        assert table.times == pytest.approx([k / 25 for k in table.indices])
        assert table.duration == pytest.approx(48 / 25)
        assert video.sample(1000).indices == tuple(range(48))
