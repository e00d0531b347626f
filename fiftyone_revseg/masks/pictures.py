"""Pictures of results: masks over frames, the key frame with its boxes, contact sheets, videos.

Numpy and PIL only (PyAV for videos), so that they work where FiftyOne is not installed. Frames are
``(H, W, 3)`` uint8 RGB throughout, masks ``(H, W)`` bool.
"""

from __future__ import annotations

import base64
import functools
import io
import math
import textwrap
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fiftyone_revseg.files import name_for_ffmpeg

# Neon colours, which are rare in footage: a mask must stand out from what it covers. Neighbours
# differ in brightness too, so that people with colour-blindness can tell them apart.
PALETTE: tuple[tuple[int, int, int], ...] = (
    (255, 30, 170),
    (0, 225, 255),
    (170, 255, 0),
    (140, 80, 255),
    (255, 200, 0),
    (0, 160, 110),
    (255, 150, 150),
)

_TIME_BASE = Fraction(1, 90_000)


def object_color(index: int) -> tuple[int, int, int]:
    """Returns the RGB colour of the object with this index; colours repeat after seven."""
    return PALETTE[index % len(PALETTE)]


def mask_contour(mask: np.ndarray, width: int = 1) -> np.ndarray:
    """Returns the inner border of a mask.

    Args:
        mask: an ``(H, W)`` bool mask
        width: how many pixels wide the border is

    Returns:
        an ``(H, W)`` bool mask of the pixels of ``mask`` within ``width`` steps (up, down, left,
        right) of its outside; the edge of the image does not count as outside
    """
    inner = mask.astype(bool)
    for _ in range(width):
        padded = np.pad(inner, 1, mode="edge")
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask.astype(bool) & ~inner


def draw_masks(
    frame: np.ndarray, masks: Sequence[np.ndarray | None], alpha: float = 0.5
) -> np.ndarray:
    """Paints one mask per object over a frame, each in its colour and with a contour.

    Args:
        frame: an ``(H, W, 3)`` uint8 RGB frame, which is left as it is
        masks: an ``(H, W)`` bool mask per object, or None where the object is not visible
        alpha (0.5): how opaque the masks are, 0 to 1; contours are always opaque

    Returns:
        an ``(H, W, 3)`` uint8 RGB image

    Raises:
        ValueError: if a mask has another size than the frame
    """
    image = frame.copy()
    width = max(1, round(min(frame.shape[:2]) / 150))
    for index, mask in enumerate(masks):
        if mask is None or not mask.any():
            continue
        if mask.shape != frame.shape[:2]:
            raise ValueError(f"mask of shape {mask.shape} on a frame of shape {frame.shape[:2]}")
        color = np.array(object_color(index), dtype=np.float32)
        image[mask] = np.round((1 - alpha) * image[mask] + alpha * color).astype(np.uint8)
        image[mask_contour(mask, width)] = color.astype(np.uint8)
    return image


