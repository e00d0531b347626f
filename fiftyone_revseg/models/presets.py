"""The registry of presets: the built-in ones, and checkpoints of a person's own, under a name.

A person's own names are kept in ``presets.json`` in the folder of :func:`home`; the checkpoints
stay where they are.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from fiftyone_revseg.files import from_json, locked, write_json
from fiftyone_revseg.models.builtin import (
    DEFAULT_TRACKER,
    PRESETS,
    ModelNotFoundError,
    Preset,
    Weights,
)
from fiftyone_revseg.models.limits import read_settings_text

#: The environment variable that says where names and trained checkpoints are kept
HOME_NAME = "REVSEG_HOME"

_FILE_NAME = "presets.json"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def home() -> Path:
    """Where a person's own presets are kept, and by default their checkpoints.

    Returns:
        the folder that the environment variable ``REVSEG_HOME`` names, else ``~/.fiftyone/revseg``;
        it need not exist
    """
    return Path(os.environ.get(HOME_NAME) or "~/.fiftyone/revseg").expanduser()


@dataclass(frozen=True)
class _Entry:
    """What is kept of a preset; all else is seen from its folder."""

    path: str
    tracker: str = DEFAULT_TRACKER
    license: str = ""
    description: str = ""


def resolve(name_or_path: str | Path) -> Preset:
    """Finds out what the name of a model stands for, without loading anything.

    Args:
        name_or_path: a preset, of this package or a person's own; the id of a repository on the
            Hugging Face hub ("owner/name"); or the path of a checkpoint's directory

    Returns:
        a :class:`Preset`, for an id or a path one with the default tracker

    Raises:
        ModelNotFoundError: if the name can be none of these, or the weights of a preset are not
            where they were
    """
    name = str(name_or_path)
    if not name.strip():
        raise ModelNotFoundError("The name of the model is empty: name one of revseg models")
    if name in PRESETS:
        preset = PRESETS[name]
        path = Path(preset.reasoner)
        if path.is_absolute() and not (path / "model.safetensors").is_file():
            raise ModelNotFoundError(
                f"The embedded model {name!r} has no weights in '{path}': this installation is "
                "incomplete, so install the package, or clone its repository, once more"
            )
        return preset
    own = find_preset(name)
    if own is not None:
        return own
    path = Path(name).expanduser()
    if path.is_dir():
        return Preset(str(path), DEFAULT_TRACKER, "")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        return Preset(name, DEFAULT_TRACKER, "")
    raise ModelNotFoundError(
        f"There is no model {name!r}: give one of {', '.join(preset_names())}, a Hugging Face hub "
        "id such as 'Qwen/Qwen2.5-VL-7B-Instruct', or the path of a directory that exists"
    )


def preset_names() -> list[str]:
    """Lists the names of all presets, this package's first and then a person's own."""
    try:
        return [*PRESETS, *user_presets()]
    except ModelNotFoundError:  # what is damaged is said to whoever asks for one of them
        return list(PRESETS)


def default_tracker(name_or_path: str | Path, server: str | None = None) -> str:
    """Returns the tracker of a model for which none was named.

    Args:
        name_or_path: as in :func:`resolve`; of a model on a server any name that it has there
        server (None): the server's address

    Raises:
        ModelNotFoundError: see :func:`resolve`; never for a model on a server
    """
    name = str(name_or_path)
    if server is not None and name not in PRESETS:
        return DEFAULT_TRACKER
    return resolve(name).tracker


def register_preset(
    name: str,
    path: str | Path,
    tracker: str | None = None,
    license: str | None = None,
    description: str = "",
    base: str | None = None,
    overwrite: bool = False,
) -> Preset:
    """Gives a checkpoint a name, under which everything that takes a model knows it.

    Example::

        import fiftyone_revseg as revseg
        from fiftyone_revseg.models.presets import register_preset

        register_preset("my-checkpoint", "runs/grpo/checkpoint", base="revseg-nano")
        model = revseg.load_model("my-checkpoint", query="the red star")

    Args:
        name: letters, digits, ``.``, ``_`` and ``-``; not that of a preset of this package
        path: the checkpoint's directory, which stays where it is
        tracker (None): the tracker that goes with it. By default, that of ``base``
        license (None): the licence's name. By default, that of ``base``
        description (""): one sentence for people who choose
        base (None): the preset that it was trained from, if there is one
        overwrite (False): whether the name may stand for another checkpoint until now

    Returns:
        the :class:`fiftyone_revseg.models.builtin.Preset`

    Raises:
        ValueError: if the name cannot be used or the directory holds no checkpoint
    """
    check_name(name)
    folder = Path(path).expanduser().resolve()
    if not (folder / "config.json").is_file() or not _weights_in(folder):
        raise ValueError(
            f"'{folder}' holds no checkpoint: give a directory with config.json and weights in "
            "safetensors"
        )
    origin = find_base(base)
    entry = _Entry(
        str(folder),
        tracker or (origin.tracker if origin else DEFAULT_TRACKER),
        license or (origin.license if origin else ""),
        description or (f"Trained from {base}." if base else "A checkpoint of your own."),
    )
    with locked(_path()):  # others may register theirs at the same time
        if not overwrite:
            check_free(name, folder)
        _write({**_read(), name: entry})
    return _preset(entry)


def forget_preset(name: str) -> None:
    """Takes a name back; the checkpoint stays where it is.

    Raises:
        ValueError: if there is no such preset of a person's own
    """
    with locked(_path()):
        entries = _read()
        if name not in entries:
            own = ", ".join(entries) or "none"
            raise ValueError(f"There is no preset {name!r} of your own: there is {own}")
        del entries[name]
        _write(entries)


def user_presets() -> dict[str, Preset]:
    """Lists a person's own presets, whether their folders are still there or not.

    Returns:
        a dict of name -> :class:`fiftyone_revseg.models.builtin.Preset`, in the order of
        registration

    Raises:
        ModelNotFoundError: if the file that keeps them cannot be read
    """
    return {name: _preset(entry) for name, entry in _read().items()}


def find_preset(name: str) -> Preset | None:
    """Returns a preset of a person's own; None if there is none of that name.

    Raises:
        ModelNotFoundError: if its folder is gone, or the file that keeps the presets is damaged
    """
    if not _NAME.fullmatch(name):
        return None
    entry = _read().get(name)
    if entry is None:
        return None
    if not _weights_in(Path(entry.path)):
        raise ModelNotFoundError(
            f"The checkpoint of {name!r} is not in '{entry.path}' any more: put it back, or forget "
            f"the name (revseg models --forget {name})"
        )
    return _preset(entry)


def check_name(name: str) -> None:
    """Checks that a name may be given to a checkpoint.

    Raises:
        ValueError: if it may not
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be the name of a checkpoint: use letters, digits, '.', '_' and '-'"
        )
    if name in PRESETS:
        raise ValueError(f"{name!r} is a model of this package: choose another name")


