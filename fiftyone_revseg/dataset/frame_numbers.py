"""Frame numbers: the one place where indices, from 0, and FiftyOne's numbers, from 1, meet.

A support is the first and the last frame number of a part of a video; None stands for the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Support = tuple[int, int]


def number_of(index: int, first_frame: int = 0) -> int:
    """Returns the number of a frame in its file.

    Args:
        index: the frame in the video or clip, 0-based
        first_frame (0): the index in the file of the clip's first frame
    """
    return first_frame + index + 1


def index_of(number: int, first_frame: int = 0) -> int:
    """Returns the 0-based index in the video or clip of the frame with this number in its file."""
    return number - 1 - first_frame


def numbers_of(frame_range: tuple[int, int]) -> range:
    """Returns the numbers of a 0-based, half-open range of frames."""
    return range(number_of(frame_range[0]), number_of(frame_range[1]))


def frame_range_of(support: Sequence[int]) -> tuple[int, int]:
    """Returns the 0-based, half-open range of the frames of a support."""
    return index_of(support[0]), index_of(support[1]) + 1


def is_within(number: int, support: Sequence[int] | None) -> bool:
    """Returns whether a frame is one of a support."""
    return support is None or support[0] <= number <= support[1]


def numbers_within(numbers: Iterable[int], support: Sequence[int] | None) -> list[int]:
    """Returns those frame numbers that are in a support."""
    return [number for number in numbers if is_within(number, support)]


def overlap(one: Sequence[int] | None, other: Sequence[int] | None) -> bool:
    """Returns whether two supports have a frame in common."""
    return one is None or other is None or (one[0] <= other[1] and other[0] <= one[1])
