"""How a checkpoint wants to be asked: sizes, box convention, prompts and decoding."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fiftyone_revseg.files import write_json
from fiftyone_revseg.models.limits import LimitError, read_settings_text
from fiftyone_revseg.reasoning.conventions import HOW_TO_SAY, PROMPTS, find_convention
from fiftyone_revseg.reasoning.prompts import check_templates, default_template, read_templates
from fiftyone_revseg.reasoning.thinking import read_thinking

FILE_NAME = "revseg.json"
FRAME_ENCODINGS = ("images", "video")


@dataclass(frozen=True)
class ChainSpec:
    """The settings of the two-turn chain that belong to a checkpoint.

    The defaults are those of the paper (arXiv 2512.02835): 16 frames of 448 x 448 pixels in turn
    1, one key frame of 840 x 840 pixels in turn 2, boxes in pixels of that key frame.

    Args:
        frames (16): the number of frames to sample from each video
        frame_size (448): the side, in pixels, of the square that each sampled frame is resized to.
            The aspect ratio is not kept
        key_frame_size (840): the side, in pixels, of the square that the key frame is resized to
        box_convention ("pixels"): the space of the boxes that the model answers with: "pixels" of
            the resized key frame, "relative-1000" for 0 to 1000 along each side, or another one of
            :data:`fiftyone_revseg.reasoning.conventions.BOX_CONVENTIONS`
        frame_encoding ("images"): "images" shows each frame as an image with its index and time
            before it; "video" uses the model's video input
        prompts ({}): templates that replace the default ones, by name, or a directory that holds
            them as ``<name>.txt``; a directory is read at once. See
            :data:`fiftyone_revseg.reasoning.prompts.PLACEHOLDERS`
        max_new_tokens (1024): the most tokens that one reply may have
        retries (1): how often a reply that cannot be used is asked for again, in each turn
        temperature (0.0): the sampling temperature; 0 is greedy decoding
        thinking (None): whether a model that can think before it answers does: True, False, or how
            hard in the model's own words, such as "low"; "on" and "off" are True and False. By
            default, as the model has it. A reply that was cut off within its thought is asked for
            again without thinking
        thinking_tokens (0): how many tokens a reply may have on top of ``max_new_tokens`` for its
            thought, unless ``thinking`` is off
        prompt ("box"): what turn 2 asks for, and the tracker starts from: "box", "box+point", with
            a point on the object, or "point", for models that give no boxes
        samples (0): how many dialogues are sampled beside the greedy one, for more candidates
        sample_temperature (0.8): at which temperature
        verdict (False): whether the model judges the finished tracks in a third turn
        verdict_frames (None): how many frames that turn shows at most; by default ``frames``. With
            0 the model judges by what was measured on the tracks, in words, alone
        rounds (0): how often a verdict that no track is right leads back to turn 1
        anchors (0): how many boxes more than its first a track may get where it broke
        looks (0): how often turn 1 may ask for a stretch of the video to be shown closer
        max_gap (0.0): the seconds that sampled frames may lie apart; where that is exceeded, the
            video is asked about in windows of ``frames`` frames. 0 for no such limit

    Raises:
        ValueError: if a setting is not valid
    """

    frames: int = 16
    frame_size: int = 448
    key_frame_size: int = 840
    box_convention: str = "pixels"
    frame_encoding: str = "images"
    prompts: Mapping[str, str] = field(default_factory=dict, hash=False)
    max_new_tokens: int = 1024
    retries: int = 1
    temperature: float = 0.0
    thinking: bool | str | None = None
    thinking_tokens: int = 0
    prompt: str = "box"
    samples: int = 0
    sample_temperature: float = 0.8
    verdict: bool = False
    verdict_frames: int | None = None
    rounds: int = 0
    anchors: int = 0
    looks: int = 0
    max_gap: float = 0.0

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if value is None and name == "verdict_frames":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
            if value > most:
                raise ValueError(f"{name} must be at most {most}, got {value!r:.20}")
        find_convention(self.box_convention)
        if self.frame_encoding not in FRAME_ENCODINGS:
            raise ValueError(
                f"frame_encoding must be one of {FRAME_ENCODINGS}, got {self.frame_encoding!r}"
            )
        if self.prompt not in PROMPTS:
            raise ValueError(f"prompt must be one of {PROMPTS}, got {self.prompt!r}")
        for name in ("temperature", "sample_temperature", "max_gap"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number >= 0, got {value!r}")
        if not isinstance(self.verdict, bool):
            raise ValueError(f"verdict must be true or false, got {self.verdict!r}")
        if self.samples and not self.sample_temperature:
            raise ValueError("samples at a sample_temperature of 0 would all be the greedy one")
        object.__setattr__(self, "thinking", read_thinking(self.thinking))
        prompts = self.prompts
        if isinstance(prompts, (str, Path)):
            prompts = read_templates(prompts)
        if not isinstance(prompts, Mapping):
            raise ValueError(f"prompts must be a dict or a directory, got {prompts!r}")
        check_templates(prompts)
        if self.verdict_frames == 0 and "turn3" not in prompts:
            raise ValueError(
                "verdict_frames 0 is for models that judge by words alone, and the prompt speaks "
                "of pictures: give it a 'turn3' of its own among the prompts"
            )
        object.__setattr__(self, "prompts", dict(prompts))

    @property
    def reply_tokens(self) -> int:
        """The most tokens that a reply may have, with its thought."""
        return self.max_new_tokens + (0 if self.thinking is False else self.thinking_tokens)

    @property
    def judged_frames(self) -> int:
        """How many frames turn 3 shows at most."""
        return self.frames if self.verdict_frames is None else self.verdict_frames

    @property
    def tracks_in_turns(self) -> bool:
        """Whether what is tracked can depend on what was tracked before."""
        return bool(self.samples or (self.verdict and self.rounds) or self.anchors)

    def template(self, name: str) -> str:
        """Returns a prompt template: this spec's own if it has one, else the default."""
        return self.prompts[name] if name in self.prompts else default_template(name)

    def replace(self, **changes: Any) -> ChainSpec:
        """Returns a copy with some settings changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict:
        """Returns a JSON-serializable dict."""
        settings = asdict(self)
        for name, default in _LATER.items():
            if settings[name] == default:  # as what was stored before there was such a setting
                del settings[name]
        return settings

    @classmethod
    def from_dict(cls, d: Mapping) -> ChainSpec:
        """Loads a spec from a dict of settings.

        Raises:
            ValueError: if the dict names an unknown setting, or a setting is not valid
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(str(key) for key in d if key not in known)
        if unknown:
            raise ValueError(f"Unknown settings {unknown}: a chain spec has {', '.join(known)}")
        return cls(**d)

    def save(self, directory: str | Path) -> Path:
        """Writes ``revseg.json`` into a checkpoint's directory.

        Returns:
            the path of the file
        """
        path = Path(directory) / FILE_NAME
        write_json(path, self.to_dict(), indent=2)
        return path

    @classmethod
    def load(cls, directory: str | Path) -> ChainSpec:
        """Reads ``revseg.json`` from a checkpoint's directory.

        In the file, ``prompts`` may also be the name of a directory beside it.

        Raises:
            FileNotFoundError: if there is no such file
            ValueError: if the file is not valid
        """
        return cls.from_dict(read_settings(directory))


