"""ReVOS: referring and reasoning queries, and some that nothing fits (Yan et al., ECCV 2024)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fiftyone_revseg.evaluation.benchmarks.layout import IMAGES, BrokenVideoError
from fiftyone_revseg.evaluation.benchmarks.mask_dictionary import (
    MASKS,
    JsonEntries,
    MaskDictionaryBenchmark,
)
from fiftyone_revseg.masks.rle import RLE

FOREGROUND = "mask_dict_foreground.json"
KINDS = ("referring", "reasoning", "no_target")  # by ``type_id``


class Revos(MaskDictionaryBenchmark):
    """ReVOS. Names of its videos contain slashes."""

    name = "revos"
    default_split = "valid"
    protocol = (
        "J&F as the plain mean of those of referring and reasoning expressions; robustness R on"
        " expressions without a target; missing predictions count as zero"
    )
    layout = (
        f"meta_expressions_SPLIT_.json, {IMAGES}/.../VIDEO/*.jpg, {MASKS},"
        f" {FOREGROUND} (for robustness)"
    )
    images = IMAGES
    truth = MASKS
    more_masks = ("foreground",)

    _all_objects: JsonEntries | None = None

    def splits(self) -> list[str]:
        """Lists the splits that are in the folder."""
        names = (path.name for path in self.root.glob("meta_expressions_*.json"))
        matches = (re.fullmatch(r"meta_expressions_(\w+?)_?\.json", name) for name in names)
        return sorted({match[1] for match in matches if match})

    @property
    def meta_path(self) -> Path:
        """The path of the file with the expressions."""
        path = self.root / f"meta_expressions_{self.split}_.json"
        return path if path.exists() else self.root / f"meta_expressions_{self.split}.json"

    @property
    def has_truth(self) -> bool:
        """Whether there are true masks: no split must have them."""
        return self.masks_path.is_file()

    def _kind(self, entry: Mapping[str, Any], objects: Sequence[int] | None) -> str:
        type_id = entry.get("type_id")
        if type_id not in (0, 1, 2):
            raise BrokenVideoError(
                f"'{self.meta_path}' has an expression of type_id {type_id!r}: it must be 0"
                " (referring), 1 (reasoning) or 2 (no target)"
            )
        return KINDS[type_id]

    def _foreground(self, name: str) -> list[RLE | None] | None:
        path = self.root / FOREGROUND
        if self._all_objects is None:
            if not path.is_file():
                return None
            self._all_objects = JsonEntries(path)
        entry = self._all_objects.get(name)
        if not isinstance(entry, dict) or "masks_rle" not in entry:
            raise BrokenVideoError(f"'{path}' has no 'masks_rle' for video '{name}'")
        masks: list[RLE | None] = entry["masks_rle"]
        return masks
