"""Frames beside the key frame of which is known where the objects are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.tracking.prompts import checked_prompts

if TYPE_CHECKING:
    from fiftyone_revseg.tracking.memory import StepOutput

Known = tuple[int, np.ndarray]  # the frame's number, prompts as those of the key frame


@dataclass(frozen=True, eq=False)
class KnownFrame:
    """A known frame with its picture, as a tracker takes it.

    Attributes:
        frame: the frame's number in its video, 0-based
        image: (H, W, 3) uint8 RGB
        prompts: of the same objects as those of the key frame, in the same order
    """

    frame: int
    image: np.ndarray
    prompts: np.ndarray


@dataclass(frozen=True, eq=False)
class Anchor:
    """What a model made of a known frame.

    It is tracked as the key frame of a memory of its own, which sees nothing else: so it can join
    any walk's memory, and is the answer where a walk comes to that frame.

    Attributes:
        frame: the frame's number in its video, 0-based
        memory: the memory that holds nothing else
        out: what was found in it
    """

    frame: int
    memory: Any
    out: StepOutput


def join_anchors(memory: Any, anchors: Sequence[Anchor], key_frame: int, step: int) -> None:
    """Lets a walk's memory know anchors, before its first step after the key frame.

    A memory tells frames by their distance in the direction of the walk: what lies the other way
    is before its key frame.

    Args:
        memory: the walk's memory, at its key frame
        anchors: what is known beside it
        key_frame: the key frame's number
        step: 1 or -1, the direction of the walk
    """
    for anchor in anchors:
        memory.join(anchor.memory, step * (anchor.frame - key_frame))


def check_known(known: Sequence[Known], key_frame: int, prompts: np.ndarray) -> None:
    """Checks what is known beside the key frame.

    Raises:
        ValueError: if a frame is given twice, or its prompts are not such of the same objects
    """
    frames = [key_frame]
    for frame, given in known:
        if frame in frames:
            raise ValueError(f"frame {frame} is given twice: give one prompt for each object in it")
        frames.append(frame)
        count = len(checked_prompts(given))
        if count != len(prompts):
            raise ValueError(
                f"frame {frame} has prompts of {count} objects, the key frame of {len(prompts)}: "
                "give the same objects in both"
            )
