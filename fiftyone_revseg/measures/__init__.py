"""How good masks and replies are, in numbers: J, F, rewards. Nothing here knows FiftyOne."""

from fiftyone_revseg.measures.metrics import (
    boundaries,
    contour_accuracy,
    j_and_f,
    region_similarity,
)

__all__ = ["boundaries", "contour_accuracy", "j_and_f", "region_similarity"]
