"""A reasoner that answers from a script, and requests to feed to it."""

import numpy as np
import pytest

from fiftyone_revseg.reasoning import ChainRequest, ChainSpec, Reply
from fiftyone_revseg.types import FrameTable


class ScriptedReasoner:
    """Answers with ``script(conversation)``: a text, or an exception to raise for the batch."""

    name = "scripted"
    spec = ChainSpec(frames=4, frame_size=28, key_frame_size=56)

    def __init__(self, script):
        self.script = script
        self.batches = []

    def generate(self, conversations, spec):
        self.batches.append(list(conversations))
        texts = [self.script(conversation) for conversation in conversations]
        for text in texts:
            if isinstance(text, Exception):
                raise text
        return [
            Reply(text, tuple(text), (0.5,) * len(text), seconds=0.25, prompt_tokens=9, tokens=3)
            for text in texts
        ]

    @property
    def asked(self):
        """How many conversations were sent, in all batches."""
        return sum(len(batch) for batch in self.batches)


def make_request(query="the red circle", count=4, size=(80, 40), read_frame=None):
    """A request on a video of 10 * count frames; the red level of a frame is its number."""
    width, height = size

    def frame(k):
        image = np.zeros((height, width, 3), np.uint8)
        image[..., 0] = k % 256
        return image

    indices = tuple(10 * i for i in range(count))
    table = FrameTable(indices, tuple(float(i) for i in range(count)), 10 * count, float(count))
    return ChainRequest(
        query, table, [frame(k) for k in indices], read_frame or frame, source_size=size
    )


@pytest.fixture
def scripted():
    """The class of the scripted reasoner."""
    return ScriptedReasoner


@pytest.fixture
def request_for():
    """The function that makes requests."""
    return make_request
