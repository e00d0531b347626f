"""What a decoder has to offer, so that the rest of the room does not care which one it is."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Cursor(Protocol):
    """One reading position in a source; used by one thread at a time."""

    def read(self, k: int) -> Any:
        """Decodes frame ``k`` into a compact form, to be opened by :meth:`to_rgb`.

        Reading on within a group of pictures, or over its end into the next, decodes each frame
        once; everything else seeks.
        """

    def to_rgb(self, held: Any) -> np.ndarray:
        """Converts what :meth:`read` returned to an (H, W, 3) uint8 RGB array, if it is none."""
        return held

    def close(self) -> None:
        """Releases the file and the decoder, if they are kept open."""
        return


class Source(Protocol):
    """A file (or a list of images) whose frames are numbered.

    Attributes:
        path: what was opened
        size: the (width, height) of a frame in pixels, upright
        fps: average frames per second
        times: (N,) float array of the seconds at which the frames are shown, the first at 0
        start_offset: the seconds that a player's clock shows at the first frame
        key_frames: increasing frame numbers at which decoding can start; the first is 0
        frame_bytes: the bytes that one frame takes in the form that ``Cursor.read`` returns
        decoder: "decord", "pyav" or "images"
        remarks: what is wrong with the file and was made good, in words
        why: why this decoder and not the other, in words
    """

    path: str
    size: tuple[int, int]
    fps: float
    times: np.ndarray
    start_offset: float
    key_frames: np.ndarray
    frame_bytes: int
    decoder: str
    remarks: tuple[str, ...]
    why: str

    @property
    def broken(self) -> set[int]:
        """The numbers of the frames that were read and did not decode."""

    def open(self, forward: bool = False) -> Cursor:
        """Opens a new, independent cursor.

        Args:
            forward (False): whether it will only ever read on, frame by frame
        """
