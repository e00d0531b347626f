"""Puts the plugin of the installed package where FiftyOne looks for plugins."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import fiftyone as fo
import fiftyone.plugins as fop

from fiftyone_revseg.app.manifest import PLUGIN_NAME, make_manifest, to_yaml
from fiftyone_revseg.dataset import register_zoo_source
from fiftyone_revseg.dataset.zoo.register import SOURCE_NAME
from fiftyone_revseg.files import is_partial, read_files, write_files

_ENTRY = "__init__.py"
_SCRIPT = "plugin.js"
_FORMER = "show_frame.js"  # of earlier versions


def install_plugin() -> list[str]:
    """Installs the plugin, and registers the models with the FiftyOne Model Zoo.

    Doing it again changes nothing.

    Returns:
        what was done, a sentence each

    Raises:
        ValueError: if there is such a plugin that was not installed by this function
    """
    folder, contents = _folder(), _contents()
    _check_others(folder)
    old = read_files(folder, contents)
    done = []
    if old == contents:
        done.append(f"The plugin is installed already, in {folder}")
    else:
        if os.path.lexists(folder) and not _is_ours(folder):
            raise ValueError(
                f"There is another plugin in '{folder}': remove it with `fiftyone plugins delete "
                f"{PLUGIN_NAME}`, or keep using it instead"
            )
        write_files(folder, contents)
        done.append(f"The plugin is {'updated' if any(old.values()) else 'installed'} in {folder}")
    done.append(f"The models are registered in {register_zoo_source(overwrite=True)}")
    return done


def uninstall_plugin() -> list[str]:
    """Removes what :func:`install_plugin` installed, and nothing else.

    Returns:
        what was done, a sentence each
    """
    done = []
    folder = _folder()
    if _is_ours(folder):
        shutil.rmtree(folder)
        done.append(f"The plugin is removed from {folder}")
    elif os.path.lexists(folder):
        done.append(f"The plugin in {folder} was not installed by revseg, so it was left there")
    source = Path(fo.config.model_zoo_dir) / SOURCE_NAME
    if source.is_dir() and not source.is_symlink():
        shutil.rmtree(source)
        done.append(f"The models are removed from {source}; their weights are left where they are")
    return done or ["Nothing is installed"]


def _folder() -> Path:
    return Path(fo.config.plugins_dir) / PLUGIN_NAME


def _contents() -> dict[str, bytes]:
    """The files of the plugin."""
    entry = Path(__file__).with_name(_ENTRY)  # it hands over to the package from anywhere
    script = Path(__file__).with_name(_SCRIPT)
    manifest = to_yaml(make_manifest(_ENTRY, _SCRIPT))
    return {
        _ENTRY: entry.read_bytes(),
        _SCRIPT: script.read_bytes(),
        "fiftyone.yml": manifest.encode(),  # last, as a folder with one is a plugin to FiftyOne
    }


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds what this module wrote, of this version or another one."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    names = {p.name for p in folder.iterdir() if p.suffix != ".part" and not is_partial(p.name)}
    return not names - {_ENTRY, _SCRIPT, _FORMER, "fiftyone.yml", "__pycache__"}


def _check_others(folder: Path) -> None:
    """Raises an error if FiftyOne would find the same plugin in another folder."""
    for plugin in fop.list_plugins(enabled="all", builtin=False, shadowed="all"):
        if plugin.name == PLUGIN_NAME and Path(plugin.directory).resolve() != folder.resolve():
            raise ValueError(
                f"The plugin is in '{plugin.directory}' already: remove it with `fiftyone plugins "
                f"delete {PLUGIN_NAME}`, or keep using it instead"
            )
