"""Pictures of which a part is not shown, as cameras with a cropped window write them."""

import numpy as np
import pytest

from fiftyone_revseg.video import open_video


@pytest.mark.parametrize(("codec", "name"), [("x264", "h264"), ("x265", "hevc")])
@pytest.mark.parametrize(("left", "top"), [(16, 8), (2, 0), (32, 2), (0, 4)])
@pytest.mark.parametrize("decoder", [None, "pyav"])
def test_what_is_cropped_is_not_in_the_picture(codec, name, left, top, decoder, tmp_path, bars):
    whole, cropped = tmp_path / "whole.mp4", tmp_path / "cropped.mp4"
    encoder = ["-c:v", f"lib{codec}", f"-{codec}-params", "log-level=none", "-pix_fmt", "yuv420p"]
    bars.ffmpeg("-f", "lavfi", "-i", "testsrc=s=160x96:r=10:d=1", *encoder, whole)
    crop = f"{name}_metadata=crop_left={left}:crop_top={top}"
    bars.ffmpeg("-i", whole, "-c", "copy", "-bsf:v", crop, cropped)
    with open_video(whole) as every, open_video(cropped, decoder=decoder) as video:
        assert video.size == (160 - left, 96 - top)
        assert len(video) == len(every) == 10
        for k, frame in video.walk(0):
            assert np.array_equal(frame, every[k][top:, left:])
            assert np.array_equal(frame, video[k])
