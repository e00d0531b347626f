"""MeViS: queries about motion, often for several objects (Ding et al., ICCV 2023)."""

from __future__ import annotations

from pathlib import Path

from fiftyone_revseg.evaluation.benchmarks.layout import IMAGES, META, LayoutError, subfolders
from fiftyone_revseg.evaluation.benchmarks.mask_dictionary import MASKS, MaskDictionaryBenchmark

_SERVER = ("valid", "test")  # splits whose masks only a server has


class Mevis(MaskDictionaryBenchmark):
    """MeViS, and whatever else is written in its layout.

    Each split is a folder of its own. "valid" has no masks: only a server can score it.
    """

    name = "mevis"
    default_split = "valid_u"
    protocol = "J&F of the union of all objects, mean over expressions"
    layout = f"SPLIT/{META}, SPLIT/{IMAGES}/VIDEO/*.jpg, SPLIT/{MASKS} (not for valid)"

    def splits(self) -> list[str]:
        """Lists the splits that are in the folder."""
        return subfolders(self.root, META)

    @property
    def meta_path(self) -> Path:
        """The path of the file with the expressions."""
        return self.root / self.split / META

    @property
    def images_root(self) -> Path:
        """The path of the folder with the images."""
        return self.root / self.split / IMAGES

    @property
    def has_truth(self) -> bool:
        """Whether the split has true masks.

        Raises:
            LayoutError: if it should have them, but their file is missing
        """
        there = self.masks_path.is_file()
        if not there and self.split not in _SERVER:
            raise LayoutError(f"There is no file '{self.masks_path}' with the masks")
        return there
