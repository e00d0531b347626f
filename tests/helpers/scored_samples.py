"""Samples whose masks are given, without a video: what an evaluation reads, and nothing else."""

from __future__ import annotations

import fiftyone as fo
import numpy as np

from fiftyone_revseg.dataset.expressions import expression_values

WIDTH, HEIGHT, FRAMES = 32, 24, 4
NOTHING = np.zeros((FRAMES, HEIGHT, WIDTH), bool)


def box(x0, y0, x1, y1, frames=range(FRAMES)):
    """(T, H, W) bool, a rectangle on some of the frames."""
    masks = NOTHING.copy()
    masks[list(frames), y0:y1, x0:x1] = True
    return masks


def make_sample(
    name="video",
    truth=None,
    expressions=None,
    predicted=None,
    field="revseg",
    answers=True,
    **values,
):
    """A sample with masks.

    Args:
        name: of the video
        truth: index -> masks; None for no truth at all
        expressions: the sample's expressions
        predicted: query -> masks, or a list with (masks, confidence) of each object; a query of
            None for detections that do not say
        field: the label field with the predictions
        answers: whether there is a field with answers; or query -> status
        **values: further fields
    """
    if expressions is not None:
        values.update(expression_values(expressions))
    metadata = fo.VideoMetadata(
        frame_width=WIDTH, frame_height=HEIGHT, total_frame_count=FRAMES, frame_rate=10
    )
    sample = fo.Sample(f"/nowhere/{name}.mp4", metadata=metadata, **values)
    for k in range(FRAMES):
        frame = fo.Frame()
        if truth is not None:
            frame["ground_truth"] = fo.Detections(
                detections=[
                    detection(masks[k], label=f"object {index}", index=index)
                    for index, masks in truth.items()
                    if masks[k].any()
                ]
            )
        if predicted is not None:
            found = []
            for query, objects in predicted.items():
                objects = [(objects, None)] if isinstance(objects, np.ndarray) else objects
                named = {} if query is None else {"query": query}
                found += [
                    detection(masks[k], label="it", confidence=confidence, **named)
                    for masks, confidence in objects
                    if masks[k].any()
                ]
            frame[field] = fo.Detections(detections=found)
        sample.frames[k + 1] = frame
    if predicted is not None and answers:
        said = dict.fromkeys(predicted, "ok") if answers is True else answers
        sample[f"{field}_answers"] = fo.Classifications(
            classifications=[
                fo.Classification(label=s, query=q, status=s, reason="", model="a model")
                for q, s in said.items()
            ]
        )
    return sample


def detection(mask, **attributes):
    label = attributes.pop("label")
    found = fo.Detection.from_mask(mask, label=label)
    for name, value in attributes.items():
        found[name] = value
    return found
