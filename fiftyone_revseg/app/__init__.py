"""Operators and a panel for the FiftyOne App.

FiftyOne runs this file as the plugin's entry, from wherever it keeps the plugin. All it does there
is to hand over to the installed package, so that models stay in memory and versions fit together.
"""

from typing import Any


def register(plugin: Any) -> None:
    """Registers all operators and panels.

    Where the package is not installed, that is an operator in the place of *segment* which says
    what to type.

    Args:
        plugin: the :class:`fiftyone.plugins.context.PluginContext`

    Raises:
        ImportError: if the package is not installed; FiftyOne logs the message
    """
    try:
        from fiftyone_revseg.app.operators import OPERATORS, PANELS
    except ImportError as error:
        if not (error.name or "").startswith("fiftyone_revseg"):
            raise
        message = _what_to_type()
        plugin.register(_stand_in(message))
        raise ImportError(message) from error
    for cls in (*OPERATORS, *PANELS):
        plugin.register(cls)


def _what_to_type() -> str:
    import sys
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    # Downloaded as a plugin, the whole repository is here
    where = f'-e "{root}"' if (root / "setup.py").is_file() else "-U fiftyone-revseg"
    return (
        "The plugin needs the package fiftyone-revseg, and it is missing here or too old. Type in "
        f'a terminal: "{sys.executable}" -m pip install {where} (or `pip install -e .` in its '
        "repository), then start the App again"
    )


def _stand_in(message: str) -> type:
    """An operator that only says what to do."""
    import fiftyone.operators as foo
    import fiftyone.operators.types as types

    class Missing(foo.Operator):
        """Says in the App what to type."""

        @property
        def config(self) -> foo.OperatorConfig:
            return foo.OperatorConfig(
                name="segment",
                label="ReVSeg: the package is not installed",
                description="Almost there: what to type",
                icon="error",
                dynamic=True,
            )

        def resolve_placement(self, ctx: foo.ExecutionContext) -> types.Placement:
            button = types.Button(label="ReVSeg is not installed", icon="error", prompt=True)
            return types.Placement(types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, button)

        def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
            inputs = types.Object()
            said = inputs.view("missing", types.Error(label=self.config.label, description=message))
            said.invalid, said.error_message = True, message
            return types.Property(inputs, view=types.View(label="ReVSeg"))

        def execute(self, ctx: foo.ExecutionContext) -> None:
            raise RuntimeError(message)

    return Missing
