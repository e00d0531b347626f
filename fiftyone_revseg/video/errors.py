"""The one error of this room."""

from __future__ import annotations


class VideoError(ValueError):
    """A video that cannot be read.

    Args:
        reason: one sentence that names the file, says what is wrong and what to do about it
    """

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason
