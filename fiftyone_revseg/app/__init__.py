"""Operators and a panel for the FiftyOne App.

FiftyOne runs this file as the plugin's entry, from wherever it keeps the plugin. All it does there
is to hand over to the installed package, so that models stay in memory and versions fit together.
"""

from typing import Any


def register(plugin: Any) -> None:
    """Registers all operators and panels.

    Args:
        plugin: the :class:`fiftyone.plugins.context.PluginContext`

    Raises:
        ImportError: if the package is not installed; FiftyOne shows the message in the App
    """
    try:
        from fiftyone_revseg.app.operators import OPERATORS, PANELS
    except ImportError as error:
        if not (error.name or "").startswith("fiftyone_revseg"):
            raise
        raise ImportError(
            "The plugin needs the package fiftyone-revseg, and it is missing here or too old: run "
            "`pip install -U fiftyone-revseg`, or `pip install -e .` in its repository"
        ) from error
    for cls in (*OPERATORS, *PANELS):
        plugin.register(cls)
