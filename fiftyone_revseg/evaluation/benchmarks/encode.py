"""Folders of images as mp4 files, for the App, which can play these only."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fiftyone_revseg.evaluation.benchmarks.layout import BenchmarkVideo, BrokenVideoError
from fiftyone_revseg.files import remove_leftovers, replacing
from fiftyone_revseg.files.names import safe_name
from fiftyone_revseg.masks.pictures import write_video
from fiftyone_revseg.video import Video, VideoError, open_video
from fiftyone_revseg.video.images import DEFAULT_FPS

# Of 255, as a mean over a picture: compression changes less, another picture of a video more
_DIFFERENCE = 12.0


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
    if video.size[0] % 2 or video.size[1] % 2:
        raise BrokenVideoError(
            f"Video '{video.name}' is {video.size[0]} x {video.size[1]} pixels, and a video file"
            " cannot have odd sides: import it without a folder for videos"
        )
    folders = [safe_name(part) for part in video.name.split("/")]
    path = Path(os.path.abspath(directory), *folders[:-1], f"{folders[-1]}.mp4")
    try:
        with open_video(list(video.images)) as images:
            if path.exists():
                remove_leftovers(path)
                _check_same(path, images, video.name)
                return str(path)
            with replacing(path) as partial:
                write_video(partial, ((k / DEFAULT_FPS, frame) for k, frame in images.walk(0)))
    except VideoError as error:
        raise BrokenVideoError(f"Video '{video.name}': {error}") from error
    return str(path)


def _check_same(path: Path, images: Video, name: str) -> None:
    """Raises an error if a file that is there is no mp4 file of a video's images."""
    try:
        with open_video(str(path)) as there:
            same = there.size == images.size and len(there) == len(images)
            for k in {0, len(images) // 2, len(images) - 1} if same else ():
                difference = there[k].astype(np.int16) - images[k]
                same = same and float(np.abs(difference).mean()) < _DIFFERENCE
    except VideoError:
        same = False
    if not same:
        raise BrokenVideoError(
            f"'{path}' is there already and does not show video '{name}': move it away, or give"
            " another folder for videos"
        )
