"""MeViS: queries about motion, often for several objects (Ding et al., ICCV 2023)."""

from __future__ import annotations

from fiftyone_revseg.evaluation.benchmarks.layout import IMAGES, META
from fiftyone_revseg.evaluation.benchmarks.mask_dictionary import MASKS, MaskDictionaryBenchmark


class Mevis(MaskDictionaryBenchmark):
    """MeViS, and whatever else is written in its layout.

    Each split is a folder of its own. "valid" has no masks: only a server can score it.
    """

    name = "mevis"
    default_split = "valid_u"
    protocol = "J&F of the union of all objects, mean over expressions"
    layout = f"SPLIT/{META}, SPLIT/{IMAGES}/VIDEO/*.jpg, SPLIT/{MASKS} (not for valid)"
    truth = f"{{split}}/{MASKS}"
    server = ("valid", "test")
