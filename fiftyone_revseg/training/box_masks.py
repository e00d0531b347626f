"""Masks of boxes that a model answered, to reward them by how well the masks fit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fiftyone_revseg.reasoning.trajectory import Box
from fiftyone_revseg.tracking.tracker import Tracker
from fiftyone_revseg.training.data import Scene


class BoxMasks:
    """What a tracker makes of boxes in the key frame, where its tracks start.

    Args:
        tracker: which starts from boxes
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.best_iou = lru_cache(maxsize=8)(self._best_iou)  # a group often answers alike

    def _best_iou(self, scene: Scene, k: int, box_xyxy_px: Box) -> float:
        """Returns the IoU of a box's mask with the true mask that it fits best.

        Args:
            scene: with the true masks
            k: the index into the sampled frames
            box_xyxy_px: ``(x1, y1, x2, y2)`` in source pixels

        Raises:
            ValueError: if the scene has no masks
        """
        if scene.masks is None:
            raise ValueError("the true masks of this row are not known: reward its boxes instead")
        from pycocotools import mask as coco

        from fiftyone_revseg.masks.rle import encode_masks

        frame = (scene.frame_table.indices[k], scene.frames[k])
        (found,) = self._tracker.track([frame], np.array([box_xyxy_px], float))
        true = [rle for rle in encode_masks(scene.masks[:, k]) if rle is not None]
        if found.rles[0] is None or not true:
            return 0.0
        return float(coco.iou([found.rles[0]], true, [0] * len(true)).max())
