"""What answering a query can want next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fiftyone_revseg.pipeline.found_objects import FoundObject
from fiftyone_revseg.reasoning.rolling import Talk


@dataclass(frozen=True)
class Ask:
    """A talk to lead; its result is sent back."""

    talk: Talk


@dataclass(frozen=True)
class Track:
    """Objects to track: their ``track`` or ``error`` is set then, and nothing is sent back."""

    objects: Sequence[FoundObject]
