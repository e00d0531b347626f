"""What a preset is, a vision-language model and a tracker under one name, and the built-in ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fiftyone_revseg.models.quantization import SHARES

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"

#: The tracker of ReVSeg (arXiv 2512.02835), and of every model that names none
DEFAULT_TRACKER = "sam2.1-hiera-large"


@dataclass(frozen=True)
class Weights:
    """What a person wants to know about a model's weights before they load it.

    Attributes:
        size: the size of the weights on disk, in bytes
        license: the licence's name, as SPDX or the Hugging Face hub writes it
        folder (None): the directory that holds them, if they come with this package
        hub_id (None): the id of the repository on the hub that holds them, if they do not
        files (()): patterns of the files that are needed from there
    """

    size: int
    license: str
    folder: Path | None = None
    hub_id: str | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset:
    """A vision-language model and the tracker that goes with it.

    Attributes:
        reasoner: the hub id or path of the vision-language model
        tracker: the tracker, as :func:`fiftyone_revseg.tracking.load_tracker` takes it
        description: one sentence for people who choose
        reasoner_weights (None): what is known about the vision-language model's weights
        tracker_weights (None): what is known about the tracker's weights
        own (False): whether it is a person's own, see :mod:`fiftyone_revseg.models.presets`
    """

    reasoner: str
    tracker: str
    description: str
    reasoner_weights: Weights | None = None
    tracker_weights: Weights | None = None
    own: bool = False

    @property
    def weights(self) -> tuple[Weights, ...]:
        """What is known about the weights, first the vision-language model's."""
        both = (self.reasoner_weights, self.tracker_weights)
        return tuple(weights for weights in both if weights is not None)

    @property
    def size(self) -> int:
        """The size of all weights on disk, in bytes."""
        return sum(weights.size for weights in self.weights)

    @property
    def license(self) -> str:
        """The licence that binds who uses the pair.

        That is the vision-language model's: the trackers are all under Apache-2.0. It is one
        name, as FiftyOne takes a comma for a choice between licences.
        """
        return self.reasoner_weights.license if self.reasoner_weights else ""

    @property
    def embedded(self) -> bool:
        """Whether all weights come with this package."""
        here = not self.own and not any(weights.hub_id for weights in self.weights)
        return bool(self.weights) and here

    def gpu_memory(self, quantization: str | None = None) -> int:
        """The GPU memory that one video at a time takes, in bytes: an estimate.

        Args:
            quantization (None): "4bit" or "8bit"; None for bfloat16, or what a checkpoint is in
        """
        small = self.embedded or 0 < self.size < _SMALL
        model = self.reasoner_weights.size if self.reasoner_weights else 0
        fewer = round(model * (1 - SHARES[quantization])) if quantization else 0
        return self.size - fewer + (_NANO_WORKING_MEMORY if small else _WORKING_MEMORY)


# Beside the weights: the keys and values of about 8,000 tokens (up to 1 GB), a vision tower at work
# on 16 frames, SAM 2 at work on 1024 x 1024 pixels, and what CUDA keeps for itself.
_WORKING_MEMORY = 4 * 10**9
_NANO_WORKING_MEMORY = 10**9
_SMALL = 10**9  # weights of models that were trained from the embedded one

_SAM2_LARGE = Weights(
    898_083_611,
    "Apache-2.0",
    hub_id="facebook/sam2.1-hiera-large",
    files=("sam2.1_hiera_large.pt",),
)


def _from_hub(hub_id: str, size: int, license: str, description: str) -> Preset:
    """A vision-language model as it is on the hub, with the tracker of the paper."""
    files = ("*.json", "*.jinja", "*.safetensors", "*.txt")
    weights = Weights(size, license, hub_id=hub_id, files=files)
    return Preset(hub_id, DEFAULT_TRACKER, description, weights, _SAM2_LARGE)


PRESETS = {
    "revseg-nano": Preset(
        str(CHECKPOINTS / "revseg-nano"),
        "sam2-nano",
        "The embedded pair, trained on synthetic worlds only: runs anywhere within seconds, "
        "for demos and tests.",
        Weights(9_082_728, "Apache-2.0", folder=CHECKPOINTS / "revseg-nano"),
        Weights(10_397_056, "Apache-2.0", folder=CHECKPOINTS / "sam2-nano"),
    ),
    "revseg-qwen2.5-vl-3b": _from_hub(
        "Qwen/Qwen2.5-VL-3B-Instruct",
        7_509_245_952,
        "qwen-research",
        "The stock 3B model in the two-turn chain; needs a GPU, and its licence allows no "
        "commercial use.",
    ),
    "revseg-qwen2.5-vl-7b": _from_hub(
        "Qwen/Qwen2.5-VL-7B-Instruct",
        16_584_333_312,
        "Apache-2.0",
        "The paper's architecture with stock weights (chain without RL); needs a GPU.",
    ),
    "revseg-qwen3-vl-4b": _from_hub(
        "Qwen/Qwen3-VL-4B-Instruct",
        8_875_631_616,
        "Apache-2.0",
        "The stock 4B model in the two-turn chain; needs a GPU.",
    ),
    "revseg-qwen3-vl-8b": _from_hub(
        "Qwen/Qwen3-VL-8B-Instruct",
        17_534_247_392,
        "Apache-2.0",
        "The stock 8B model in the two-turn chain; needs a GPU.",
    ),
    "revseg-qwen3.5-4b": _from_hub(
        "Qwen/Qwen3.5-4B",
        9_320_000_000,
        "Apache-2.0",
        "A small model that thinks before it answers; needs a GPU, of 8 GB with 4bit.",
    ),
    "revseg-qwen3.5-9b": _from_hub(
        "Qwen/Qwen3.5-9B",
        19_320_000_000,
        "Apache-2.0",
        "A model that thinks before it answers; needs a GPU, of 12 GB with 4bit.",
    ),
    "revseg-qwen3.8-27b": _from_hub(
        "Qwen/Qwen3.8-27B",
        55_600_000_000,
        "Apache-2.0",
        "The largest that one GPU holds, and it thinks before it answers; needs a GPU, of 80 GB, "
        "or of 48 GB with 8bit, or of 24 GB (just) with 4bit.",
    ),
}


class ModelNotFoundError(ValueError):
    """A model's name stands for nothing that can be loaded. The message says what to do."""
