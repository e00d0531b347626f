"""Pictures: colours where masks are, borders, boxes inside the image, videos that keep times."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fiftyone_revseg.masks import pictures


def square(size=(40, 60), rows=slice(10, 30), columns=slice(20, 50)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


def test_masks_change_only_their_own_pixels():
    frame = np.full((40, 60, 3), 90, np.uint8)
    mask = square()
    image = pictures.draw_masks(frame, [mask, None])
    assert (image[~mask] == 90).all()
    assert (image[mask] != 90).any(axis=-1).all()
    assert tuple(image[10, 20]) == pictures.object_color(0)  # a corner is contour, so opaque
    assert (frame == 90).all()  # the input is left alone


def test_each_object_has_its_own_colour():
    masks = [square(columns=slice(0, 10)), square(columns=slice(30, 40))]
    image = pictures.draw_masks(np.zeros((40, 60, 3), np.uint8), masks)
    assert tuple(image[15, 5]) != tuple(image[15, 35])


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="shape"):
        pictures.draw_masks(np.zeros((20, 20, 3), np.uint8), [square()])


def test_contour_is_the_inner_border():
    mask = square()
    inner = np.zeros_like(mask)
    inner[11:29, 21:49] = True
    np.testing.assert_array_equal(pictures.mask_contour(mask), mask & ~inner)
    # A mask that fills the image has no border: the edge of the image is not an edge of the object.
    assert not pictures.mask_contour(np.ones((8, 8), bool)).any()


def test_box_covers_exactly_its_pixels():
    frame = np.zeros((100, 100, 3), np.uint8)
    image = pictures.draw_boxes(frame, [(20, 30, 60, 80), None])
    rows, columns = np.nonzero(image.any(axis=-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 79, 20, 59)


@pytest.mark.parametrize("box", [(0, 0, 100, 100), (95, 95, 100, 100), (5, 5, 5.2, 5.2)])
def test_labels_stay_inside_the_image(box):
    image = pictures.draw_boxes(np.zeros((100, 100, 3), np.uint8), [box], ["a very " * 20 + "long"])
    assert image.shape == (100, 100, 3)
    assert image.any()


def test_contact_sheet_holds_every_image_and_caption():
    red = np.full((30, 60, 3), (255, 0, 0), np.uint8)
    blue = np.full((60, 60, 3), (0, 0, 255), np.uint8)
    sheet = pictures.contact_sheet([("one", [red, blue]), ("two\nlines", [blue])], cell_width=60)
    assert (sheet == (255, 0, 0)).all(axis=-1).sum() == 30 * 60
    assert (sheet == (0, 0, 255)).all(axis=-1).sum() == 2 * 60 * 60
    assert pictures.contact_sheet([]).ndim == 3


def test_index_masks_read_back(tmp_path):
    first, second = square(columns=slice(0, 30)), square(columns=slice(20, 50))
    pictures.save_index_mask(tmp_path / "masks" / "0.png", [first, None, second], (60, 40))
    values = np.asarray(Image.open(tmp_path / "masks" / "0.png"))
    np.testing.assert_array_equal(values == 1, first)
    np.testing.assert_array_equal(values == 3, second & ~first)  # the first object lies on top


@pytest.mark.parametrize("size", [(64, 96), (33, 47)])
def test_video_keeps_every_frame_and_its_time(tmp_path, size):
    import av

    times = [0.0, 0.04, 0.2, 0.24]  # a variable frame rate
    frames = [(t, np.full((*size, 3), 40 * i, np.uint8)) for i, t in enumerate(times)]
    assert pictures.write_video(tmp_path / "a.mp4", iter(frames)) == 4
    with av.open(str(tmp_path / "a.mp4")) as container:
        decoded = [(f.time, f.to_ndarray(format="rgb24").mean()) for f in container.decode(video=0)]
    np.testing.assert_allclose([t for t, _ in decoded], times, atol=1e-3)
    np.testing.assert_allclose([v for _, v in decoded], [0, 40, 80, 120], atol=6)


def test_video_without_frames_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no frames"):
        pictures.write_video(tmp_path / "a.mp4", iter([]))


def test_text_tile_has_text_in_the_middle():
    tile = pictures.text_tile("no key frame", (120, 80))
    assert tile.shape == (80, 120, 3)
    rows, columns = np.nonzero((tile != tile[0, 0]).any(axis=-1))
    assert abs(rows.mean() - 40) < 5
    assert abs(columns.mean() - 60) < 8
