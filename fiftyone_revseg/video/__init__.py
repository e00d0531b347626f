"""Frames in: open a video, clip or image sequence; read exactly frame k; walk both ways.

video = open_video("clip.mp4")
table = video.sample(16)                        # which frames stand for the whole video
images = video.frames(table.indices)            # list of (H, W, 3) uint8 RGB arrays
for k, frame in video.walk(len(video) - 1, step=-1):
    ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names

if TYPE_CHECKING:
    from fiftyone_revseg.prefetch import prefetch
    from fiftyone_revseg.video.browser import browser_objections
    from fiftyone_revseg.video.errors import VideoError
    from fiftyone_revseg.video.open import VideoExtent, open_video, video_extent
    from fiftyone_revseg.video.playable import PlayableCopy, check_playable, write_playable
    from fiftyone_revseg.video.sampling import uniform_indices
    from fiftyone_revseg.video.video import Video

__getattr__, __dir__, __all__ = lazy_names(__name__)
