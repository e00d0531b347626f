"""Words: the two-turn dialogue that turns a query into key frames, descriptions and boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names

if TYPE_CHECKING:
    from fiftyone_revseg.reasoning.backend import (
        Conversation,
        Image,
        Message,
        Reasoner,
        Reply,
        VideoFrames,
    )
    from fiftyone_revseg.reasoning.chain import ChainRequest
    from fiftyone_revseg.reasoning.local import LocalReasoner
    from fiftyone_revseg.reasoning.parse import (
        MAX_OBJECTS,
        ParseError,
        parse_boxes,
        parse_choices,
        parse_think,
    )
    from fiftyone_revseg.reasoning.rolling import run_chain
    from fiftyone_revseg.reasoning.server import ServerReasoner
    from fiftyone_revseg.reasoning.spec import ChainSpec, family_spec
    from fiftyone_revseg.reasoning.trajectory import Grounding, KeyframeChoice, Trajectory, Turn

__getattr__, __dir__, __all__ = lazy_names(__name__)
