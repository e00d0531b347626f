"""The processor as the trainer needs it: the same tokens as at inference, in TRL's terms.

TRL calls a turn of the environment a tool call. So every reply is read as a call of ``keyframe``
with itself as the argument, and what the tool returns is rendered as the user's next message: the
model never sees a word about tools, only the dialogue that the chain has at inference.

An environment shows one message only. Where a dialogue has more before the model's turn, what
:func:`next_turn` gives stands between them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

TOOL = "keyframe"

# A reply without any structure of its own: all of it is the call's only argument.
RESPONSE_TEMPLATE: dict[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor_pattern": r"\Z",  # the prompt is no part of the reply
    "fields": {
        "tool_calls": {
            "content": "text",
            "content_args": {"strip": False},
            "transform": [
                {
                    "type": "function",
                    "function": {"name": TOOL, "arguments": {"reply": "{content}"}},
                }
            ],
        }
    },
}

# In front of a checkpoint's own template. TRL asks the template to be able to show calls; it
# never does in a run, as the model's own tokens stay as they were sampled.
_PREAMBLE = """\
{%- set tools = none -%}
{%- set dialogue = namespace(messages=[]) -%}
{%- for message in messages -%}
{%- if message['role'] == 'tool' -%}
{%- set shown = {'role': 'user', 'content': message['content']} -%}
{%- set dialogue.messages = dialogue.messages + [shown] -%}
{%- elif message['tool_calls'] -%}
{%- set call = [{'type': 'text', 'text': message['tool_calls'] | tojson}] -%}
{%- set dialogue.messages = dialogue.messages + [{'role': 'assistant', 'content': call}] -%}
{%- elif message['content'] is iterable and message['content'] is not string -%}
{%- set said = namespace(role=message['role'], content=[]) -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'next_turn' -%}
{%- set before = {'role': said.role, 'content': said.content} -%}
{%- set dialogue.messages = dialogue.messages + [before] -%}
{%- set said.role = part['role'] -%}
{%- set said.content = [] -%}
{%- else -%}
{%- set said.content = said.content + [part] -%}
{%- endif -%}
{%- endfor -%}
{%- set last = {'role': said.role, 'content': said.content} -%}
{%- set dialogue.messages = dialogue.messages + [last] -%}
{%- else -%}
{%- set dialogue.messages = dialogue.messages + [message] -%}
{%- endif -%}
{%- endfor -%}
{%- set messages = dialogue.messages -%}
"""


def training_processor(checkpoint: str | Path) -> Any:
    """Loads a checkpoint's processor, made ready for :class:`trl.GRPOTrainer`.

    Args:
        checkpoint: a directory, or the id of a repository on the Hugging Face hub

    Returns:
        a transformers processor

    Raises:
        ValueError: if its chat template does not end
    """
    from transformers import AutoProcessor

    from fiftyone_revseg.models.limits import check_template

    processor = AutoProcessor.from_pretrained(
        checkpoint, padding_side="left", trust_remote_code=False
    )
    own = processor.chat_template or processor.tokenizer.chat_template
    check_template(own, str(checkpoint))
    template = _PREAMBLE + own
    processor.chat_template = processor.tokenizer.chat_template = template
    processor.tokenizer.response_template = RESPONSE_TEMPLATE
    return processor


def next_turn(role: str) -> dict[str, Any]:
    """The content block at which a message ends, and one of ``role`` begins."""
    return {"type": "next_turn", "role": role, "text": ""}


def keep_sizes(processor: Any) -> None:
    """Has the processor leave pictures at their size, as at inference: the chain has chosen it.

    Once the trainer is made, not before: it first tries the template on a picture of 8 pixels.
    """
    if isinstance(getattr(processor.image_processor, "patch_size", None), int):
        processor.image_processor.do_resize = False
