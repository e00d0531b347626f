"""Masks as files beside the database, on request.

A file belongs to one sample and to one run, which its path names, and so to one dataset and one
label field: others may use the same folder. Nothing is ever written over another file. Those of an
earlier result go when the new one is in the database.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import fiftyone as fo
import fiftyone.core.labels as fol
import numpy as np
from fiftyone.core.odm import get_db_conn
from PIL import Image

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import VideoRef
from fiftyone_revseg.dataset.frame_numbers import is_within
from fiftyone_revseg.dataset.registered_runs import list_registered
from fiftyone_revseg.files.names import safe_name

#: In a run's record: the folder in which its own folder of masks is
MASKS_FOLDER = "masks_folder"


class MaskFiles:
    """Writes masks to ``<folder>/<video>-<sample id>/<frame>_<object>.png``.

    Those of a clip are in a folder of their own in there, ``<first>-<last>``. A file holds the part
    of the mask inside of the detection's box, 255 where the object is, as FiftyOne expects it.
    Frames are numbered from 1.

    Args:
        folder: the run's own
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def move_out(self, video: VideoRef, number: int, detections: fol.Detections) -> None:
        """Moves the masks of a frame from memory to files.

        Args:
            video: the :class:`fiftyone_revseg.dataset.collection.VideoRef`
            number: the frame number
            detections: the :class:`fiftyone.core.labels.Detections` of the frame, which then have
                a ``mask_path`` instead of a ``mask``

        Raises:
            OSError: if a file cannot be written
        """
        folder = self._folder / _name(video)
        if video.support is not None:
            folder /= "{:06d}-{:06d}".format(*video.support)
        for detection in detections.detections:
            path = folder / f"{number:06d}_{detection.index}.png"
            folder.mkdir(parents=True, exist_ok=True)
            _save(path, detection.mask)
            detection.mask = None
            detection.mask_path = str(path)


class ReplacedMaskFiles:
    """Removes the files of results that have been replaced, and of runs that were killed.

    Only files of runs into this label field of this dataset go, of the very sample that was
    written, and no label of the sample may refer to them any more. A clone of the dataset refers to
    the same files, so those of runs that a clone remembers, too, stay.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        method: the kind of run
        label_field: the label field
        run_key: the run that is at work
    """

    def __init__(self, dataset: fo.Dataset, method: str, label_field: str, run_key: str):
        self._dataset = dataset
        others = {"_id": {"$ne": store.dataset_id(dataset)}}
        found = get_db_conn().datasets.find(others, {"runs": True})
        shared = {key for other in found for key in other.get("runs") or ()}
        self._folders = [
            Path(run[MASKS_FOLDER], run["run_key"])
            for run in list_registered(dataset, method)
            if run.get(MASKS_FOLDER)
            and run["label_field"] == label_field
            and run["run_key"] not in shared
            and (not run["alive"] or run["run_key"] == run_key)
        ]

    def remove(self, video: VideoRef) -> None:
        """Removes the files of a video's earlier results.

        Args:
            video: the :class:`fiftyone_revseg.dataset.collection.VideoRef`, whose labels are in the
                database
        """
        folders = [folder / _name(video) for folder in self._folders]
        found = [path for folder in folders for path in folder.rglob("*") if _is_of(path, video)]
        if not found:
            return
        used = set(self._paths_in_labels(video))
        of_dataset = {folder.parent for folder in self._folders}
        for path in found:
            if str(path) not in used:
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # one is not empty
                    for folder in path.parents:
                        folder.rmdir()
                        if folder in of_dataset:
                            break

    def _paths_in_labels(self, video: VideoRef) -> Iterator[str]:
        """The files that labels of the video's samples refer to, in whatever field."""
        of_frames = self._dataset.get_frame_field_schema() or {}
        schema = self._dataset.get_field_schema() if video.images else of_frames
        names = [k for k, v in schema.items() if getattr(v, "document_type", None) is fo.Detections]
        paths = [f"{name}.detections.mask_path" for name in names]
        for stored in video.documents.find(video.frames_within(None), paths):
            for name in names:
                for detection in (stored.get(name) or {}).get("detections", ()):
                    if detection.get("mask_path"):
                        yield detection["mask_path"]


def masks_folder(directory: str | Path, dataset: fo.Dataset) -> Path:
    """Returns the folder for the masks of a dataset's runs in the one that was asked for."""
    return Path(directory).expanduser().absolute() / safe_name(dataset.name)


def _name(video: VideoRef) -> str:
    path = Path(video.filepath)
    # Of a pattern such as "walk/%05d.jpg", the folder has the name
    stem = path.parent.name if "%" in path.name else path.stem
    return f"{safe_name(stem)}-{video.sample_id}"


def _is_of(path: Path, video: VideoRef) -> bool:
    match = re.fullmatch(r"(\d{6,})_\d+\.(png|\d+\.tmp)", path.name)
    if match is None:
        return False
    return is_within(int(match[1]), video.support)


def _save(path: Path, mask: np.ndarray) -> None:
    """Writes a mask so that the file is whole or not there."""
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        Image.fromarray(mask.astype(np.uint8) * 255).save(partial, format="PNG")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
