"""Boundaries and their distances on masks that are one long integer each.

F asks, for every pixel of a boundary, whether the other boundary is near: a dilation by a disk,
which is most of the work of an evaluation. On integers, one shift or one "or" treats all pixels of
a mask at once, 30 at a time and without any loop in Python.

Bit ``x * stride + y`` is pixel (x, y). The columns come one after the other, as in COCO's
run-length encoding, so that runs become bits without an image in between. Each is followed by
zeros, at least as many as a mask is ever shifted up or down, which keeps the columns apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fiftyone_revseg.masks.rle import RLE


@dataclass(frozen=True)
class Part:
    """The part of a frame that is looked at, and the layout of its pixels in an integer.

    Attributes:
        left: the first column
        top: the first row
        columns: how many there are
        rows: how many there are
        stride: bits per column
    """

    left: int
    top: int
    columns: int
    rows: int
    stride: int

    @classmethod
    def around(cls, boxes: np.ndarray, size: tuple[int, int], radius: int) -> Part:
        """The part with both masks of a frame and their boundaries.

        A boundary reaches one pixel up and left of its mask. The one pixel down and right makes
        the mask's own last row a boundary, unless the frame ends there.

        Args:
            boxes: (2, 4) x, y, width, height around the masks, as COCO returns them
            size: the (width, height) of the frame
            radius: how far masks are to be dilated
        """
        x0, y0 = (int(v) for v in boxes[:, :2].min(axis=0))
        x1, y1 = (int(v) for v in (boxes[:, :2] + boxes[:, 2:]).max(axis=0))
        left, top = max(x0 - 1, 0), max(y0 - 1, 0)
        rows = min(y1 + 1, size[1]) - top
        return cls(left, top, min(x1 + 1, size[0]) - left, rows, rows + max(radius, 1))

    def pixels(self, rows: int) -> int:
        """All pixels of the first ``rows`` rows."""
        bits, columns = (1 << rows) - 1, 1
        while columns < self.columns:
            bits |= bits << columns * self.stride
            columns *= 2
        return bits & ((1 << self.columns * self.stride) - 1)


def mask_bits(rle: RLE, part: Part) -> int:
    """Returns the mask of an RLE that is not empty, all of which is within the part.

    Raises:
        ValueError: if its runs do not add up to its size
    """
    height = rle["size"][0]
    ends = np.cumsum(checked_runs(rle))
    # Runs of zeros and of ones take turns. The last of the zeros has none after it
    starts, ends = ends[:-1:2], ends[1::2]
    filled = ends > starts
    starts, last = starts[filled], ends[filled] - 1
    starts = (starts // height - part.left) * part.stride + starts % height - part.top
    ends = (last // height - part.left) * part.stride + last % height - part.top + 1
    # What is set from s to e is 2^e - 2^s
    bits = _with_bits(ends, part) - _with_bits(starts, part)
    if part.rows == height:  # runs may go on in the next column, and across the zeros between
        bits &= part.pixels(part.rows)
    return bits


def checked_runs(rle: RLE) -> np.ndarray:
    """Returns the lengths of a mask's runs, zeros first.

    Other code may not be given what this has not seen: pycocotools goes on forever when it joins
    masks whose runs do not add up to their size.

    Raises:
        ValueError: if they do not add up
    """
    height, width = rle["size"]
    lengths = _run_lengths(rle["counts"])
    if lengths.min() < 0 or lengths.sum() != height * width:
        raise ValueError(
            f"the runs of a mask of {[height, width]} (h, w) are not those of its size"
        )
    return lengths


def boundary_bits(mask: int, part: Part) -> int:
    """Marks the pixels whose right, lower or lower right neighbour is of the other kind."""
    upper = part.pixels(part.rows - 1)  # all but the last row, and the last column
    lefter = (1 << (part.columns - 1) * part.stride) - 1
    edges = (mask ^ (mask >> 1)) & upper
    edges |= (mask ^ (mask >> part.stride)) & lefter
    return edges | ((mask ^ (mask >> part.stride + 1)) & upper & lefter)


def dilate_bits(bits: int, part: Part, radius: int) -> int:
    """Adds all pixels within ``radius`` of a pixel; it also sets bits between the columns.

    A disk is made of vertical pairs of horizontal lines: the shorter ones are made on the way to
    the longer ones.
    """
    disk, line, reach = 0, bits, 0
    for dy in range(radius, -1, -1):
        half = math.isqrt(radius**2 - dy**2)
        while reach < half:
            # A line of reach r, moved by up to 2r + 1 to both sides, leaves no gap
            step = min(half - reach, 2 * reach + 1)
            line |= (line << step * part.stride) | (line >> step * part.stride)
            reach += step
        disk |= (line << dy) | (line >> dy)
    return disk


def f_of_bits(pred: int, gt: int, part: Part, radius: int) -> float:
    """Computes F of two masks that both have a boundary."""
    pred, gt = boundary_bits(pred, part), boundary_bits(gt, part)
    precision = (pred & dilate_bits(gt, part, radius)).bit_count() / pred.bit_count()
    recall = (gt & dilate_bits(pred, part, radius)).bit_count() / gt.bit_count()
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def tolerance_radius(size: tuple[int, int], tolerance: float = 0.008) -> int:
    """Returns within how many pixels boundaries match, in frames of ``size`` (width, height)."""
    return int(np.ceil(tolerance * np.linalg.norm(size[::-1])))


def _with_bits(positions: np.ndarray, part: Part) -> int:
    size = part.columns * part.stride // 8 + 1
    # No two positions are the same, so that the sum in a byte is an "or"
    filled = np.bincount(positions >> 3, 1 << (positions & 7), size)
    return int.from_bytes(filled.astype(np.uint8).tobytes(), "little")


def _run_lengths(counts: str | bytes) -> np.ndarray:
    """Reads COCO's compressed counts: the lengths of the runs, zeros first.

    Each number is written in groups of 5 bits, lowest first, in characters from "0" on; bit 5 says
    that another one follows, and bit 4 of the last is the sign. From the fourth number on, it is
    the difference to the one two before.
    """
    text = counts.encode("ascii") if isinstance(counts, str) else counts
    groups = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(groups & 32 == 0)
    if not len(last) or last[-1] != len(groups) - 1:
        raise ValueError("the runs of a mask end within a number")
    first = np.concatenate(([0], last[:-1] + 1))
    if (last - first).max() > 6:  # more than 35 bits, which readers take for other numbers
        raise ValueError("the runs of a mask have a number that is larger than any mask")
    place = np.arange(len(groups)) - np.repeat(first, last - first + 1)
    numbers = np.add.reduceat((groups & 31) << 5 * place, first)
    numbers -= (groups[last] & 16) << 5 * (last - first) + 1
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
