"""The model's own mask logits, before a tracker makes masks of them."""

from fiftyone_revseg.tracking.prompts import checked_prompts


def track_logits(tracker, frames, boxes, known=()):
    """Yields the number and the (N, h, w) logits of every frame."""
    for k, _, logits, _ in tracker._logits(frames, checked_prompts(boxes), known):
        yield k, logits[:, 0].cpu().numpy()
