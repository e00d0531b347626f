"""Words: the two-turn dialogue that turns a query into key frames, descriptions and boxes."""

from .backend import Conversation, Image, Message, Reasoner, Reply, VideoFrames
from .chain import ChainRequest, run_chain
from .local import LocalReasoner
from .parse import MAX_OBJECTS, ParseError, parse_boxes, parse_choices, parse_think
from .server import ServerReasoner
from .spec import ChainSpec, family_spec
from .trajectory import Grounding, KeyframeChoice, Trajectory, Turn

__all__ = [
    "MAX_OBJECTS",
    "ChainRequest",
    "ChainSpec",
    "Conversation",
    "Grounding",
    "Image",
    "KeyframeChoice",
    "LocalReasoner",
    "Message",
    "ParseError",
    "Reasoner",
    "Reply",
    "ServerReasoner",
    "Trajectory",
    "Turn",
    "VideoFrames",
    "family_spec",
    "parse_boxes",
    "parse_choices",
    "parse_think",
    "run_chain",
]
