"""What is to be known of a server before it is asked: its address, its key, and its models."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fiftyone_revseg.models.builtin import PRESETS
from fiftyone_revseg.reasoning.conventions import HOW_TO_SAY
from fiftyone_revseg.reasoning.serving.secret import Secret
from fiftyone_revseg.reasoning.spec import ChainSpec, complete_settings, read_settings
from fiftyone_revseg.text.escape import one_line

#: The environment variable, and the secret of the plugin, that holds a server's key
KEY_NAME = "REVSEG_SERVER_KEY"

#: Hosts that may be named in place of an address
HOSTS = {"gemini": "https://generativelanguage.googleapis.com/v1beta/openai"}


class ServerError(RuntimeError):
    """A server gave no usable answer. The message says why, in one sentence, and has no secret."""


@dataclass(frozen=True)
class ServedModel:
    """A model as a server lists it.

    Attributes:
        id: the name that requests have to use
        root: the checkpoint that was loaded: a hub id or a path on the server; "" if unknown
        owner: "vllm", "sglang" or "llamacpp" for those servers, which name themselves there, and
            "transformers" for ``transformers serve``, which does not
    """

    id: str
    root: str = ""
    owner: str = ""


def check_url(url: str) -> str:
    """Brings the address of a server into one form, and refuses what is none.

    Args:
        url: such as "http://localhost:8000/v1"; without a path, "/v1" is meant; or one of
            :data:`HOSTS`

    Returns:
        the address without a slash at its end

    Raises:
        ValueError: if it is no address, or has a secret in it: it is stored with every result
    """
    if not isinstance(url, str):
        raise ValueError(
            f"{url!r:.50} is no address of a server: give one such as http://localhost:8000/v1"
        )
    url = HOSTS.get(url.strip().lower(), url)
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        valid = False
    # A password may itself have a slash, "?" or "#" in it, which then seems to end the host
    if valid and ("@" in url or "?" in url or "#" in url):
        # Not repeated in the message: messages are logged
        raise ValueError(
            "The address of the server has a user, a password or a query in it, and would be "
            f"stored with every result: leave them out, and put the server's key into {KEY_NAME}"
        )
    if not valid or not url.strip().isprintable() or " " in url.strip():
        shown = url.rpartition("@")[2].partition("?")[0]
        shown = Secret(os.environ.get(KEY_NAME)).hide(one_line(shown, 100))
        raise ValueError(
            f"'{shown}' is no address of a server: give one such as http://localhost:8000/v1"
        )
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") or "/v1", "", ""))


def is_here(url: str) -> bool:
    """Returns whether an address is of this machine: what is sent there stays on it."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:  # such as 127.1, which the system takes for an address, too
            address = ipaddress.ip_address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def sends_key_in_clear(url: str) -> bool:
    """Returns whether who listens on the way to a server could read a key."""
    return urlsplit(url).scheme == "http" and not is_here(url)


def find_key(key: str | None = None) -> str | None:
    """Returns the key to use: the one given, else that of the environment; None if there is none.

    Raises:
        ValueError: if it cannot be sent; the message does not repeat it
    """
    key = (os.environ.get(KEY_NAME) if key is None else key) or ""
    key = key.strip()  # a file that it was read from ends with a line break
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"{KEY_NAME} holds something else than a key: spaces or odd characters")
    if key and (len(key) < 4 or (len(key) < 8 and key.isdecimal())):
        raise ValueError(
            f"The key in {KEY_NAME} is so short that it could not be told from the words and "
            "numbers of a reply, in which it must not be shown: give the server a longer one"
        )
    return key or None


def choose_model(models: Sequence[ServedModel], name: str, url: str) -> ServedModel:
    """Finds a model on a server.

    Args:
        models: what it serves
        name: the name of one of them, or the preset of the checkpoint that it is
        url: the server's address, for the message

    Raises:
        ValueError: if there is no such model; the message lists those that there are
    """
    wanted = [name, PRESETS[name].reasoner] if name in PRESETS else [name]
    for candidate in wanted:
        for model in models:
            if candidate in (model.id, model.root, model.id.removeprefix("models/")):
                return model
    there = ", ".join(f"'{one_line(model.id, 100)}'" for model in models[:10])
    there = there or "no model at all"
    raise ValueError(f"The server at {url} has no model '{name}': it serves {there}")


