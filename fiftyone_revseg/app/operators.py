"""All operators and panels, in the order in which people meet them."""

from __future__ import annotations

import fiftyone.operators as foo

from fiftyone_revseg.app.add import Add
from fiftyone_revseg.app.ask_again import AskAgain
from fiftyone_revseg.app.calibrate import Calibrate
from fiftyone_revseg.app.compare import Compare
from fiftyone_revseg.app.edit import Delete, Rename, Undo
from fiftyone_revseg.app.evaluate import Evaluate
from fiftyone_revseg.app.export import Export
from fiftyone_revseg.app.filter import Filter
from fiftyone_revseg.app.panel import ReasoningPanel
from fiftyone_revseg.app.playable import Playable
from fiftyone_revseg.app.propagate import Propagate
from fiftyone_revseg.app.reground import Reground
from fiftyone_revseg.app.review import Accept, Reject
from fiftyone_revseg.app.segment import Segment, Stop
from fiftyone_revseg.app.train import Train
from fiftyone_revseg.app.views import Views

OPERATORS: list[type[foo.Operator]] = [
    Segment,
    Stop,
    Propagate,
    Reground,
    Add,
    AskAgain,
    Rename,
    Delete,
    Undo,
    Accept,
    Reject,
    Views,
    Compare,
    Evaluate,
    Calibrate,
    Export,
    Filter,
    Playable,
    Train,
]
PANELS = [ReasoningPanel]