def read_settings(directory: str | Path) -> dict[str, Any]:
    """Reads the settings that ``revseg.json`` in a checkpoint's directory names, and no others.

    Raises:
        FileNotFoundError: if there is no such file
        ValueError: if the file is not valid
    """
    path = Path(directory) / FILE_NAME
    try:
        d = json.loads(read_settings_text(path))
    except LimitError:
        raise
    except (ValueError, RecursionError) as e:
        raise ValueError(f"'{path}' is not valid JSON: {e}") from e
    if not isinstance(d, dict):
        raise ValueError(f"'{path}' must hold a JSON object of settings")
    try:
        if isinstance(d.get("prompts"), str):
            d["prompts"] = path.parent / d["prompts"]
        spec = ChainSpec.from_dict(d)
    except ValueError as e:
        raise ValueError(f"'{path}': {e}") from e
    return {name: getattr(spec, name) for name in d}


# Whole numbers -> the least and the most. The most is far beyond what any model reads or writes: a
# typing error, or worse
#: Whole number of a setting -> the least and the most that it may be
LIMITS = {
    "frames": (1, 10_000),
    "frame_size": (1, 16_384),
    "key_frame_size": (1, 16_384),
    "max_new_tokens": (1, 1_000_000),
    "retries": (0, 100),
    "thinking_tokens": (0, 1_000_000),
    "samples": (0, 100),
    "verdict_frames": (0, 10_000),
    "rounds": (0, 10),
    "anchors": (0, 100),
    "looks": (0, 10),
}
#: The settings of a chain that looks again, which people choose anew for each run
LOOKING_AGAIN = ("samples", "verdict", "rounds", "anchors", "looks", "max_gap")

