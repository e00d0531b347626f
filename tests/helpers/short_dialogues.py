"""Dialogues over random pictures, for tests of what a model makes of them."""

import numpy as np

from fiftyone_revseg.reasoning import Conversation, Image


def picture(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def ask(spec, seeds, query):
    """Turn 1: a frame for each seed, and the query."""
    frames = [Image(picture(seed, spec.frame_size)) for seed in seeds]
    return Conversation().say("user", *frames, query)


def go_on(spec, conversation, seed, reply="a cat"):
    """Turn 2: the reply, and a key frame."""
    key_frame = Image(picture(seed, spec.key_frame_size))
    return conversation.say("assistant", reply).say("user", key_frame, "where?")


def watch_tower(reasoner, monkeypatch):
    """A list of how many images or videos each call of the vision tower was about."""
    tower, counts = reasoner.model.model.visual, []
    forward = tower.forward

    def watched(hidden_states, grid_thw, **kwargs):
        counts.append(len(grid_thw))
        return forward(hidden_states, grid_thw=grid_thw, **kwargs)

    monkeypatch.setattr(tower, "forward", watched)
    return counts
