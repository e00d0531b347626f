"""Whether a run's settings fit together, and how many tokens it needs, found out before it starts.

A completion holds the tokens of the key frame too. Where there are too few, TRL leaves turn 2 out
and says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fiftyone_revseg.models.quantization import own_method
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.training.data import Row
from fiftyone_revseg.training.grpo import GrpoConfig


def check_settings(
    rows: Sequence[Row], config: GrpoConfig, spec: ChainSpec, checkpoint: str, processes: int
) -> None:
    """Checks that rows, settings, checkpoint and processes fit together.

    Args:
        rows: what to learn from
        config: the settings
        spec: how the checkpoint is asked
        checkpoint: a directory, or the id of a repository on the Hugging Face hub
        processes: one for each device

    Raises:
        ValueError: if they do not
    """
    from transformers import AutoConfig

    method = own_method(AutoConfig.from_pretrained(checkpoint, trust_remote_code=False))
    if method:
        raise ValueError(
            f"the weights of '{checkpoint}' are quantized ({method}): train the checkpoint that "
            "they were made from"
        )
    if spec.frame_encoding != "images":
        raise ValueError(
            "the trainer takes frames as images: set frame_encoding to 'images' in the "
            f"revseg.json of '{checkpoint}'"
        )
    if config.verdict_share and "turn1" in spec.prompts and "turn3" not in spec.prompts:
        raise ValueError(
            f"'{checkpoint}' has words of its own for turn 1 and none for turn 3, so that nothing "
            "is known of how it is asked for a verdict: put 'turn3' into the prompts of its "
            "revseg.json, or set verdict_share to 0"
        )
    if config.spatial != "box" and not all(getattr(row, "has_masks", False) for row in rows):
        raise ValueError(
            "tiers of mask IoU need true masks, and rows of a dataset have the boxes of theirs "
            "only: set spatial to 'box', or train without a dataset"
        )
    if spec.prompt == "point":
        raise ValueError(
            "the reward of turn 2 is that of a box, and the model is asked for points: set prompt "
            f"to 'box' in the revseg.json of '{checkpoint}'"
        )
    if len(rows) < config.prompts:
        raise ValueError(
            f"{len(rows)} rows are fewer than the {config.prompts} of a step: give more rows, or "
            "set prompts lower"
        )
    rollouts = config.prompts * config.rollouts
    if rollouts % (config.batch * processes):
        raise ValueError(
            f"{rollouts} rollouts a step are no whole number of batches of {config.batch} on "
            f"{processes} devices"
        )


def completion_length(
    processor: Any, spec: ChainSpec, turn_tokens: int | None = None, given: int | None = None
) -> int:
    """The tokens of a whole completion: both replies, and turn 2's message between them.

    Args:
        processor: the checkpoint's
        spec: how it is asked
        turn_tokens (None): the most tokens of one reply; by default the spec's
        given (None): a length to check and to use instead

    Raises:
        ValueError: if the given length is less, which would silently end every
            rollout before the key frame is shown
    """
    import numpy as np

    from fiftyone_revseg.reasoning.chain import ChainRequest, first_turn, second_turn
    from fiftyone_revseg.reasoning.trajectory import KeyframeChoice
    from fiftyone_revseg.types import FrameTable

    black = np.zeros((spec.key_frame_size, spec.key_frame_size, 3), np.uint8)
    table = FrameTable((0,), (0.0,), 1, 1.0)
    request = ChainRequest("", table, [black], lambda k: black, (8, 8))
    wordy = KeyframeChoice(0, "a description of the object " * 10)
    message = second_turn(request, spec, first_turn(request, spec), wordy).messages[-1]
    text = "".join(
        part if isinstance(part, str) else "<|vision_start|><|image_pad|><|vision_end|>"
        for part in message.content
    )
    words = len(processor.tokenizer(text).input_ids)
    picture = image_tokens(processor, spec.key_frame_size)
    turn = turn_tokens or spec.reply_tokens
    needed = 2 * turn + words + picture
    if given is not None and given < needed:
        raise ValueError(
            f"max_completion_length is {given}, but two replies of {turn} tokens, the key frame "
            f"with {picture} and about {words} words around it need {needed}: rollouts would end "
            "before turn 2"
        )
    return given or needed


def verdict_words(processor: Any, spec: ChainSpec) -> int:
    """The tokens of turn 3's prompt, but for its pictures, with as many tracks as there can be.

    Args:
        processor: the checkpoint's
        spec: how it is asked
    """
    import numpy as np

    from fiftyone_revseg.reasoning.object_facts import ObjectFacts
    from fiftyone_revseg.reasoning.verdict import Shown, verdict_dialogue
    from fiftyone_revseg.training.verdict_rows import MOST_TRACKS

    pictures = tuple(range(spec.judged_frames))
    shown = [Shown(k, k / 10, np.zeros((8, 8, 3), np.uint8)) for k in pictures]
    seen: dict[str, Any] = {"shown": pictures, "times": (0.0, 99.9), "span": (0.1, 0.9), "gaps": 1}
    place: dict[str, Any] = {"places": ((0.25, 0.25),) * 3, "areas": (0.25, 0.25), "size": 0.25}
    wordy: dict[str, Any] = {
        "motion": "stands still, then moves down and right",
        "growth": "keeps its size",
    }
    objects: list[Any] = [
        ObjectFacts(n, "a description of it", **seen, **place, **wordy, votes=1, candidates=5)
        for n in range(1, MOST_TRACKS + 1)
    ]
    query = "what is asked of the video " * 5
    messages = verdict_dialogue(query, spec, shown, objects).conversation.messages
    texts = [part for m in messages for part in m.content if isinstance(part, str)]
    # Around each picture and message stand tokens of their own
    around = 2 * len(pictures) + 8 * len(messages)
    return len(processor.tokenizer(" ".join(texts)).input_ids) + around


def check_context(
    checkpoint: str, processor: Any, spec: ChainSpec, length: int, verdict_length: int = 0
) -> None:
    """Refuses what is longer than the model's context: TRL would silently leave turn 2 out.

    Args:
        checkpoint: a directory, or the id of a repository on the Hugging Face hub
        processor: its processor
        spec: how it is asked
        length: the tokens of a whole completion
        verdict_length (0): the tokens of turn 3's words and its reply, where it is asked for

    Raises:
        ValueError: if the frames, the words around them and the completion do not fit
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    texts = [spec.template("system"), spec.template("turn1")] + [
        spec.template("frame")
    ] * spec.frames
    words = sum(len(processor.tokenizer(text).input_ids) for text in texts)
    picture = image_tokens(processor, spec.frame_size)
    needed = spec.frames * picture + words + length
    if limit is not None and needed > limit:
        raise ValueError(
            f"{spec.frames} frames of {picture} tokens, about {words} words around them and a "
            f"completion of {length} need {needed} tokens, and the model '{checkpoint}' reads at "
            f"most {limit}: set fewer or smaller frames in its revseg.json, or max_turn_tokens "
            "lower"
        )
    needed = spec.judged_frames * picture + verdict_length
    if limit is not None and needed > limit:
        raise ValueError(
            f"turn 3, with {spec.judged_frames} frames of {picture} tokens, needs {needed} tokens, "
            f"and the model '{checkpoint}' reads at most {limit}: set fewer or smaller frames in "
            "its revseg.json, or max_turn_tokens lower"
        )


def image_tokens(processor: Any, side: int) -> int:
    """How many tokens a square picture takes.

    Args:
        processor: the checkpoint's
        side: of the picture, in pixels
    """
    import numpy as np

    inputs = processor.image_processor(
        images=[np.zeros((side, side, 3), np.uint8)], return_tensors="pt", do_resize=False
    )
    grid = inputs.get("image_grid_thw")
    if grid is None:
        raise ValueError(
            f"{type(processor).__name__} does not say how many tokens a picture takes: the "
            "trainer supports models of the Qwen-VL kind"
        )
    return int(grid.prod()) // processor.image_processor.merge_size**2
