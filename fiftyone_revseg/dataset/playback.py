"""What the App's player shows of a video, and whether that is what the labels are about.

FiftyOne's player knows a frame rate and no time stamps. To show frame n it seeks to the time
(n - 0.99) / rate, and at the time t it draws the labels of frame floor(t * rate) + 1 (FiftyOne
1.22). Where the frame rate varies, or the pictures start late, that is another frame than the
picture on the screen. Frame numbers of this package are exact, those that the App names are not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import fiftyone as fo
import fiftyone.core.metadata as fom
import numpy as np

from fiftyone_revseg.video import VideoError, browser_objections, open_video

#: What to do about a video that plays wrongly
ADVICE = "make copies that play right, with `revseg playable` or the operator `playable`"

# Containers round times, WebM and Matroska to milliseconds. What differs by no more than that is
# what the file means, though where it was sought to, a player may show the picture before
_ROUNDING = 0.0006  # seconds
_SOUGHT = 0.01  # of a frame: how far behind the beginning of a frame the player seeks
_NO_RATE = 30.0  # what the App takes where it cannot find the rate out


@dataclass(frozen=True)
class Playback:
    """How the App plays one video.

    Attributes:
        pictures: (N,) int; that the App shows for its frame n is the picture of frame
            ``pictures[n - 1]``, counted from 1
        sought: (N,) int; the same where frame n was sought, as far as the file rounds times, which
            does not count as wrong: the picture before may be shown
        cause: why others are shown, in words; "" if none are
        unplayable: what of the file browsers cannot play, in words; "" if they play it
    """

    pictures: np.ndarray = field(repr=False)
    sought: np.ndarray = field(repr=False)
    cause: str = ""
    unplayable: str = ""

    @property
    def rounded(self) -> int:
        """How many frames may show the picture before where they are sought."""
        return int(np.sum(self.sought != self.pictures))

    @cached_property
    def _off(self) -> np.ndarray:
        return self.pictures - np.arange(1, len(self.pictures) + 1)

    @property
    def frames_off(self) -> int:
        """By how many frames it is wrong where it is worst; negative if too early a picture."""
        return int(self._off[np.abs(self._off).argmax()]) if len(self._off) else 0

    @property
    def share_wrong(self) -> float:
        """The share of frames whose labels are drawn on another picture, from 0 to 1."""
        return float(np.mean(self._off != 0)) if len(self._off) else 0.0

    @property
    def problem(self) -> str:
        """What is wrong, in words; "" if nothing is."""
        if self.unplayable:
            return f"browsers cannot play {self.unplayable}"
        if not self.frames_off:
            return ""
        off = abs(self.frames_off)
        return (
            f"the App shows other pictures than those of the labels, up to {off} "
            f"frame{'s'[: off - 1]} off, on {max(1, round(100 * self.share_wrong))} % of the "
            f"frames, as {self.cause}"
        )

    def picture_of(self, number: int) -> int:
        """Returns the frame whose picture the App shows for its frame of that number."""
        return int(self.pictures[min(max(number, 1), len(self.pictures)) - 1])

    def picture_sought(self, number: int) -> int:
        """Returns the frame whose picture it may show instead where that frame was sought."""
        return int(self.sought[min(max(number, 1), len(self.sought)) - 1])


def pictures_shown(times: np.ndarray, rate: float, rounding: float = 0.0) -> np.ndarray:
    """Computes which pictures a player shows that knows no times, but only a frame rate.

    Args:
        times: (N,) the seconds on the player's clock from which on each frame is shown,
            increasing
        rate: frames per second, as the player was told
        rounding (0.0): by how many seconds the times may be late

    Returns:
        (N,) int64; the picture that is shown where frame n is sought is that of frame
        ``pictures[n - 1]``, counted from 1
    """
    sought = (np.arange(len(times)) + _SOUGHT) / rate
    shown = np.searchsorted(times, sought + rounding, side="right")
    return np.maximum(shown, 1).astype(np.int64)  # before the first picture, it is shown too


def measure_playback(filepath: str, metadata: Any = None) -> Playback:
    """Finds out how the App plays a video, from the times of its frames.

    Args:
        filepath: the path of the video
        metadata (None): the sample's :class:`fiftyone.core.metadata.VideoMetadata`; what it lacks
            the App reads from the file

    Returns:
        a :class:`Playback`

    Raises:
        VideoError: if the video cannot be read
    """
    known = [getattr(metadata, name, None) for name in ("frame_width", "frame_height")]
    rate = getattr(metadata, "frame_rate", None) if all(known) else None
    stamp = os.stat(filepath) if os.path.exists(filepath) else None
    return _measure(filepath, rate or None, stamp and (stamp.st_size, stamp.st_mtime_ns))


@lru_cache(maxsize=256)
def _measure(filepath: str, rate: float | None, stamp: Any) -> Playback:
    unplayable = browser_objections(filepath)
    with open_video(filepath) as video:
        times = video.times + video.start_offset
        average = video.fps
    if unplayable:
        own = np.arange(1, len(times) + 1)
        return Playback(own, own, unplayable=unplayable)
    told = rate or _read_rate(filepath)
    pictures = pictures_shown(times, told, _ROUNDING)
    return Playback(pictures, pictures_shown(times, told), _cause(times, told, average))


def _read_rate(filepath: str) -> float:
    try:
        return float(fom.VideoMetadata.build_for(filepath).frame_rate or _NO_RATE)
    except Exception:  # of many kinds; the App's server catches all of them, too
        return _NO_RATE


def _cause(times: np.ndarray, told: float, average: float) -> str:
    late = times[0]
    steady = pictures_shown(times - late, average, _ROUNDING)
    if np.any(steady != np.arange(1, len(times) + 1)):
        return "its frame rate varies"
    if np.any(pictures_shown(times - late, told, _ROUNDING) != steady):
        return f"FiftyOne takes its frame rate for {told:g}, and it is {average:g}"
    return f"its pictures start {late:.3g} s late"


def playback_of(sample: Any) -> Playback | None:
    """Measures how the App plays the video of a sample.

    Args:
        sample: a :class:`fiftyone.core.sample.Sample` or view of one

    Returns:
        a :class:`Playback`; None if it is no video, or cannot be read
    """
    if sample.media_type != fo.core.media.VIDEO:
        return None
    try:
        return measure_playback(sample.filepath, sample.metadata)
    except VideoError:
        return None
