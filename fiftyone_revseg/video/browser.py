"""Which video files a web browser plays."""

from __future__ import annotations

import os

from fiftyone_revseg.video.errors import VideoError
from fiftyone_revseg.video.images import is_image, is_pattern
from fiftyone_revseg.video.index import open_container

# What Chromium, Firefox and Safari have in common, and Matroska, which is WebM but for its name
_CONTAINERS = {"mp4", "webm"}
_CODECS = {"h264", "vp8", "vp9", "av1"}
_H264_PIXELS = {"yuv420p", "yuvj420p"}  # others are decoded in some browsers only


def browser_objections(path: str) -> str:
    """Says why web browsers cannot play a video file.

    Nothing is decoded. Some browsers play more than what is asked for here, HEVC for example.

    Args:
        path: the path of the file, or of a folder or a pattern of images

    Returns:
        what they cannot play, in words; "" if most of them play it

    Raises:
        VideoError: if it is no video
    """
    if os.path.isdir(path) or is_pattern(path) or is_image(path):
        return "images in place of a video file"
    if not os.path.exists(path):
        raise VideoError(f"there is no file {path}: check the path, and whether it was moved.")
    container, stream = open_container(path)
    with container:
        names = container.format.name.split(",")
        codec = stream.codec_context.codec.canonical_name
        pixels = stream.codec_context.pix_fmt
    if not _CONTAINERS & set(names):
        return f"files of the format {names[0]}"
    if codec not in _CODECS:
        return f"the codec {codec}"
    if codec == "h264" and pixels not in _H264_PIXELS:
        return f"H.264 with pixels as {pixels}"
    return ""
