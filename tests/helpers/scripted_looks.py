"""A model that looks again as it is told to: candidates, verdicts, and what follows on "none"."""

import json

from fiftyone_revseg.reasoning import ChainSpec, Reply

SPEC = ChainSpec(frames=4, frame_size=56, key_frame_size=100, retries=0)
LEFT, RIGHT, NEAR_LEFT = [0, 0, 40, 100], [60, 0, 100, 100], [2, 0, 41, 100]

BOXES = {"left": LEFT, "right": RIGHT, "near": NEAR_LEFT, "no box": None, "blurred": None}


class Model:
    """Answers turn 1 by the number of the sample, turn 2 by the description, turn 3 by a list.

    Args:
        samples: for each dialogue, a list of (sampled frame, description), or a text
        verdicts: replies to turn 3, one after the other; the last one again and again
        again: the answer to being asked again after a verdict
    """

    name, spec = "scripted", SPEC

    def __init__(self, samples, verdicts=(), again=()):
        self.samples, self.verdicts, self.again = samples, list(verdicts), again
        self.asked = []  # (turn, sample, the last words)

    def generate(self, conversations, spec):
        return [self._reply(c) for c in conversations]

    def _reply(self, conversation):
        last = conversation.messages[-1].text
        answered = [m for m in conversation.messages if m.role == "assistant"]
        if "outlined" in last:
            turn = 3
            text = self.verdicts[0] if len(self.verdicts) == 1 else self.verdicts.pop(0)
        elif "none of them is what the request means" in last:
            turn, text = "again", choices(self.again)
        elif not answered:
            turn, text = 1, choices(self.samples[conversation.seed])
        else:
            turn = 2
            name = next(name for name in BOXES if f'"{name}"' in last)
            box = BOXES[name]
            text = "?" if box is None else json.dumps([{"bbox_2d": box, "label": name}])
        self.asked.append((turn, conversation.temperature, conversation.seed, last))
        return Reply(text, tuple(text), (0.9,) * len(text), tokens=1)

    def count(self, turn):
        return sum(asked[0] == turn for asked in self.asked)


def choices(found):
    if isinstance(found, str):
        return found
    items = [{"frame_idx": k, "object description": name} for k, name in found]
    return f"<think>thinking</think> <answer>{json.dumps(items)}</answer>"


def verdict(*objects, **more):
    return f"<think>hm</think> <answer>{json.dumps({'objects': objects, **more})}</answer>"
