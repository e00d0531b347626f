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


def test_a_list_keeps_its_order(write, bars):
    write([f"{i}.png" for i in range(6)], "a")
    other = write(["x.jpg"], "b")  # shows number 0
    folder = other.parent
    paths = [folder / "a" / f"{i}.png" for i in (4, 1, 5)] + [str(other / "x.jpg")]
    with open_video(paths, fps=10) as video:
        assert codes(video, bars) == [4, 1, 5, 0]
        assert [bars.read(x) for _, x in video.walk(3, -1)] == [0, 5, 1, 4]
        assert [bars.read(x) for x in video.frames((1, 3))] == [1, 0]
        assert video.path == str(folder)
        assert (video.fps, video.size, video.decoder) == (10, (160, 96), "images")
    with open_video(tuple(paths), frame_range=(1, 3)) as clip:
        assert codes(clip, bars) == [1, 5]
        assert clip.fps == 25
        assert clip.first_frame == 1


def test_a_list_is_read_only_where_frames_are_asked_for(write):
    folder = write(["0.png"])
    paths = [folder / "0.png"] * 2 + [folder / f"nowhere_{i}.png" for i in range(100_000)]
    video = open_video(paths)
    assert len(video) == len(paths)
    assert video[1].shape == (96, 160, 3)
    with pytest.raises(VideoError, match=r"there is no image .*nowhere_7\.png"):
        video[9]


def test_a_list_names_what_is_wrong_with_one_of_its_images(write):
    folder = write([f"{i}.png" for i in range(3)])
    paths = [folder / f"{i}.png" for i in range(3)]
    Image.new("RGB", (30, 20)).save(paths[1])
    paths[2].write_text("no picture")
    video = open_video(paths)
    with pytest.raises(VideoError, match=r"1\.png is 30 x 20"):
        video[1]
    with pytest.raises(VideoError, match=r"2\.png cannot be read"):
        list(video.walk(2))
    with pytest.raises(VideoError, match=r"there is no image .*3\.png"):
        open_video([folder / "3.png", *paths])
    with pytest.raises(VideoError, match="list of images is empty"):
        open_video([])


def test_the_name_of_a_list(write, monkeypatch):
    folder = write(["0.png"])
    monkeypatch.chdir(folder)
    assert open_video(["0.png", "0.png"]).path == "."
    assert open_video([folder / "0.png", "0.png"]).path == str(folder)


GREY = np.tile(np.linspace(0, 1, 64), (8, 1))


def shades(path):
    with open_video(path) as video:
        return video[0][0, [0, 32, 63], 0].tolist()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_of_many_bits_keeps_its_range(bits, tmp_path):
    for name in ("a.png", "a.tif"):
        Image.fromarray((GREY * (2**bits - 1)).astype(np.uint16)).save(tmp_path / name)
        assert shades(tmp_path / name) == [0, pytest.approx(130, abs=1), 255]


def test_grey_of_a_sequence_is_read_in_one_way(tmp_path):
    for k, brightest in enumerate((300, 9000, 16383)):  # as a scene gets brighter
        Image.fromarray((GREY * brightest).astype(np.uint16)).save(tmp_path / f"{k}.png")
    with open_video(tmp_path) as video:
        assert [int(frame.max()) for _, frame in video.walk(0)] == [300 >> 6, 9000 >> 6, 255]
    pages = [Image.fromarray((GREY * m).astype(np.uint16)) for m in (300, 16383)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with open_video(tmp_path / "a.tif") as video:
        assert [int(frame.max()) for _, frame in video.walk(0)] == [300 >> 6, 255]


def test_floating_point_grey(tmp_path):
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "a.tif")
    assert shades(tmp_path / "a.tif") == [0, 130, 255]
    for wrong in (GREY * 255, GREY - 1, GREY * np.nan):
        Image.fromarray(wrong.astype(np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(VideoError, match=r"a\.tif has floating point shades outside 0 to 1"):
            open_video(tmp_path / "a.tif")


def test_shades_below_zero_are_refused(tmp_path):
    Image.fromarray((GREY * 1000 - 500).astype(np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(VideoError, match="below 0"):
        open_video(tmp_path / "a.tif")


@pytest.mark.parametrize(("mode", "name"), [("CMYK", "a.jpg"), ("LA", "a.png"), ("RGBA", "a.png")])
def test_colour_is_kept_and_transparency_left_out(mode, name, tmp_path):
    image = Image.new("RGB", (16, 16), (200, 200, 200) if mode == "LA" else (200, 100, 50))
    image = image.convert(mode)
    if "A" in mode:
        image.putalpha(10)
    image.save(tmp_path / name)
    expected = (200, 200, 200) if mode == "LA" else (200, 100, 50)
    np.testing.assert_allclose(open_video(tmp_path / name)[0][8, 8].astype(int), expected, atol=4)
