"""Registering the installed package as a source of zoo models, without any download."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fiftyone as fo

from fiftyone_revseg.files import read_files, write_files, write_json
from fiftyone_revseg.models.builtin import PRESETS

#: The source's name, and so the directory's under ``model_zoo_dir``. FiftyOne also puts the module
#: into ``sys.modules`` under it: with the hyphen it cannot hide a real one.
SOURCE_NAME = "fiftyone-revseg"

_HERE = Path(__file__).parent
_FILES = ("manifest.json", "__init__.py")


def register_zoo_source(overwrite: bool = False) -> Path:
    """Registers the presets with the FiftyOne Model Zoo on this machine.

    FiftyOne itself registers what is on GitHub or in an archive at a URL. This puts what it would
    have downloaded, a manifest and a module that hands over to the installed package, into the
    directory of the zoo. Doing it again changes nothing.

    Example::

        import fiftyone.zoo as foz
        from fiftyone_revseg.dataset import register_zoo_source

        register_zoo_source()
        model = foz.load_zoo_model("revseg-nano", query="the object that appears last")

    Args:
        overwrite (False): whether to replace a source of the same name with other contents

    Returns:
        the directory of the source

    Raises:
        ValueError: if there is such a source, and ``overwrite`` is not set
    """
    folder = Path(fo.config.model_zoo_dir) / SOURCE_NAME
    contents = {name: (_HERE / name).read_bytes() for name in _FILES}
    if read_files(folder, contents) == contents:
        return folder
    if os.path.lexists(folder):
        if not overwrite:
            raise ValueError(
                f"'{folder}' has other contents, as from another version or from a URL: "
                "pass overwrite=True to replace it"
            )
        if folder.is_symlink():
            folder.unlink()  # and not what it leads to
    write_files(folder, contents)
    return folder


def make_manifest() -> dict[str, Any]:
    """Makes the content of ``manifest.json`` from the presets.

    Returns:
        a dict that can be written as JSON
    """
    models = []
    for name, preset in PRESETS.items():
        source = preset.reasoner_weights.hub_id if preset.reasoner_weights else None
        models.append(
            {
                "base_name": name,
                # A file, as FiftyOne never takes a directory for a downloaded model
                "base_filename": f"{name}.json",
                "author": source.split("/")[0] if source else SOURCE_NAME,
                "license": preset.license,
                "source": f"https://huggingface.co/{source}" if source else None,
                "description": f"Segments in videos what a query asks for. {preset.description}",
                # Not "segmentation": the App would ask for a directory that is then not used
                "tags": ["instances", "video", "zero-shot", "vlm", "torch", "transformers"],
                "size_bytes": preset.size,
                "requirements": {
                    "packages": ["fiftyone-revseg"],
                    "cpu": {"support": True},
                    "gpu": {"support": True},
                },
            }
        )
    return {"name": SOURCE_NAME, "models": models}


def write_manifest() -> None:
    """Writes ``manifest.json`` into this package: to be run when the presets have changed."""
    write_json(_HERE / "manifest.json", make_manifest(), indent=4)
