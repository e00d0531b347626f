"""All operators and panels, in the order in which people meet them."""

from __future__ import annotations

from fiftyone_revseg.app.segment import Segment, Stop

OPERATORS = [Segment, Stop]
PANELS = []
