"""The size of a video and the number of its frames: what its own index says, for every reader.

FiftyOne's metadata does not know that a phone was held upright, and takes duration times rate for
the number of frames. It counts only where the video itself is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.collection import VideoRef
from fiftyone_revseg.dataset.record import Record, records_of
from fiftyone_revseg.video import VideoError, video_extent
from fiftyone_revseg.video.diagnosis import check_frame_size

#: The most frames that a video is taken to have where it cannot be looked at itself: four days at
#: 30 frames per second. There may be a list of masks for each of them
MAX_FRAMES = 10_000_000

_GONE = "the video itself cannot be read, so its size and length are those of "
_RECORD, _METADATA = f"{_GONE}when it was segmented", f"{_GONE}FiftyOne's metadata"


@dataclass(frozen=True)
class Extent:
    """The size of a video and the number of its frames.

    Attributes:
        size: the (width, height) in pixels, upright
        count: the number of frames
        note: where that comes from, in words, if not from the video itself; else ""
    """

    size: tuple[int, int]
    count: int
    note: str = ""


class Extents:
    """Finds out the extents of the videos of one run, where each file is opened once."""

    def __init__(self) -> None:
        self._known: dict[str, Extent | str] = {}  # or why there is none

    def of(
        self,
        video: VideoRef,
        values: Mapping[str, Any],
        metadata: Callable[[], Any],
        last_labelled: Callable[[], int],
    ) -> Extent:
        """Returns the extent of a whole video.

        Args:
            video: the video, or the clip that it is wanted for
            values: the sample-level fields, with records of runs of this product if there are any
            metadata: returns the sample's metadata, or None
            last_labelled: returns the number of the last frame with labels, 0 if there is none

        Raises:
            VideoError: if the video cannot be read, and nothing else says what it was like
        """
        found, clip = self._opened(video), video.support
        if isinstance(found, Extent):
            return found
        for record in _records(values):
            told, count = record.source_size, record.frame_count
            if all(told) and count and (clip or not record.support):
                return Extent(told, max(count, clip[1] if clip else 0), _RECORD)
        size, count = _of_metadata(metadata())
        if size is None:
            raise VideoError(found)
        check_frame_size(video.filepath, *size)
        # Containers may promise too few frames, and labels beyond them must not be lost
        count = len(video.images) or max(count, last_labelled())
        if count > MAX_FRAMES:
            raise VideoError(
                f"{found}; and its metadata or labels say that it has {count} frames, more than"
                " any video: put the file back, or compute the metadata anew"
            )
        return Extent(size, count, _METADATA)

    def _opened(self, video: VideoRef) -> Extent | str:
        known = None if video.images else self._known.get(video.filepath)
        if known is not None:
            return known
        found: Extent | str
        try:
            own = video_extent(video.source)
            found = Extent(own.size, own.length)
        except (OSError, VideoError) as error:
            found = str(error)
        if not video.images:
            self._known[video.filepath] = found
        return found


def _of_metadata(metadata: Any) -> tuple[tuple[int, int] | None, int]:
    if isinstance(metadata, fo.VideoMetadata):
        width, height = metadata.frame_width, metadata.frame_height
        count = metadata.total_frame_count
    elif isinstance(metadata, fo.ImageMetadata):
        width, height, count = metadata.width, metadata.height, 1
    else:
        return None, 0
    if not (width and height and count) or min(width, height, count) < 1:
        return None, 0
    return (width, height), count


def _records(values: Mapping[str, Any]) -> Iterator[Record]:
    for name, value in values.items():
        if name.endswith("_trajectory"):
            yield from records_of(value)
