"""Numbers: how well predicted masks agree with the true ones."""

from fiftyone_revseg.evaluation.metrics import (
    boundaries,
    contour_accuracy,
    j_and_f,
    region_similarity,
)

__all__ = ["boundaries", "contour_accuracy", "j_and_f", "region_similarity"]