def served_spec(
    model: ServedModel, spec: ChainSpec | Mapping[str, Any] | str | Path | None = None
) -> ChainSpec:
    """Finds out how a model on a server wants to be asked.

    Args:
        model: the model
        spec (None): all settings, or some that replace the checkpoint's own, or the directory
            with a ``revseg.json``

    Returns:
        the spec: what ``spec`` says, then, if the model's root is a preset, or a directory or a
        hub repository that can be read from here, the checkpoint's ``revseg.json``, then the
        defaults of its family

    Raises:
        ValueError: if a setting is not valid, cannot be used with a server, or nobody says in
            which space the boxes are
    """
    if not isinstance(spec, ChainSpec):
        settings = read_settings(spec) if isinstance(spec, (str, Path)) else spec
        spec = _known_spec(model, settings or {})
    if spec.frame_encoding != "images":
        raise ValueError(
            "A server is sent images, not videos: set frame_encoding to 'images', with "
            'spec={"frame_encoding": "images"} or in revseg.json'
        )
    return spec


def _known_spec(model: ServedModel, settings: Mapping[str, Any]) -> ChainSpec:
    from fiftyone_revseg.reasoning.local import checkpoint_spec

    names = [name for name in (model.root, model.id) if name]
    checkpoints = [PRESETS[name].reasoner if name in PRESETS else name for name in names]
    for path in (Path(checkpoint).expanduser() for checkpoint in checkpoints):
        if (path / "config.json").is_file():
            return checkpoint_spec(path, settings)
    for family in filter(None, map(_family, checkpoints)):
        return complete_settings(family, settings)
    if any(map(_GEMINI.fullmatch, names)):
        return ChainSpec.from_dict({**_GEMINI_SPEC.to_dict(), **settings})
    if "box_convention" in settings:
        return ChainSpec.from_dict(settings)
    raise ValueError(
        f"In which space does the model '{one_line(model.id, 100)}' give its boxes? The server "
        f"does not say which checkpoint it is, so say it: load it with {HOW_TO_SAY}; or with its "
        "revseg.json (--box-convention or --spec on the command line)"
    )


# The makers' own repositories, and only these: anybody may call anything Qwen2.5-VL. As in
# spec.py, which says which boxes the families answer with
_REPOSITORIES = {
    r"Qwen/Qwen2\.5-VL-.*": "qwen2_5_vl",
    r"Qwen/Qwen2-VL-.*": "qwen2_vl",
    r"Qwen/Qwen3-VL-\d+B-A\d+B-.*": "qwen3_vl_moe",
    r"Qwen/Qwen3-VL-.*": "qwen3_vl",
    r"Qwen/Qwen3\.[568]-\d+B-A\d+B.*": "qwen3_5_moe",
    r"Qwen/Qwen3\.[568]-[\d.]+B.*": "qwen3_5",
    r"zai-org/GLM-4\.1V-.*": "glm4v",
    r"zai-org/GLM-4\.5V.*": "glm4v_moe",
    r"zai-org/GLM-4\.6V.*": "glm46v",
    r"OpenGVLab/InternVL.*-hf": "internvl",
}


# At Google, and as others name it who pass requests on. Its pictures cost by their number: up to
# Gemini 2.5, one of at most 384 pixels is one tile, and a larger square four; later ones are all
# of one size. It thinks, and what it thinks counts as written
_GEMINI = re.compile(r"(models|google)/gemini-.*")
_GEMINI_SPEC = ChainSpec(
    frame_size=384,
    key_frame_size=1024,
    box_convention="relative-1000-y-first",
    thinking_tokens=8192,
)


def _family(name: str) -> str | None:
    for pattern, family in _REPOSITORIES.items():
        if re.fullmatch(pattern, name, re.IGNORECASE):
            return family
    return None
