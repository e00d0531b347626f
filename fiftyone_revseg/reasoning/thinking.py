"""How a model is told whether to think before it answers."""

from __future__ import annotations

from typing import Any


def thinking_arguments(thinking: bool | str | None) -> dict[str, Any]:
    """Returns what a chat template is given; one that knows nothing of it ignores it.

    ``enable_thinking`` is what the templates of Qwen3, Qwen3.5 and GLM ask for,
    ``reasoning_effort`` those with degrees of it.

    Args:
        thinking: as in the chain spec
    """
    if thinking is None:
        return {}
    effort = {"reasoning_effort": thinking} if isinstance(thinking, str) else {}
    return {"enable_thinking": thinking is not False, **effort}


def thinking_fields(thinking: bool | str | None, owner: str) -> dict[str, Any]:
    """Returns what a request to a server has on top.

    Args:
        thinking: as in the chain spec
        owner: what the server says of itself, see
            :class:`fiftyone_revseg.reasoning.serving.served.ServedModel`
    """
    if thinking is None:
        return {}
    # These render the template as it is done here
    if owner in ("vllm", "sglang", "llamacpp", "transformers"):
        return {"extra_body": {"chat_template_kwargs": thinking_arguments(thinking)}}
    if thinking is True:  # of which the API knows degrees only
        return {}
    return {"reasoning_effort": thinking or "none"}
