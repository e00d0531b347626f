"""Masks as files beside the database, on request."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from fiftyone_revseg.dataset.jobs import Job
from fiftyone_revseg.dataset.labels import SampleLabels


class MaskFiles:
    """Writes masks to ``<directory>/<video>/<frame>_<object>.png``.

    A file holds the part of the mask inside of the detection's box, 255 where the object is, as
    FiftyOne expects it. Frames are numbered from 1.

    Args:
        directory: where the folders of the videos go
        filepaths: the paths of all videos of the dataset: of those that have the same name, the
            folders get the sample's id, too
    """

    def __init__(self, directory: str | Path, filepaths: Iterable[str]):
        self._directory = Path(directory).expanduser().absolute()
        self._names = Counter(_stem(path) for path in filepaths)

    def folder(self, job: Job) -> Path:
        """Returns the folder for the masks of a job."""
        name = _stem(job.filepath)
        # A group of images has no name of its own, and that of its first image is no video's
        shared = self._names[name] > 1 or job.images
        return self._directory / (f"{name}-{job.sample_id}" if shared else name)

    def move_out(self, job: Job, labels: SampleLabels) -> None:
        """Moves the masks of labels from memory to files, and removes those of earlier results.

        Args:
            job: the :class:`fiftyone_revseg.dataset.jobs.Job`
            labels: its :class:`fiftyone_revseg.dataset.labels.SampleLabels`; its detections then
                have a ``mask_path`` instead of a ``mask``

        Raises:
            OSError: if a file cannot be written
        """
        folder = self.folder(job)
        written = set()
        for number, detections in labels.frames.items():
            for detection in detections.detections:
                path = folder / f"{number:06d}_{detection.index}.png"
                folder.mkdir(parents=True, exist_ok=True)
                _save(path, detection.mask)
                detection.mask = None
                detection.mask_path = str(path)
                written.add(path.name)
        for path in folder.glob("*.png") if folder.is_dir() else ():
            match = re.fullmatch(r"(\d{6,})_\d+\.png", path.name)
            if match and path.name not in written and _is_in(int(match[1]), job):
                path.unlink()


def _is_in(number: int, job: Job) -> bool:
    return job.support is None or job.support[0] <= number <= job.support[1]


def _stem(filepath: str) -> str:
    path = Path(filepath)
    # Of a pattern such as "walk/%05d.jpg", the folder has the name
    return path.parent.name if "%" in path.name else path.stem


def _save(path: Path, mask: np.ndarray) -> None:
    """Writes a mask so that the file is whole or not there."""
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        Image.fromarray(mask.astype(np.uint8) * 255).save(partial, format="PNG")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
