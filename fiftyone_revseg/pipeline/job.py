"""What is to be segmented: one video and the queries about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: ``progress(stage, done, total)``: stage is "decode", "reason" or "track"; done and total count
#: sampled frames, queries and frames walked, respectively
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EngineJob:
    """One video and what to ask about it.

    Attributes:
        video: the path of the video; or, of one whose frames are images, their paths in order
        queries: the queries
        frame_range (None): the 0-based, half-open range of frames to treat as the video
        key (None): what the caller knows the job by
    """

    video: str | Path | tuple[str, ...]
    queries: tuple[str, ...]
    frame_range: tuple[int, int] | None = None
    key: Any = None

    @property
    def path(self) -> str:
        """The path of the video, or of its first image."""
        return str(self.video[0] if isinstance(self.video, tuple) else self.video)
