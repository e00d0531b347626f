"""SAM2 with random weights, quick enough for thousands of frames."""

import numpy as np
import torch

from fiftyone_revseg.tracking import Sam2Tracker
from fiftyone_revseg.tracking.checkpoints import EMBEDDED, build_model, read_config

NANO = EMBEDDED / "sam2-nano" / "config.yaml"


WIDTH, HEIGHT = 60, 40


BOXES = np.array([[5, 5, 30, 35], [30, 10, 55, 30]], np.float32)


def pocket_config() -> dict:
    """Nano at 64 pixels, quick enough for thousands of frames."""
    config = read_config(NANO)
    config["image_size"] = 64
    config["image_encoder"]["trunk"] |= {"window_spec": [8, 4, 4, 2]}
    for attention in ("self_attention", "cross_attention"):
        config["memory_attention"]["layer"][attention]["feat_sizes"] = [4, 4]
    return config


def pocket_tracker(object_score: float = 50.0, **options) -> Sam2Tracker:
    """Random weights that always (or never) see the object."""
    torch.manual_seed(0)
    model = build_model(pocket_config())
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(object_score)
    return Sam2Tracker(model, device="cpu", **options)


def noise(count: int, start: int = 0):
    for k in range(start, start + count):
        yield k, np.random.default_rng(k).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
