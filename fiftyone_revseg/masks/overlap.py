"""How much tracks have in common, counted on run lengths."""

from __future__ import annotations

from collections.abc import Sequence

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import RLE, rle_areas


def union_of(rles: Sequence[RLE | None]) -> RLE | None:
    """Returns what any of several masks covers; None if there is no mask.

    Raises:
        ValueError: if their sizes differ
    """
    from pycocotools import mask as coco

    there = [rle for rle in rles if rle is not None]
    if len(there) < 2:
        return there[0] if there else None
    if any(rle["size"] != there[0]["size"] for rle in there):
        # pycocotools 2.0.11 returns a mask without pixels, and no error
        raise ValueError(f"masks of several sizes: {[rle['size'] for rle in there]}")
    merged = coco.merge(there)
    return {"size": list(there[0]["size"]), "counts": merged["counts"].decode("ascii")}


def video_iou(one: Sequence[MaskTrack], other: Sequence[MaskTrack]) -> float:
    """Returns the intersection over union of two groups of tracks through one video.

    Both are counted in pixels over all frames together, so that large masks weigh more than small
    ones.

    Args:
        one: tracks through a video; each frame counts what any of them covers
        other: others through the same one

    Returns:
        a value in [0, 1]; 1 if neither group covers anything
    """
    frames = max((track.frame_count for track in (*one, *other)), default=0)
    ones = [union_of([track.rles[k] for track in one]) for k in range(frames)]
    others = [union_of([track.rles[k] for track in other]) for k in range(frames)]
    both = [union_of(pair) for pair in zip(ones, others, strict=True)]
    union = int(rle_areas(both).sum())
    if not union:
        return 1.0
    return (int(rle_areas(ones).sum()) + int(rle_areas(others).sum()) - union) / union
