"""Limits on what a checkpoint's directory may ask for, held before memory or time is taken.

Files from others may be damaged, or made to harm: a config of a million layers, a number with
thousands of digits, YAML whose aliases multiply, a chat template that never ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

MOST_TEXT = 10 * 2**20  # bytes of a settings file; real ones have some kilobytes
MOST_VOCABULARY = 300 * 2**20  # of a vocabulary, or an index of weights; real ones have 40 million
MOST_YAML = 2**17
MOST_LAYERS = 2_000
MOST_TEMPLATE = 2**20  # characters
_MOST_RENDERED = 2**24

_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt")
_TEXTS = (".json", ".jinja", ".txt", ".yaml", ".yml")
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "depth", "num_blocks")
_WIDTHS = ("hidden_size", "d_model", "n_embd", "embed_dim", "hidden_dim", "dim")
_SIZES = ("size", "dim", "embeddings", "experts", "heads", "channels", "queries")
_RENDER = Path(__file__).parent / "render_template.py"


class LimitError(ValueError):
    """Something asks for more than can be meant. The message says what, in one sentence."""


def read_settings_text(path: str | Path, most: int = MOST_TEXT) -> str:
    """Reads a text file of settings.

    Raises:
        OSError: if it cannot be read
        LimitError: if it is larger than any real one
        UnicodeDecodeError: if it is no text in UTF-8
    """
    path = Path(path)
    _check_size(path, most)
    return path.read_text(encoding="utf-8-sig")  # some editors write a BOM


def check_yaml(path: str | Path) -> None:
    """Refuses a YAML file that is large, or becomes large when it is read.

    Raises:
        OSError: if it cannot be read
        LimitError: if it is too large, or uses aliases
    """
    import yaml

    text = read_settings_text(path, MOST_YAML)
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
        raise LimitError(f"'{path}' uses aliases (*name), which can multiply: write it without")


def check_directory(directory: str | Path) -> None:
    """Refuses a checkpoint's directory whose files or config are of absurd size, or cannot be read.

    The config is compared with the weights that lie beside it: a model has about as many numbers
    as its weights have.

    Raises:
        LimitError: if they are
        ValueError: if the config says of its quantization what is no settings
    """
    directory = Path(directory)
    for path in sorted(directory.iterdir()):
        if path.suffix in _TEXTS and path.is_file():
            large = path.name in _VOCABULARIES or path.name.endswith(".index.json")
            _check_size(path, MOST_VOCABULARY if large else MOST_TEXT)
    path = directory / "config.json"
    if not path.is_file():
        return
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return  # whoever loads it says so
    own = config.get("quantization_config") if isinstance(config, dict) else None
    if own is not None and not isinstance(own, dict):  # transformers fails on it in its own words
        raise ValueError(
            f"The quantization_config in '{path}' must be an object of settings, got {own!r:.50}"
        )
    weights = sum(file.stat().st_size for file in directory.glob("*.safetensors"))
    check_config(config, path, weights)


def check_config(config: Any, path: str | Path, weights: int = 0) -> None:
    """Refuses a config that asks for a model of absurd size.

    Args:
        config: the decoded config
        path: where it is, for the message
        weights: the bytes of the weights that belong to it; 0 if they are not known

    Raises:
        LimitError: if it does
    """
    # Two bits a number at the least, and room for tiny models
    most = 4 * weights + 10**7 if weights else 10**13
    for part in nested(config):
        if not isinstance(part, Mapping):
            continue
        numbers = {k: v for k, v in part.items() if isinstance(v, int) and not isinstance(v, bool)}
        layers = max([numbers.get(name, 0) for name in _LAYERS])
        if layers > MOST_LAYERS:
            raise LimitError(
                f"'{path}' asks for {_shown(layers)} layers, and no model has more than "
                f"{MOST_LAYERS}: take the config that belongs to the weights"
            )
        width = max([numbers.get(name, 0) for name in _WIDTHS])
        largest = max([v for k, v in numbers.items() if k.endswith(_SIZES)], default=0)
        inner = max(numbers.get("intermediate_size", 0), numbers.get("mlp_dim", 0), width)
        if largest > 10**9 or width * largest + layers * width * (width + inner) > most:
            beside = f"the {weights:,} bytes of weights beside it" if weights else "any model has"
            raise LimitError(
                f"'{path}' asks for far more than {beside} (up to {_shown(largest)} in one size, "
                f"{_shown(layers)} layers): take the config that belongs to the weights"
            )


def largest_number(value: Any) -> int:
    """Returns the largest whole number in nested lists and dicts; 0 if there is none."""
    return max([0, *(number for number in nested(value) if isinstance(number, int))])


def nested(value: Any) -> Iterator[Any]:
    """Yields a value and all that is in its lists and dicts, however deep."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        yield value
        if isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif isinstance(value, Mapping):
            waiting.extend(value.values())


@lru_cache(maxsize=64)
def check_template(template: str, name: str, seconds: int = 10, megabytes: int = 1024) -> None:
    """Refuses a chat template that does not end, or fills the memory.

    It is rendered once, for a conversation like ours, in a process of its own that is limited.

    Args:
        template: the text of the template, in Jinja
        name: the checkpoint's name, for the message
        seconds (10): of computing time
        megabytes (1024): of memory

    Raises:
        LimitError: if it takes more, or is larger than any real one
    """
    if len(template) > MOST_TEMPLATE:
        raise LimitError(
            f"The chat template of '{name}' has {len(template):,} characters, and none that is "
            f"meant for use has more than {MOST_TEMPLATE:,}"
        )
    job = {"template": template, "seconds": seconds, "megabytes": megabytes, "most": _MOST_RENDERED}
    try:
        ended = subprocess.run(
            [sys.executable, "-I", str(_RENDER)],
            input=json.dumps(job).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=6 * seconds + 30,  # of a busy machine
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        ended = -1
    if ended:
        raise LimitError(
            f"The chat template of '{name}' does not end within {seconds} s and {megabytes} MB of "
            "memory: take the one of the model's maker"
        )


def _check_size(path: Path, most: int) -> None:
    size = path.stat().st_size
    if size > most:
        raise LimitError(f"'{path}' has {size:,} bytes, and more than {most:,} are not read")


def _shown(number: int) -> str:
    return f"{number:,}" if number < 10**15 else "more than 10^15"