def draw_boxes(
    frame: np.ndarray,
    boxes_xyxy_px: Sequence[Sequence[float] | None],
    labels: Sequence[str] = (),
    points_px: Sequence[Sequence[tuple[float, float]]] = (),
) -> np.ndarray:
    """Draws one box per object on a frame, with its label beside it, and points as dots.

    Args:
        frame: an ``(H, W, 3)`` uint8 RGB frame, which is left as it is
        boxes_xyxy_px: a ``(x0, y0, x1, y1)`` box in pixels of the frame per object, or None
        labels: a label per object
        points_px (()): ``(x, y)`` points in pixels of the frame per object

    Returns:
        an ``(H, W, 3)`` uint8 RGB image
    """
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    width = max(2, round(min(image.size) / 160))
    font = _font(max(11, round(min(image.size) / 24)))
    for index, box in enumerate(boxes_xyxy_px):
        color = object_color(index)
        points = points_px[index] if index < len(points_px) else ()
        for x, y in points:
            dot = (x - 2 * width, y - 2 * width, x + 2 * width, y + 2 * width)
            draw.ellipse(dot, fill=color, outline=(255, 255, 255), width=max(1, width // 2))
        if box is None and not len(points):
            continue
        around = (*points[0], *points[0]) if box is None else box
        x0, y0, x1, y1 = (round(float(v)) for v in around)
        if box is not None:
            # PIL counts the far corner as part of the rectangle and refuses one that lies before.
            draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=color, width=width)
        label = labels[index] if index < len(labels) else ""
        if label:
            _draw_label(draw, image.size, label, (x0, y0, x1, y1), color, font)
    return np.asarray(image)


def frame_strip(
    frames: Sequence[np.ndarray],
    captions: Sequence[str],
    chosen: int | None = None,
    columns: int = 8,
) -> np.ndarray:
    """Lays frames out in rows, each with a caption, one of them marked.

    Args:
        frames: ``(H, W, 3)`` uint8 RGB frames, at least one, all of one size
        captions: a caption per frame
        chosen (None): the position of the frame to mark
        columns (8): how many frames there are in a row

    Returns:
        an ``(H, W, 3)`` uint8 RGB image
    """
    height, width = frames[0].shape[:2]
    gap = max(4, width // 32)
    font = _font(max(11, width // 10))
    columns = min(columns, len(frames))
    rows = math.ceil(len(frames) / columns)
    cell_width, cell_height = width + 2 * gap, height + 2 * gap
    image = Image.new("RGB", (columns * cell_width, rows * cell_height), (40, 40, 40))
    draw = ImageDraw.Draw(image)
    for k, frame in enumerate(frames):
        x, y = k % columns * cell_width, k // columns * cell_height
        color = object_color(0) if k == chosen else (90, 90, 90)
        if k == chosen:
            draw.rectangle((x, y, x + cell_width - 1, y + cell_height - 1), fill=color)
        image.paste(Image.fromarray(frame), (x + gap, y + gap))
        # At the foot of the frame: without an own line, the strip stays flat
        corner = (x + gap, y + gap + height, x + gap, y + gap + height)
        _draw_label(draw, image.size, captions[k], corner, color, font)
    return np.asarray(image)


def data_uri(image: np.ndarray, quality: int = 85) -> str:
    """Returns an ``(H, W, 3)`` uint8 RGB image as a JPEG in a ``data:`` address for browsers."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def png_uri(png: bytes) -> str:
    """Returns a PNG file as a ``data:`` address for browsers."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def text_tile(text: str, size: tuple[int, int]) -> np.ndarray:
    """Returns a plain ``(width, height)`` tile with a text, for where there is no picture."""
    image = Image.new("RGB", size, (235, 235, 235))
    font = _font(max(11, round(min(size) / 16)))
    middle = (size[0] / 2, size[1] / 2)
    ImageDraw.Draw(image).text(middle, text, (90, 90, 90), font, anchor="mm", align="center")
    return np.asarray(image)


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]], cell_width: int = 256, title: str = ""
) -> np.ndarray:
    """Lays images out in a grid, one captioned row per result.

    Args:
        rows: ``(caption, images)`` per row; images of any size, which keep their aspect ratio
        cell_width (256): the width of a cell in pixels
        title: a line above the grid

    Returns:
        an ``(H, W, 3)`` uint8 RGB image
    """
    gap, size = 6, max(12, cell_width // 18)
    font, line = _font(size), round(size * 1.4)
    columns = max((len(images) for _, images in rows), default=1)
    page_width = columns * (cell_width + gap) + gap
    # Pages are drawn in strips of known height, then stacked: no second pass over the layout.
    strips = [_text_strip([title], page_width, round(line * 1.6), _font(size + 4))] if title else []
    for caption, images in rows:
        per_line = max(20, page_width * 2 // size)
        lines = [part for text in caption.splitlines() for part in textwrap.wrap(text, per_line)]
        strips.append(_text_strip(lines, page_width, line, font))
        cells = [fit_width(image, cell_width) for image in images]
        height = max((cell.shape[0] for cell in cells), default=0)
        strip = np.full((height + 2 * gap, page_width, 3), 255, np.uint8)
        for column, cell in enumerate(cells):
            left = gap + column * (cell_width + gap)
            strip[: cell.shape[0], left : left + cell_width] = cell
        strips.append(strip)
    if not strips:
        return np.full((line, page_width, 3), 255, np.uint8)
    return np.concatenate(strips)


def save_png(path: str | Path, image: np.ndarray) -> None:
    """Writes an ``(H, W, 3)`` uint8 RGB image as a PNG, creating the directory."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def save_index_mask(
    path: str | Path, masks: Sequence[np.ndarray | None], size: tuple[int, int]
) -> None:
    """Writes the masks of one frame as one palette PNG, as DAVIS does.

    Args:
        path: the file to write
        masks: an ``(H, W)`` bool mask per object, or None; the first object lies on top
        size: the ``(width, height)`` of the frame in pixels

    The value of a pixel is 0 for the background and ``index + 1`` for an object.
    """
    if len(masks) > 255:
        raise ValueError(f"a palette PNG holds at most 255 objects, not {len(masks)}")
    values = np.zeros((size[1], size[0]), np.uint8)
    for index in reversed(range(len(masks))):
        mask = masks[index]
        if mask is not None:
            values[mask] = index + 1
    image = Image.fromarray(values)  # 8-bit grey; putpalette makes it a palette image
    image.putpalette(_palette())
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@functools.cache
def _palette() -> bytes:
    """Black for the background, and the color of each object."""
    return bytes([0, 0, 0, *(v for i in range(255) for v in object_color(i))])


def write_video(
    path: str | Path, frames: Iterable[tuple[float, np.ndarray]], fps: float = 25.0
) -> int:
    """Writes frames as an H.264 mp4 that any browser plays.

    Args:
        path: the file to write
        frames: ``(seconds, (H, W, 3) uint8 RGB)`` pairs, in order; each frame is shown from its
            own time on, so a variable frame rate is kept
        fps (25.0): the nominal frame rate, which tells how long the last frame is shown

    Returns:
        the number of frames written

    Raises:
        ValueError: if there are no frames
    """
    import av

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    stream, count, last = None, 0, -1
    with av.open(name_for_ffmpeg(path), "w", options={"movflags": "faststart"}) as container:
        for seconds, rgb in frames:
            rgb = _even(rgb)
            if stream is None:
                rate = Fraction(fps).limit_denominator(1001) if fps > 0 else Fraction(25)
                stream = container.add_stream("libx264", rate=rate)
                stream.height, stream.width = rgb.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
                stream.codec_context.time_base = _TIME_BASE
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            # Two frames with one time (they exist in the wild) would be refused by the muxer.
            last = max(last + 1, round(seconds / _TIME_BASE))
            frame.pts, frame.time_base = last, _TIME_BASE
            container.mux(stream.encode(frame))
            count += 1
        if stream is None:
            raise ValueError(f"no frames to write to {path}")
        container.mux(stream.encode(None))
    return count


def _even(rgb: np.ndarray) -> np.ndarray:
    """Repeats the last row or column where a side is odd, which 4:2:0 video cannot hold."""
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(rgb)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def fit_width(image: np.ndarray, width: int) -> np.ndarray:
    """Scales an ``(H, W, 3)`` uint8 RGB image to a width, and its height with it."""
    height = max(1, math.floor(image.shape[0] * width / image.shape[1] + 0.5))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _text_strip(lines: Sequence[str], width: int, line_height: int, font: Any) -> np.ndarray:
    image = Image.new("RGB", (width, line_height * len(lines) + line_height // 2), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for row, text in enumerate(lines):
        draw.text((8, line_height // 4 + row * line_height), text, fill=(20, 20, 20), font=font)
    return np.asarray(image)


def _draw_label(
    draw: Any,
    image_size: tuple[int, int],
    label: str,
    box: Sequence[float],
    color: Sequence[int],
    font: Any,
) -> None:
    """Writes a label above its box, or inside where there is no room above, within the image."""
    width, height = image_size
    x0, y0, _, _ = box
    pad = 3
    while len(label) > 4 and draw.textlength(label, font=font) > width - 2 * pad:
        label = label[:-4] + "..."
    left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
    w, h = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(0, x0), max(0, width - w))
    y = y0 - h if y0 - h >= 0 else min(max(0, y0), max(0, height - h))
    draw.rectangle((x, y, x + w - 1, y + h - 1), fill=color)
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 110
    ink = (0, 0, 0) if bright else (255, 255, 255)
    draw.text((x + pad - left, y + pad - top), label, fill=ink, font=font)
