"""Files of many pictures are videos; in a folder, each file is one frame."""

import random

import numpy as np
import pytest
from PIL import Image

from fiftyone_revseg.video import VideoError, open_video, video_extent

COUNT = 12
KINDS = {
    "a.webp": {"lossless": True, "duration": 40},
    "a.png": {"duration": 40},
    "a.tif": {},
    "a.tiff": {"compression": "tiff_lzw"},
    "gif.png": {"format": "GIF", "duration": 40},
}


@pytest.fixture
def stack(tmp_path, bars):
    def write(name, **options):
        pictures = [Image.fromarray(bars.draw(k)) for k in range(COUNT)]
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], **options)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", KINDS)
def test_every_picture_is_a_frame(name, stack, bars):
    with open_video(stack(name, **KINDS[name])) as video:
        assert len(video) == COUNT
        assert [bars.read(frame) for _, frame in video.walk(0)] == list(range(COUNT))
        backward = [bars.read(frame) for _, frame in video.walk(COUNT - 1, -1)]
        assert backward == list(range(COUNT))[::-1]
        order = random.Random(0).sample(range(COUNT), COUNT)
        assert [bars.read(video[k]) for k in order] == order
        assert video.times == pytest.approx([0.04 * k for k in range(COUNT)])
        assert video.fps == pytest.approx(25)
        assert video.decoder == "images"
        assert video_extent(video.path).length == COUNT


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_pictures_are_shown_for_as_long_as_the_file_says(name, stack):
    path = stack(name, duration=[100, 300, *[50] * (COUNT - 3), 0])
    with open_video(path) as video:
        assert video.times[:4] == pytest.approx([0, 0.1, 0.4, 0.45])
        assert (np.diff(video.times) > 0).all()
    with open_video(path, fps=10) as video:
        assert video.times == pytest.approx([k / 10 for k in range(COUNT)])


def test_a_stack_within_a_folder_is_refused(stack, bars):
    path = stack("1.tif")
    Image.fromarray(bars.draw(0)).save(path.with_name("0.tif"))
    with open_video(path.parent) as video, pytest.raises(VideoError, match=r"1\.tif holds 12"):
        list(video.walk(0))
    with pytest.raises(VideoError, match="by itself"):
        open_video([path, path])


def test_what_is_no_frame_is_left_out(tmp_path, bars):
    pictures = [Image.fromarray(bars.draw(k)) for k in range(3)]
    small = pictures[2].resize((40, 24))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    pictures[0].save(tmp_path / "photo.tif", save_all=True, append_images=[small])
    assert len(open_video(tmp_path / "photo.tif")) == 1
    more = {"save_all": True, "append_images": pictures[1:], "default_image": True}
    pictures[0].save(tmp_path / "a.png", **more)
    with open_video(tmp_path / "a.png") as video:
        assert [bars.read(frame) for _, frame in video.walk(0)] == [1, 2]
    pictures[0].save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=pictures[1:])
    assert len(open_video(tmp_path / "phone.jpg")) == 1


def test_pages_of_several_sizes_are_no_video(tmp_path, bars):
    pages = [Image.fromarray(bars.draw(0)), Image.new("RGB", (32, 48))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(VideoError, match="different sizes"):
        open_video(tmp_path / "a.tif")


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_stack_is_refused_in_words(name, stack):
    path = stack(name, **KINDS[name])
    data = path.read_bytes()
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(data[: int(share * len(data))])
        try:
            with open_video(path) as video:
                assert sum(1 for _ in video.walk(0)) == len(video) <= COUNT
        except VideoError:
            pass  # the only error there may be
