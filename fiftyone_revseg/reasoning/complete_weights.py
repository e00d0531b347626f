"""Whether a checkpoint's weights are those that its config asks for.

transformers fills in what is missing with random numbers, and leaves out what it has no place for.
The model then answers plausibly, and wrongly.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_ADAPTERS = "adapter_config.json"


def check_loaded(name: str, model: Any, info: Mapping[str, Any]) -> None:
    """Refuses a model that was not loaded whole.

    Weights that are tied to others, and buffers that are computed, are not missing; what a family
    keeps beside the model, such as layers that predict several tokens, is not left over.

    Args:
        name: the checkpoint's name
        model: the model of transformers
        info: what ``from_pretrained(..., output_loading_info=True, ignore_mismatched_sizes=True)``
            says of it

    Raises:
        ValueError: if tensors are missing, have another shape, or belong to parts of the model
            that the config leaves out
    """
    wrong = {
        "are missing in its weights": sorted(info["missing_keys"]),
        "have another shape in its weights": sorted(
            key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]
        ),
        "of its weights have no place in it": _parts_left_out(model, info["unexpected_keys"]),
    }
    problems = [f"{_some(keys)} {what}" for what, keys in wrong.items() if keys]
    if problems:
        raise ValueError(
            f"The model '{name}' is not complete: of the tensors that its config asks for, "
            f"{', and '.join(problems)}. Download it again, or use the config and the weights of "
            "one model"
        )
    if info["unexpected_keys"]:
        logger.warning("Not used of '%s': %s", name, _some(sorted(info["unexpected_keys"])))


def check_weights(name: str) -> None:
    """Refuses a checkpoint whose weights are not complete, without keeping them in memory.

    For libraries that load it themselves and do not look.

    Args:
        name: a directory, or the id of a repository on the Hugging Face hub

    Raises:
        ValueError: as :func:`check_loaded`
    """
    from transformers import AutoModelForImageTextToText

    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        name,
        device_map="meta",
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    model, info = loaded
    check_loaded(name, model, info)


def refuse_adapters(name: str, directory: Path) -> None:
    """Refuses adapters beside a model: nobody would see whether the model itself is complete.

    Raises:
        ValueError: if there are any
    """
    if (directory / _ADAPTERS).is_file():
        raise ValueError(
            f"'{name}' holds adapters (LoRA), not a whole model: merge them into their model "
            "first, as `revseg share` does, and load the result"
        )


def _parts_left_out(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Tensors of layers like those of the model, of which the config has fewer."""
    known = {_pattern(key) for key in model.state_dict()}
    unknown_layers = {_layer(key) for key in unexpected if _pattern(key) not in known}
    return sorted(
        key
        for key in unexpected
        if _pattern(key) in known and _layer(key) not in unknown_layers  # or it is another kind
    )


def _pattern(key: str) -> str:
    """A tensor's name whichever layer it is in, and whatever the model is a part of."""
    return re.sub(r"\d+", "N", re.sub(r"^(?:model\.|language_model\.)+", "", key))


def _layer(key: str) -> str:
    match = re.match(r".*?\.\d+\.", key)
    return match[0] if match else key


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return f"{len(keys)} ({shown}{', ...' if len(keys) > 3 else ''})"
