"""A pipeline of the published sizes with random weights, or the same in miniature.

The language model writes as many tokens as it may in each turn; its replies are then replaced by
readable ones (:mod:`full_size`), so that turn 2 and the tracker have their work. Masks mean
nothing.
"""

from __future__ import annotations

from pathlib import Path


def make_pipeline(device, new_tokens, tiny=False):
    """Qwen2.5-VL 7B and SAM2.1 large; ``tiny`` for models with which a CPU shows that it works."""
    from full_size import StandIn

    from fiftyone_revseg.pipeline import RevSeg

    reasoner = make_reasoner("tiny-qwen2.5-vl" if tiny else "qwen2.5-vl-7b", device)
    stand_in = StandIn(reasoner)
    stand_in.model = reasoner.model
    spec = reasoner.spec.replace(max_new_tokens=new_tokens)
    if tiny:
        spec = spec.replace(frames=3, frame_size=56)
    return RevSeg(stand_in, make_tracker(device, tiny), spec)


def make_reasoner(name, device):
    """A model that never ends a reply, made where it runs: gigabytes on a disk would take long."""
    import torch
    from random_weights import build
    from transformers import AutoModelForImageTextToText

    from fiftyone_revseg.models.devices import choose_device, choose_dtype
    from fiftyone_revseg.reasoning import LocalReasoner, family_spec
    from fiftyone_revseg.reasoning.local import _attention

    device = choose_device(device)
    dtype = choose_dtype(None, device)
    config, processor = build(name)
    torch.manual_seed(0)
    with device:
        model = AutoModelForImageTextToText.from_config(
            config, dtype=dtype, attn_implementation=_attention(device, dtype)
        )
    reasoner = LocalReasoner(model, processor, family_spec(config.model_type), f"{name} (random)")
    reasoner._stop = [2**30]  # no token of the model: every reply has the same length
    return reasoner


def make_tracker(device, tiny=False):
    """SAM2.1 large, or the embedded tracker's sizes; it always sees something."""
    import sam2
    import torch

    from fiftyone_revseg.tracking import Sam2Tracker
    from fiftyone_revseg.tracking.checkpoints import EMBEDDED, build_model, read_config

    name = "sam2.1-large (random)"
    config = Path(sam2.__file__).parent / "configs" / "sam2.1" / "sam2.1_hiera_l.yaml"
    if tiny:
        name, config = "sam2-nano (random)", EMBEDDED / "sam2-nano" / "config.yaml"
    torch.manual_seed(0)
    model = build_model(read_config(config)).eval()
    with torch.no_grad():  # or it would say that there is nothing to see
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(50.0)
    return Sam2Tracker(model, name, device)
