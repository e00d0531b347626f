"""Folders of images as mp4 files, for the App, which can play these only."""

from __future__ import annotations

import os
from pathlib import Path

from fiftyone_revseg.evaluation.benchmarks.layout import BenchmarkVideo, BrokenVideoError
from fiftyone_revseg.video.images import DEFAULT_FPS


def encode_video(video: BenchmarkVideo, directory: str | Path) -> str:
    """Writes the images of a video as an mp4 file, a frame for each; keeps what is there.

    Args:
        video: the video
        directory: where to write; the slashes of the video's name become folders

    Returns:
        the path of the file

    Raises:
        BrokenVideoError: if an image cannot be read, or one has an odd side
    """
    from fiftyone_revseg.pictures import write_video
    from fiftyone_revseg.video import VideoError, open_video

    if video.size[0] % 2 or video.size[1] % 2:
        raise BrokenVideoError(
            f"Video '{video.name}' is {video.size[0]} x {video.size[1]} pixels, and a video file"
            " cannot have odd sides: import it without a folder for videos"
        )
    path = Path(os.path.abspath(directory)) / f"{video.name}.mp4"
    if path.exists():
        return str(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial.mp4")
    try:
        with open_video(list(video.images)) as images:
            write_video(partial, ((k / DEFAULT_FPS, frame) for k, frame in images.walk(0)))
    except VideoError as error:
        raise BrokenVideoError(f"Video '{video.name}': {error}") from error
    os.replace(partial, path)
    return str(path)
