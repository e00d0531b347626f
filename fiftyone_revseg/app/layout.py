"""How the reasoning panel is laid out: its parts with their values, and their styles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

#: Upright videos would push everything below them out of sight
FITTING = {"image": {"style": {"maxWidth": "100%", "maxHeight": "40vh"}}}

#: The height of a view is a part of that of the panel, this one is in pixels
FLAT = {"container": {"style": {"height": 240}}}

#: What a person always needs stays in sight while all else is scrolled
ON_TOP = {
    "item": {
        "sx": {
            "position": "sticky",
            "top": 0,
            "zIndex": 2,
            "bgcolor": "background.mediaSpace",
            "borderBottom": "1px solid",
            "borderColor": "divider",
        }
    }
}

#: Long lines, as replies have them, must not make the panel wider
WRAPPED = {
    "markdown": {"style": {"overflowWrap": "anywhere"}},
    "container": {
        "sx": {"& pre, & code": {"whiteSpace": "pre-wrap !important", "overflowWrap": "anywhere"}}
    },
}

#: Thumbnails in rows
STRIP = {"columns": 4, "gap": 0.25, "orientation": "horizontal"}
THUMBNAIL = {"image": {"style": {"width": "100%", "display": "block"}}}

#: The bar with the judgments, and its buttons
BAR = {"orientation": "vertical", "gap": 0.5, "componentsProps": ON_TOP}
COMPACT = {"button": {"size": "small"}}


class Layout(types.Object):
    """A layout, and the values of its parts.

    The App keeps values that are given as defaults in the panel's state, and sends them back with
    every event; these it does not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Any] = {}

    def text(self, name: str, markdown: str, **kwargs: Any) -> None:
        """Adds a text."""
        self.str(name, view=types.MarkdownView(componentsProps=WRAPPED, **kwargs))
        self.values[name] = markdown

    def to_json(self) -> dict[str, Any]:
        """Goes by the name of its base class, as the App knows only FiftyOne's own types."""
        return {**super().to_json(), "name": "Object"}

    def show(self, ctx: foo.ExecutionContext, state: Sequence[str]) -> types.Property:
        """Sends the values in place of all earlier ones, and leaves only these names in the state.

        The App adds values to the state at times, and lays the new ones over those: a long curve
        would stick out from under a short one, and each event would carry all pictures so far.
        """
        names = json.dumps(state)
        ctx.ops.reduce_panel_state(
            f"(state) => Object.fromEntries({names}.map((name) => [name, state[name]]))"
        )
        ctx.ops.set_panel_data(self.values)
        view = types.GridView(orientation="vertical", gap=1, pad=2, componentsProps=_PAGE)
        return types.Property(self, view=view)


# Named for the plugin's script, which hides it while another sample is open
_PAGE = {"grid": {"className": "revseg-page"}}
