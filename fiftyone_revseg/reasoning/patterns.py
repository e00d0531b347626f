"""What a usable reply looks like, for backends that let a model write nothing else.

Written for the grammars of vLLM and SGLang: no look-around and no classes by letter. Every
repetition of blanks is bounded, as a model that may write blanks without end sometimes does. All
that matches is read by :mod:`fiftyone_revseg.reasoning.parse`, and so is much that does not.
"""

from __future__ import annotations

from fiftyone_revseg.reasoning.conventions import BoxConvention, asked_for
from fiftyone_revseg.reasoning.parse import MAX_OBJECTS

_GAP = r"[ \n]{0,4}"
_TEXT = r'[^"\\\n\r\t ][^"\\\n\r\t]{0,299}'  # of a JSON string that needs no escaping
_NUMBER = r"(0|[1-9][0-9]{0,3})(\.[0-9]{1,2})?"
_ANSWER = 256  # tokens that an answer of some objects takes
_SHARE = r"(0(\.[0-9]{1,4})?|1(\.0{1,4})?)"


def longest_thought(tokens: int) -> int:
    """Returns how many characters a thought may have, such that its answer finds room.

    A model that is caught in a loop would else think until its reply is cut off. A token has some
    four characters, in a loop it may have two.

    Args:
        tokens: the most tokens that the reply may have
    """
    return 2 * max(tokens - _ANSWER, tokens // 2)


def choices_pattern(frame_count: int, thought: int) -> str:
    """Returns a regular expression for replies to turn 1: a thought, then key frames or ``[]``.

    Args:
        frame_count: the number of frames that were shown
        thought: how many characters the thought may have, see :func:`longest_thought`
    """
    # Longer numbers first: some engines take the first alternative that fits
    index = "|".join(str(i) for i in reversed(range(frame_count)))
    item = rf'\{{"frame_idx": ({index}), "object description": "{_TEXT}"\}}'
    items = rf"{item}(,{_GAP}{item}){{0,{MAX_OBJECTS - 1}}}"
    return rf"{_think(thought)}<answer>{_GAP}\[{_GAP}({items})?{_GAP}\]{_GAP}</answer>"


def box_pattern(
    convention: BoxConvention, thought: int, prompt: str = "box", or_none: bool = False
) -> str:
    """Returns a regular expression for replies to turn 2: one box, with or without a thought.

    Args:
        convention: how the model was asked to write it
        thought: as for :func:`choices_pattern`
        prompt ("box"): what the model was asked for, see
            :data:`fiftyone_revseg.reasoning.conventions.PROMPTS`
        or_none (False): whether the list may be empty
    """
    number = _SHARE if convention.reach == 1 else _NUMBER
    corners, pair = (rf",{_GAP}".join([number] * count) for count in (4, 2))
    box = rf'"{convention.key}": \[{corners}\]'
    point = rf'"{convention.point_key}": \[{pair}\]'
    item = rf'\{{{asked_for(prompt, box, point)}(, "label": "{_TEXT}")?\}}'
    inside = f"({item})?" if or_none else item
    answer = rf"\[{_GAP}{inside}{_GAP}\]"
    tagged = rf"<answer>{_GAP}{answer}{_GAP}</answer>"
    return rf"({_think(thought)})?({tagged}|```json\n{answer}\n```|{answer})"


def verdict_pattern(objects: int, pictures: int, thought: int) -> str:
    """Returns a regular expression for replies to turn 3: a thought, then which objects are meant.

    Args:
        objects: how many objects were shown, numbered from 1
        pictures: how many pictures were shown, numbered from 0
        thought: as for :func:`choices_pattern`
    """
    chosen = _numbers(range(1, objects + 1), objects)
    wrong = f"({_numbers(range(pictures), pictures)})?" if pictures else ""
    rest = rf'(, "wrong_frames": \[{wrong}\])?(, "why": "{_TEXT}")?'
    answer = rf'\{{"objects": \[({chosen})?\]{rest}\}}'
    return rf"({_think(thought)})?(<answer>{_GAP}{answer}{_GAP}</answer>|{answer})"


def _numbers(numbers: range, most: int) -> str:
    one = "|".join(str(i) for i in reversed(numbers))
    return f"({one})(, ({one})){{0,{max(most - 1, 0)}}}"


def _think(most: int) -> str:
    return rf"<think>[^<]{{0,{most}}}</think>{_GAP}"
