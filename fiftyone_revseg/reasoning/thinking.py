"""How a model is told whether to think before it answers."""

from __future__ import annotations

from typing import Any

_SWITCHES = {
    **dict.fromkeys(("on", "true", "yes", "enabled"), True),
    **dict.fromkeys(("off", "false", "no", "none", "disabled"), False),
}


def read_thinking(value: Any) -> bool | str | None:
    """Reads the setting as people write it: the words for on and off are no efforts.

    Args:
        value: None, True, False, or a word in upper or lower case

    Returns:
        as in the chain spec

    Raises:
        ValueError: if it is none of these
    """
    if value is None or isinstance(value, bool):
        return value
    word = value.strip() if isinstance(value, str) else ""
    if not (word.isascii() and word.isalpha() and len(word) <= 20):
        raise ValueError(
            "thinking must be true, false, or an effort such as 'low' (on the command line: on, "
            f"off or the effort), got {value!r:.50}"
        )
    return _SWITCHES.get(word.lower(), word)


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
