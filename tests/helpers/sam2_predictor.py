"""sam2's own predictor with the weights of a tracker of ours."""

import torch

from fiftyone_revseg.tracking import Sam2Tracker
from fiftyone_revseg.tracking.checkpoints import build_model


def tracker_and_predictor(config: dict):
    """Our tracker and sam2's predictor with one set of random weights, no object ever hidden."""
    from hydra.utils import instantiate

    torch.manual_seed(0)
    model = build_model(config)
    with torch.no_grad():
        # Initial weights are so small that every mask is nearly flat: make the frames matter.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.5)
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(50.0)
    target = "sam2.sam2_video_predictor.SAM2VideoPredictor"
    predictor = instantiate({**config, "_target_": target}, _recursive_=True)
    predictor.load_state_dict(model.state_dict())
    return Sam2Tracker(model, device="cpu"), predictor.eval()