def check_free(name: str, path: str | Path) -> None:
    """Checks that a name may be given to a checkpoint, and is not that of another one.

    Args:
        name: the name
        path: the checkpoint's directory, which need not exist yet

    Raises:
        ValueError: if it may not
    """
    check_name(name)
    folder = str(Path(path).expanduser().resolve())
    entry = _read().get(name)
    if entry is not None and entry.path != folder:
        raise ValueError(
            f"The name {name!r} stands for '{entry.path}' already: choose another one, or forget "
            f"that one first (revseg models --forget {name})"
        )


def find_base(base: str | None) -> Preset | None:
    """The preset that a checkpoint was trained from; None if it was none, or is gone."""
    if base is None:
        return None
    try:
        return resolve(base)
    except ModelNotFoundError:
        return None


def _weights_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) if folder.is_dir() else []


def _preset(entry: _Entry) -> Preset:
    folder = Path(entry.path)
    size = sum(file.stat().st_size for file in _weights_in(folder))
    weights = Weights(size, entry.license, folder=folder)
    trackers = {preset.tracker: preset.tracker_weights for preset in PRESETS.values()}
    return Preset(
        entry.path,
        entry.tracker,
        entry.description,
        weights,
        trackers.get(entry.tracker),
        own=True,
    )


def _path() -> Path:
    return home() / _FILE_NAME


def _read() -> dict[str, _Entry]:
    path = _path()
    try:
        kept = from_json(read_settings_text(path))
        return {str(name): _Entry(**entry) for name, entry in kept.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelNotFoundError(
            f"'{path}', which keeps the names of your own models, cannot be read ({error}): repair "
            "or delete it"
        ) from error


def _write(entries: dict[str, _Entry]) -> None:
    write_json(_path(), {name: asdict(entry) for name, entry in entries.items()}, indent=2)
