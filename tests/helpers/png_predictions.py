"""Predictions as other methods leave them: a folder of PNGs, VIDEO/EXPRESSION/FRAME.png."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from miniatures import SIZE, Miniature
from PIL import Image


def predicted(video, k: int) -> np.ndarray:
    """(T, H, W) bool: something for the expression at position ``k``, unlike the others."""
    names = list(video.masks)
    return video.masks[names[k % len(names)]]


def write_predictions(miniature: Miniature, folder: Path, masks_of=None, skip=(), size=SIZE):
    """Writes a PNG for each frame of each expression; ``skip`` names "video/expression"."""
    for name, video in miniature.videos.items():
        for k, expression in enumerate(video.expressions):
            if f"{name}/{expression.id}" in skip:
                continue
            masks = masks_of(name, expression) if masks_of else predicted(video, k)
            target = folder / name / expression.id
            target.mkdir(parents=True)
            for frame, mask in zip(video.frame_names, masks, strict=True):
                picture = Image.fromarray(mask.astype(np.uint8) * 255)
                picture.resize(size, Image.Resampling.NEAREST).save(target / f"{frame}.png")
    return folder


def stored_masks(dataset, label_field: str) -> dict[tuple[str, str], np.ndarray]:
    """(video, query) -> (T, H, W) bool, as FiftyOne itself decodes what is stored."""
    found = {}
    for sample in dataset:
        shape = (len(sample.frame_names), SIZE[1], SIZE[0])
        for text in sample.queries:
            found[sample.video_name, text] = np.zeros(shape, bool)
        for number, frame in sample.frames.items():
            for detection in frame[label_field].detections:
                mask = detection.to_segmentation(frame_size=SIZE).mask > 0
                found[sample.video_name, detection.query][number - 1] |= mask
    return found
