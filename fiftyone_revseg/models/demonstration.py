"""What has to be said of the embedded pair: it knows made-up videos, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

#: The names of the models that were trained on made-up videos only
DEMONSTRATIONS = ("revseg-nano", "sam2-nano")

#: Trackers that know boxes, and points within one, but no points alone: their masks are then wrong
#: about as often as right (mean IoU 0.50 from a point in the middle, 0.91 from a box)
WITHOUT_POINTS = ("sam2-nano",)

_KNOWS = "knows only made-up videos of moving shapes, such as revseg demo makes"
#: What to do about it
NEEDS = "real footage needs a model such as revseg-qwen2.5-vl-7b: see revseg models"


def demonstration_among(names: Iterable[str]) -> str | None:
    """Returns the first of some models' names that is one of :data:`DEMONSTRATIONS`, or None."""
    return next((name for name in names if name in DEMONSTRATIONS), None)


def caveat(name: str) -> str:
    """What is to be known of an answer of such a model on a video that is not known to be made up.

    Args:
        name: one of :data:`DEMONSTRATIONS`
    """
    return f"{name} {_KNOWS}, and this is not known to be one: on other videos answers mean nothing"


def notice(name: str, video: str) -> str:
    """What is to be known before such a model is asked about a video that may be real.

    Args:
        name: one of :data:`DEMONSTRATIONS`
        video: the name of the video
    """
    return (
        f"{name} is for demonstrations: it {_KNOWS}, and {video} is not known to be one. On other "
        f"videos its answers mean nothing; {NEEDS}"
    )


def afterwards(name: str, count: int) -> str:
    """What is to be known after such a model answered about videos that may be real.

    Args:
        name: one of :data:`DEMONSTRATIONS`
        count: how many of the videos are not known to be made up
    """
    return (
        f"{count} {'is' if count == 1 else 'are'} not known to be made up, and {name} knows "
        f"nothing else: answers mean nothing there; {NEEDS}"
    )
