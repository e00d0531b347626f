"""Which frames stand for a whole video."""

from __future__ import annotations


def uniform_indices(length: int, count: int) -> tuple[int, ...]:
    """Spreads frames uniformly over a video, both ends included.

    Args:
        length: the number of frames of the video, at least 1
        count: the number of frames wanted, at least 1

    Returns:
        ``min(count, length)`` distinct, increasing frame numbers; the first is 0 and, if there
        are two or more, the last is ``length - 1``

    Raises:
        ValueError: if either number is less than 1
    """
    if length < 1 or count < 1:
        raise ValueError(f"cannot sample {count} frames of {length}: both must be at least 1")
    count = min(count, length)
    if count == 1:
        return (0,)
    # Integers only: i * (length - 1) / (count - 1), rounded half up. The steps are never shorter
    # than one frame, so no number occurs twice
    gaps = count - 1
    return tuple((2 * i * (length - 1) + gaps) // (2 * gaps) for i in range(count))
