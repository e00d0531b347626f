"""Masks: SAM2 driven frame by frame from the key frame, both ways, into compact mask tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names

if TYPE_CHECKING:
    from fiftyone_revseg.masks.mask_track import MaskTrack
    from fiftyone_revseg.masks.rle import RLE, decode_masks, encode_masks
    from fiftyone_revseg.tracking.both_ways import track_both_ways
    from fiftyone_revseg.tracking.checkpoints import CheckpointError
    from fiftyone_revseg.tracking.load import load_tracker
    from fiftyone_revseg.tracking.sam2_tracker import Sam2Tracker
    from fiftyone_revseg.tracking.several_boxes import track_prompts
    from fiftyone_revseg.tracking.tracker import FrameMasks, Tracker
    from fiftyone_revseg.tracking.transformers_tracker import TransformersTracker

__getattr__, __dir__, __all__ = lazy_names(__name__)
