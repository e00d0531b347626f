import numpy as np
import pytest
from PIL import Image

from fiftyone_revseg.video import VideoError, open_video


@pytest.fixture
def write(tmp_path, bars):
    def write(names, folder="images"):
        target = tmp_path / folder
        target.mkdir(exist_ok=True)
        for number, name in enumerate(names):
            Image.fromarray(bars.draw(number)).save(target / name)
        return target

    return write


def codes(video, bars):
    return [bars.read(frame) for _, frame in video.walk(0)]


def test_a_folder(write, bars):
    folder = write([f"{i:05d}.jpg" for i in range(10)])
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.jpg").write_text("not an image either")
    with open_video(folder) as video:
        assert codes(video, bars) == list(range(10))
        assert [bars.read(x) for _, x in video.walk(9, -1)] == list(range(10))[::-1]
        assert video.size == (160, 96)
        assert video.fps == 25
        assert video.time(5) == pytest.approx(0.2)
        assert video.decoder == "images"
    with open_video(folder, frame_range=(2, 5), fps=5) as clip:
        assert codes(clip, bars) == [2, 3, 4]
        assert clip.time(1) == pytest.approx(0.2)


def test_a_folder_sorts_numbers_by_value(write, bars):
    folder = write([f"frame{i}.png" for i in range(12)])
    assert codes(open_video(folder), bars) == list(range(12))


@pytest.mark.parametrize(("start", "step"), [(0, 1), (1, 1), (37, 1), (0, 5)])
def test_a_pattern_starts_anywhere_and_may_have_gaps(start, step, write, bars):
    folder = write([f"{start + i * step:05d}.jpg" for i in range(8)])
    (folder / "7.jpg").write_text("fits %d, not %05d")
    assert codes(open_video(folder / "%05d.jpg"), bars) == list(range(8))


def test_a_pattern_without_padding(write, bars):
    folder = write([f"f_{i}_x.png" for i in range(12)])
    assert codes(open_video(folder / "f_%d_x.png"), bars) == list(range(12))


def test_one_image_is_a_video_of_one_frame(write):
    folder = write(["a.png"])
    video = open_video(folder / "a.png")
    assert len(video) == 1
    assert video.sample(16).indices == (0,)


def test_a_broken_image_is_named(write):
    folder = write([f"{i:05d}.jpg" for i in range(5)])
    whole = (folder / "00003.jpg").read_bytes()
    (folder / "00003.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match=r"00003\.jpg"):
        list(open_video(folder).walk(0))
    (folder / "00000.jpg").write_text("nothing")
    with pytest.raises(VideoError, match=r"00000\.jpg"):
        open_video(folder)


def test_images_of_different_sizes_are_refused(write):
    folder = write(["0.png", "1.png"])
    Image.new("RGB", (30, 20)).save(folder / "1.png")
    with pytest.raises(VideoError, match=r"1\.png is 30 x 20"):
        open_video(folder)[1]


def test_no_images(tmp_path):
    with pytest.raises(VideoError, match="holds no images"):
        open_video(tmp_path)
    with pytest.raises(VideoError, match="no file fits"):
        open_video(tmp_path / "%05d.jpg")
    with pytest.raises(VideoError, match="no file fits"):
        open_video(tmp_path / "nowhere" / "%05d.jpg")


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "I;16"])
def test_every_mode_becomes_rgb(mode, tmp_path):
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 6), 0x8000, np.uint16))
    else:
        grey = Image.new("RGB", (6, 4), (128, 128, 128))
        image = grey.quantize(2) if mode == "P" else grey.convert(mode)
    image.save(tmp_path / "a.png")
    frame = open_video(tmp_path)[0]
    assert frame.shape == (4, 6, 3)
    assert frame.dtype == np.uint8
    if mode != "1":
        assert np.all(np.abs(frame.astype(int) - 128) <= 1)
