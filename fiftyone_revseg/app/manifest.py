"""The manifest of the plugin, ``fiftyone.yml``: FiftyOne registers only what is listed in it.

The one at the top of the repository is for ``fiftyone plugins download``; ``revseg install`` writes
one for the installed package. Both are made here, from the operators themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fiftyone_revseg.files import write_text

#: The plugin's name, and so the first part of the operators' URIs
PLUGIN_NAME = "fiftyone_revseg"

_ENTRY = "fiftyone_revseg/app/__init__.py"
_SCRIPT = "fiftyone_revseg/app/plugin.js"
_HEAD = "# Written by `python -m fiftyone_revseg.app.manifest`; FiftyOne registers what it lists\n"


def make_manifest(entry: str = "__init__.py", script: str = "plugin.js") -> dict[str, Any]:
    """Makes the content of ``fiftyone.yml``.

    Args:
        entry ("__init__.py"): the Python file that registers the operators, relative to the
            manifest
        script ("plugin.js"): the JavaScript file that the App runs, likewise

    Returns:
        a dict that can be written as YAML
    """
    from fiftyone_revseg.app.operators import OPERATORS, PANELS
    from fiftyone_revseg.reasoning.serving.served import KEY_NAME
    from fiftyone_revseg.version import __version__

    return {
        "name": PLUGIN_NAME,
        "version": __version__,
        "description": "Reasoning video segmentation (ReVSeg): a query in, a thought, a key frame "
        "and masks out",
        "license": "Apache-2.0",
        "url": "https://arxiv.org/abs/2512.02835",
        "fiftyone": {"version": ">=1.22"},
        "py_entry": entry,
        "js_bundle": script,
        "operators": [cls().config.name for cls in OPERATORS],
        "panels": [cls().config.name for cls in PANELS],
        "secrets": [KEY_NAME],
    }


def to_yaml(manifest: dict[str, Any]) -> str:
    """Returns a manifest as YAML."""
    import yaml

    return _HEAD + yaml.safe_dump(manifest, sort_keys=False, width=100)


def write_manifest(directory: Path) -> None:
    """Writes the manifest of the repository: to be run when operators were added."""
    write_text(directory / "fiftyone.yml", to_yaml(make_manifest(_ENTRY, _SCRIPT)))


if __name__ == "__main__":
    write_manifest(Path(__file__).parents[2])
