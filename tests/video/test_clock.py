"""When frames are on the screen: the clock of a player, of which others count positions."""

from itertools import pairwise

import numpy as np
import pytest

from fiftyone_revseg.video import VideoExtent, open_video, video_extent


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.ts"])
def test_a_video_track_that_starts_late(name, make_video, tmp_path, bars):
    path = tmp_path / name
    video = ["-itsoffset", "0.5", "-i", make_video("h264.mp4")[0]]
    sound = ["-f", "lavfi", "-t", "2", "-i", "sine"]
    bars.ffmpeg(*video, *sound, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", path)
    with open_video(path) as video:
        # Encoded sound begins a little before what is heard of it, which mkv and ts count
        assert video.start_offset == pytest.approx(0.5, abs=1e-9 if name == "late.mp4" else 0.05)
        assert video.times[0] == 0
    with open_video(path, (10, 20)) as clip:
        assert clip.start_offset == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("name", ["h264.mp4", "cut_h264.mp4", "vp9.webm", "h264.ts", "mpeg4_b.avi"])
def test_the_clock_starts_with_the_first_frame(name, make_video):
    with open_video(make_video(name)[0]) as video:
        assert video.start_offset == pytest.approx(0, abs=1e-3)


def test_times_are_those_of_single_frames(make_video):
    with open_video(make_video("vfr.mp4")[0]) as video, open_video(video.path, (15, 30)) as clip:
        for v in (video, clip):
            assert v.times.tolist() == [v.time(k) for k in range(len(v))]
            assert all(b > a for a, b in pairwise(v.times))
        np.testing.assert_allclose(
            clip.times + clip.start_offset, video.times[15:30] + video.start_offset
        )


def test_the_extent_of_a_video(kind, make_video):
    path, numbers = make_video(kind)
    assert video_extent(path) == VideoExtent((160, 96), len(numbers))


def test_the_extent_of_images(tmp_path, bars):
    from PIL import Image

    for k in range(3):
        Image.fromarray(bars.draw(k)).save(tmp_path / f"{k}.png")
    assert video_extent(tmp_path) == VideoExtent((160, 96), 3)
    assert video_extent([tmp_path / "1.png"]) == VideoExtent((160, 96), 1)
