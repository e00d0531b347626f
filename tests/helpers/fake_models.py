"""A model and a tracker whose answers are known, and small video files to ask them about."""

import json

import av
import numpy as np

from fiftyone_revseg.reasoning import ChainSpec, Reply
from fiftyone_revseg.tracking import FrameMasks, encode_masks

SPEC = ChainSpec(frames=4, frame_size=56, key_frame_size=100, retries=0)

# query -> (sampled frame, description, box in the 100 x 100 key frame), for ScriptedReasoner. Of a
# video of ten frames, those sampled are 0, 3, 6, 9
ANSWERS = {
    "the cat": [(1, "a grey cat", [25, 50, 75, 100])],
    "both": [(0, "a grey cat", [25, 50, 75, 100]), (3, "a dog", [0, 0, 50, 50])],
    "the ghost": [],
    "the blur": [(2, "a blur", None)],
}


def write_video(path, width, height, frames):
    """Writes an H.264 video at 10 frames per second that gets brighter."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(frames):
            image = np.full((height, width, 3), 200 * k // frames, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


class ScriptedReasoner:
    """Answers each query with the objects given: (sampled frame, description, box or None).

    Boxes are in pixels of the 100 x 100 key frame.
    """

    name = "scripted"
    spec = SPEC

    def __init__(self, answers):
        self.answers = answers
        self.batches = []

    def generate(self, conversations, spec):
        self.batches.append(len(conversations))
        return [Reply(self._reply(conversation)) for conversation in conversations]

    def _reply(self, conversation):
        first = next(m.text for m in conversation.messages if m.role == "user")
        objects = next(found for query, found in self.answers.items() if f'"{query}"' in first)
        if not any(m.role == "assistant" for m in conversation.messages):
            choices = [{"frame_idx": k, "object description": d} for k, d, _ in objects]
            return f"<think>thinking</think><answer>{json.dumps(choices)}</answer>"
        box = next(b for _, d, b in objects if f'"{d}"' in conversation.messages[-1].text)
        return "I cannot see it" if box is None else json.dumps([{"bbox_2d": box, "label": "x"}])


class BoxTracker:
    """Takes the box itself for the mask, in all frames but those in ``hidden``.

    Of points it takes the box around those that are on the object; a mask is the mask.
    """

    name = "box"

    def __init__(self, hidden=(), fails_at=None):
        self.hidden, self.fails_at = hidden, fails_at
        self.calls = []

    def track(self, frames, boxes, known=()):
        start = None
        for k, frame in frames:
            if start is None:
                start = k
                self.calls.append((k, np.asarray(boxes).tolist()))
            if k == self.fails_at:
                raise RuntimeError("out of memory")
            given = np.asarray(boxes)
            masks = np.stack([_fill(frame.shape[:2], one) for one in given])
            rles = encode_masks(masks & (k not in self.hidden))
            yield FrameMasks(frame=k, rles=rles, scores=np.full(len(boxes), 0.5))


def _fill(size, box):
    if box.dtype == bool:
        return box
    if box.ndim == 2:  # points with their labels: what is around those that are on the object
        on = box[box[:, 2] > 0, :2]
        box = np.concatenate([on.min(axis=0), on.max(axis=0) + (on.shape[0] == 1)])
    mask = np.zeros(size, bool)
    x1, y1, x2, y2 = (round(v) for v in box)
    mask[y1:y2, x1:x2] = True
    return mask
