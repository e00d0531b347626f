"""How good masks and replies are, in numbers: J, F, rewards. Nothing here knows FiftyOne."""

from fiftyone_revseg.measures.metrics import contour_accuracy, j_and_f, region_similarity

__all__ = ["contour_accuracy", "j_and_f", "region_similarity"]
