"""Which of several video tracks is the video: what FiftyOne and browsers take, the first."""

import pytest

from fiftyone_revseg.video import VideoError, open_video

RED, BLUE = "color=red:s=160x96:r=10:d=1", "color=blue:s=320x192:r=10:d=1"
H264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p"]


def two_tracks(path, bars, *options, first=RED, second=BLUE):
    inputs = ["-f", "lavfi", "-i", first, "-f", "lavfi", "-i", second, "-map", 0, "-map", 1]
    bars.ffmpeg(*inputs, *H264, *options, path)
    return path


def colours(video):
    """The strongest of red, green and blue in each frame, walked and read singly."""
    walked = [int(frame.reshape(-1, 3).mean(axis=0).argmax()) for _, frame in video.walk(0)]
    single = [int(video[k].reshape(-1, 3).mean(axis=0).argmax()) for k in range(len(video))]
    assert walked == single
    return set(walked)


@pytest.mark.parametrize("name", ["two.mp4", "two.mkv", "two.mov", "two.ts"])
@pytest.mark.parametrize("second", [BLUE, BLUE.replace("320x192", "160x96")], ids=["large", "same"])
def test_the_first_track_is_the_video(name, second, tmp_path, bars):
    both = ["-disposition:v:0", "default", "-disposition:v:1", "default"]
    with open_video(two_tracks(tmp_path / name, bars, *both, second=second)) as video:
        assert video.size == (160, 96)
        assert len(video) == 10
        assert colours(video) == {0}


def test_a_first_track_that_is_switched_off_is_refused(tmp_path, bars):
    off = ["-disposition:v:0", "0", "-disposition:v:1", "default"]
    path = two_tracks(tmp_path / "off.mp4", bars, *off)
    with pytest.raises(VideoError, match=r"2 video tracks .* first is switched off.* -map 0:1 "):
        open_video(path)
    # Browsers take the first track of mkv in any case
    with open_video(two_tracks(tmp_path / "off.mkv", bars, *off)) as video:
        assert colours(video) == {0}
    # A second track that is off is never seen
    on = ["-disposition:v:0", "default", "-disposition:v:1", "0"]
    with open_video(two_tracks(tmp_path / "on.mp4", bars, *on)) as video:
        assert colours(video) == {0}


@pytest.mark.parametrize("place", ["first", "last", "attached"])
def test_a_cover_is_passed_over(place, tmp_path, bars):
    picture, plain = tmp_path / "cover.png", tmp_path / "plain.mkv"
    bars.ffmpeg("-f", "lavfi", "-i", "color=blue:s=640x480", "-frames:v", 1, picture)
    bars.ffmpeg("-f", "lavfi", "-i", RED, *H264, plain)
    path = tmp_path / ("cover.mkv" if place == "attached" else "cover.mp4")
    if place == "attached":
        attach = ["-attach", picture, "-metadata:s:t", "mimetype=image/png"]
        bars.ffmpeg("-i", plain, "-c", "copy", *attach, path)
    else:
        inputs = ["-i", picture, "-i", plain] if place == "first" else ["-i", plain, "-i", picture]
        cover = ["-c", "copy", f"-disposition:v:{int(place == 'last')}", "attached_pic"]
        bars.ffmpeg(*inputs, "-map", 0, "-map", 1, *cover, path)
    with open_video(path) as video:
        assert (len(video), video.size) == (10, (160, 96))
        assert colours(video) == {0}
