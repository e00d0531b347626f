"""LV-VIS as referring segmentation: categories as expressions (Wang et al., ICCV 2023)."""

from __future__ import annotations

from fiftyone_revseg.evaluation.benchmarks.layout import IMAGES, META
from fiftyone_revseg.evaluation.benchmarks.mask_dictionary import MASKS
from fiftyone_revseg.evaluation.benchmarks.mevis import Mevis


class LvVis(Mevis):
    """LV-VIS in the layout of MeViS, as it is used for training."""

    name = "lv-vis"
    default_split = "train"
    protocol = "J&F of the union of all objects, mean over expressions; for training, not reported"
    layout = f"train/{META}, train/{IMAGES}/VIDEO/*.jpg, train/{MASKS}"

    def _text(self, text: str) -> str:
        return text.replace("_", " ")  # "polar_bear" is a category's name, not how one asks