# Settings that were added, and their defaults
_LATER = {
    **{"thinking": None, "thinking_tokens": 0, "prompt": "box"},
    **{"samples": 0, "sample_temperature": 0.8, "verdict": False},
    **{"verdict_frames": None, "rounds": 0},
    **{"anchors": 0, "looks": 0, "max_gap": 0.0},
}

# Transformers' model type -> settings. Only families whose makers say which boxes they answer with:
# a wrong guess gives boxes that look right and are not. Qwen2.5-VL: pixels of the picture that it
# is shown; Qwen2-VL, Qwen3-VL to Qwen3.8, GLM-4.1V to 4.6V and InternVL: thousandths of its sides;
# Gemma 4: the same, with y first; Molmo 2: points in thousandths. Key frames make at least 1,024
# tokens, from which on a Qwen developer expects good boxes (llama.cpp, issue 16842): 32 squares of
# 28, 32 or 48 pixels each way.
_FAMILIES = {
    "qwen2_5_vl": ChainSpec(key_frame_size=896),
    **dict.fromkeys(
        ("qwen2_vl", "glm4v", "glm4v_moe", "glm46v"),
        ChainSpec(box_convention="relative-1000", key_frame_size=896),
    ),
    **dict.fromkeys(
        ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "qwen4_exp"),
        ChainSpec(box_convention="relative-1000", key_frame_size=1024),
    ),
    # Tiles of 448 pixels: 896 makes four, and one of the whole
    "internvl": ChainSpec(box_convention="relative-1000", key_frame_size=896),
    # Squares of 48 pixels, 1,120 at most
    **dict.fromkeys(
        ("gemma4", "gemma4_unified"),
        ChainSpec(box_convention="relative-1000-y-first", frame_size=432, key_frame_size=1536),
    ),
    # Points alone
    "molmo2": ChainSpec(box_convention="relative-1000", key_frame_size=896, prompt="point"),
}


def family_spec(model_type: str) -> ChainSpec:
    """Returns the settings for the stock checkpoints of a model family.

    Args:
        model_type: the ``model_type`` in the checkpoint's ``config.json``

    Raises:
        ValueError: if the family is not known
    """
    if model_type not in _FAMILIES:
        raise ValueError(
            f"In which space does a '{model_type}' model give its boxes? It is none of "
            f"{', '.join(_FAMILIES)}, so say it: load it with {HOW_TO_SAY}; or put a "
            f"{FILE_NAME} that says so beside its weights"
        )
    return _FAMILIES[model_type]


def complete_settings(model_type: str, settings: Mapping[str, Any]) -> ChainSpec:
    """Fills in what some settings leave open with the default of a model family.

    Args:
        model_type: the ``model_type`` in the checkpoint's ``config.json``
        settings: some settings of a chain spec

    Raises:
        ValueError: if a setting is not valid, or if neither the settings nor the family say in
            which space the boxes are
    """
    if model_type in _FAMILIES or "box_convention" not in settings:
        settings = {**family_spec(model_type).to_dict(), **settings}
    return ChainSpec.from_dict(settings)
