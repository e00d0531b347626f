"""Pursuits through videos of noise, and what comes of them."""

import numpy as np
import torch
from pocket_tracker import HEIGHT, WIDTH, pocket_config

from fiftyone_revseg.tracking import Sam2Tracker
from fiftyone_revseg.tracking.checkpoints import build_model
from fiftyone_revseg.tracking.lockstep import Ended

ONE = np.array([[5, 5, 30, 35]], np.float32)
TWO = np.array([[5, 5, 30, 35], [30, 10, 55, 30]], np.float32)


class Noise:
    """A video of noise of which one frame may not decode."""

    size = (WIDTH, HEIGHT)

    def __init__(self, count, seed=0, breaks_at=None):
        self.count, self.seed, self.breaks_at = count, seed, breaks_at
        self.given = []

    def __len__(self):
        return self.count

    def walk(self, start, step=1):
        for k in range(start, self.count if step > 0 else -1, step):
            if k == self.breaks_at:
                raise OSError("a scratch")
            self.given.append(k)
            rng = np.random.default_rng((self.seed, k))
            yield k, rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


def follow(lockstep, pursuits):
    """Masks by pursuit and frame, and how each pursuit ended."""
    lockstep.add(pursuits)
    found, ended = [{} for _ in pursuits], {}
    while len(ended) < len(pursuits):
        for result in lockstep.step():
            i = pursuits.index(result.pursuit)
            if isinstance(result, Ended):
                assert i not in ended
                assert result.frames == len(found[i])
                ended[i] = result.error
            else:
                assert result.frame not in found[i]
                found[i][result.frame] = result.encode()
    assert lockstep.count == 0
    return found, ended


def aged_tracker():
    """As the official models of SAM2.1, it tells the model how old the key frame is."""
    torch.manual_seed(0)
    config = pocket_config() | {
        "add_tpos_enc_to_obj_ptrs": True,
        "proj_tpos_enc_in_obj_ptrs": True,
        "use_signed_tpos_enc_to_obj_ptrs": True,
    }
    model = build_model(config)
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(50.0)
    return Sam2Tracker(model, device="cpu")
