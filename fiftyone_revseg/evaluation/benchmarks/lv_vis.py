"""LV-VIS as referring segmentation: categories as expressions (Wang et al., ICCV 2023)."""

from __future__ import annotations

from fiftyone_revseg.evaluation.benchmarks.layout import IMAGES, META, LayoutError
from fiftyone_revseg.evaluation.benchmarks.mask_dictionary import MASKS
from fiftyone_revseg.evaluation.benchmarks.mevis import Mevis


class LvVis(Mevis):
    """LV-VIS in the layout of MeViS, as the authors of ReVOS made it for training.

    LV-VIS itself has categories, in the form of YouTube-VIS, and no expressions.
    """

    name = "lv-vis"
    default_split = "train"
    protocol = "J&F of the union of all objects, mean over expressions; for training, not reported"
    layout = f"train/{META}, train/{IMAGES}/VIDEO/*.jpg, train/{MASKS}"

    def splits(self) -> list[str]:
        """Lists the splits that are in the folder.

        Raises:
            LayoutError: if the folder holds LV-VIS itself
        """
        found = super().splits()
        original = sorted(self.root.rglob("*_instances*.json")) if not found else []
        if original:
            raise LayoutError(
                f"'{original[0]}' is LV-VIS in the form of YouTube-VIS, which has no expressions:"
                f" get {META} and {MASKS} of its conversion, see docs/benchmarks.md. Expected:"
                f" {self.layout}"
            )
        return found

    def _text(self, text: str) -> str:
        return text.replace("_", " ")  # "polar_bear" is a category's name, not how one asks
