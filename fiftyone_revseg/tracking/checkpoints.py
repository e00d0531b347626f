"""SAM2 models from names: the embedded one, official ones, the hub, local files.

Configs and weights are outside input. A config may only name the classes listed here, whatever
hydra would accept, and weights are read as plain tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.files.digests import digest_files, digest_texts
from fiftyone_revseg.models.limits import LimitError, check_yaml, largest_number, nested

if TYPE_CHECKING:
    import torch
    from sam2.modeling.sam2_base import SAM2Base

EMBEDDED = Path(__file__).resolve().parent.parent / "checkpoints"

# Exact paths, not a prefix: hydra follows attributes, so that "sam2.<module>.logging.os.system"
# would be found too.
ALLOWED_TARGETS = frozenset(
    f"sam2.modeling.{name}"
    for name in (
        "sam2_base.SAM2Base",
        "backbones.hieradet.Hiera",
        "backbones.image_encoder.FpnNeck",
        "backbones.image_encoder.ImageEncoder",
        "memory_attention.MemoryAttention",
        "memory_attention.MemoryAttentionLayer",
        "memory_encoder.CXBlock",
        "memory_encoder.Fuser",
        "memory_encoder.MaskDownSampler",
        "memory_encoder.MemoryEncoder",
        "position_encoding.PositionEmbeddingSine",
        "sam.transformer.RoPEAttention",
    )
)

# official checkpoint file -> its config inside the sam2 package
OFFICIAL_CONFIGS = {
    f"{version}_hiera_{size}.pt": f"configs/{version}/{version}_hiera_{short}.yaml"
    for version in ("sam2", "sam2.1")
    for size, short in (("tiny", "t"), ("small", "s"), ("base_plus", "b+"), ("large", "l"))
}
# preset name -> official checkpoint file; its hub id is "facebook/<preset>"
OFFICIAL_PRESETS = {file.removesuffix(".pt").replace("_", "-"): file for file in OFFICIAL_CONFIGS}

# (channels, blocks) of the image encoder -> how the official configs call that size
_SIZES = {(96, 12): "t", (96, 16): "s", (112, 24): "b+", (144, 48): "l"}

# What sam2 calls post-processing, without its filling of holes: that needs sam2's CUDA extension
# and is skipped by sam2 itself where it was not built.
POSTPROCESSING = {
    "binarize_mask_from_pts_for_mem_enc": True,
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
}


_NEEDS_SAM2 = (
    "the tracker needs the sam2 package: install torch first, then "
    "`SAM2_BUILD_CUDA=0 pip install --no-build-isolation sam2`; or write 'transformers:' "
    "before the tracker's name"
)
_NEEDS = (
    "holds no tracker: it needs config.yaml and model.safetensors, or exactly one .pt file, or "
    "what transformers saves of a video tracker"
)


class CheckpointError(ValueError):
    """A tracker's config or weights cannot be used; the message says why and what to do."""


def load_files(files: Sequence[Path]) -> tuple[SAM2Base, str]:
    """Builds a SAM2 model from the files that :func:`find_checkpoint` found, on the CPU.

    Returns:
        the model in eval mode, and a digest that names config and weights by their content

    Raises:
        CheckpointError: if the files are no good or do not fit together
    """
    settings, state, digest = read_files(files)
    model = build_model(settings)
    try:
        model.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as e:
        raise CheckpointError(
            f"the weights in '{files[-1]}' do not fit the config beside them: use the two of one "
            "model"
        ) from e
    return model.eval(), digest


def read_files(files: Sequence[Path]) -> tuple[dict[str, Any], dict[str, torch.Tensor], str]:
    """Reads the files that :func:`find_checkpoint` found.

    Returns:
        the config, that of the weights' shapes if there is no other; the weights; and a digest
        that names both by their content

    Raises:
        CheckpointError: if they are no good
    """
    *beside, weights = files
    settings = read_config(beside[0]) if beside else None  # is quick, so it goes first
    state = read_weights(weights)
    settings = settings or read_config(recognize(state, weights))
    digest = digest_texts([json.dumps(settings, sort_keys=True), digest_files([weights])])
    return settings, state, digest


def find_checkpoint(name_or_path: str | Path) -> list[Path]:
    """Finds the config and weights that a name stands for, downloading from the hub if need be.

    Args:
        name_or_path: "sam2-nano" (embedded), an official name such as "sam2.1-hiera-tiny", a hub
            id, a ``.pt`` or ``.safetensors`` file, or a directory with ``config.yaml`` and
            ``model.safetensors`` (or a ``.pt`` file). Without a config, official ones and those
            fine-tuned from them are known by their shapes

    Returns:
        the paths of the config, left out if only the weights can tell, and of the weights

    Raises:
        CheckpointError: if there are none
    """
    name = str(name_or_path)
    if not name.strip():  # which would be the directory that one is in
        raise CheckpointError("There is no tracker called '': leave it out, or name one")
    if name == "sam2-nano":
        return _in_directory(EMBEDDED / name)
    path = Path(name).expanduser()
    if path.is_dir():
        return _in_directory(path)
    if path.is_file():
        return _with_config(path)
    if name in OFFICIAL_PRESETS:
        name = f"facebook/{name}"
    if is_hub_id(name):
        return _on_hub(name)
    raise CheckpointError(
        f"no tracker called '{name}': give sam2-nano, {', '.join(OFFICIAL_PRESETS)}, "
        "a hub id or an existing path"
    )


def is_hub_id(name: str) -> bool:
    """Whether a name that is no path here can be that of a repository on the hub."""
    return name.count("/") == 1 and Path(name).suffix not in (".pt", ".safetensors")


_MOST = 16_384  # in a config of SAM2, where sizes go up to 1,152


def read_config(path: str | Path) -> dict[str, Any]:
    """Reads a SAM2 config file and checks that it builds nothing but SAM2's own classes.

    Args:
        path: a YAML file as in sam2's ``configs`` folder (a ``model`` at the top)

    Returns:
        the ``model`` part, with sam2's post-processing filled in where the file leaves it open

    Raises:
        CheckpointError: if the file is no such config
    """
    # Not plain PyYAML, which takes the official configs' "1e-6" for a word.
    from omegaconf import OmegaConf

    try:
        check_yaml(path)
    except LimitError as e:
        raise CheckpointError(str(e)) from None
    except Exception:  # said below
        pass
    try:
        contents: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        model = contents["model"]
    except Exception as e:  # YAML, OmegaConf and the file system each have errors of their own
        raise CheckpointError(
            f"'{path}' is not a SAM2 config: give a YAML file with a model"
        ) from e
    _check_targets(model, path)
    if not isinstance(model, dict) or model.get("_target_") != "sam2.modeling.sam2_base.SAM2Base":
        raise CheckpointError(f"'{path}' is not a SAM2 config: its model is not a SAM2Base")
    if largest_number(model) > _MOST:
        raise CheckpointError(
            f"'{path}' asks for a model of absurd size (a number above {_MOST:,}): take the config "
            "that belongs to the weights"
        )
    for key, value in POSTPROCESSING.items():
        model.setdefault(key, value)
    return model


def build_model(config: dict[str, Any]) -> SAM2Base:
    """Builds a SAM2 model with random weights.

    Args:
        config: the dict from :func:`read_config`

    Returns:
        the model

    Raises:
        CheckpointError: if SAM2 cannot be built from the config or is not installed
    """
    _check_targets(config, "the config")
    try:
        from hydra.utils import instantiate
        from sam2.modeling.sam2_base import SAM2Base  # noqa: F401
    except ImportError as e:
        raise CheckpointError(_NEEDS_SAM2) from e
    try:
        return instantiate(config, _recursive_=True)
    except Exception as e:  # hydra wraps whatever a constructor raises
        cause = str(e).splitlines()[0]
        raise CheckpointError(f"sam2 cannot build a model from this config ({cause})") from e


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Reads weights as plain tensors, without running code that a file may hold.

    Args:
        path: a ``.safetensors`` file, or a ``.pt`` checkpoint: tensors by name, or such a dict
            under "model", as in the official ones and in those that sam2's training writes

    Raises:
        CheckpointError: if the file cannot be read, or not as SAM2's own weights
    """
    import torch
    from safetensors.torch import load_file

    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("model", state)
        if not state or not all(torch.is_tensor(value) for value in state.values()):
            raise ValueError("no tensors by name")
    except Exception as e:  # damaged files raise from zipfile, pickle, json, struct, ...
        raise CheckpointError(
            f"'{path}' cannot be read as SAM2 weights: download it again or give another file"
        ) from e
    if any(key.startswith("vision_encoder.") for key in state):
        raise CheckpointError(
            f"'{path}' is in the layout of transformers: give the directory that holds it and its "
            "config.json, with 'transformers:' before it, or give the .pt file of the same model"
        )
    return state


def recognize(state: dict[str, torch.Tensor], path: Path) -> Path:
    """Finds the official config that weights were made with, known by their shapes.

    Args:
        state: tensors by name, as from :func:`read_weights`
        path: the file they come from, for the message

    Raises:
        CheckpointError: if their shapes are those of no official model
    """
    stem = state.get("image_encoder.trunk.patch_embed.proj.weight")
    prefix = "image_encoder.trunk.blocks."
    blocks = {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
    size = None if stem is None else _SIZES.get((len(stem), len(blocks)))
    if size is None:
        raise CheckpointError(
            f"no config for '{path}', and its shapes are those of no official SAM2 model: which "
            "config was it trained with? Put that beside it as config.yaml"
        )
    version = "sam2.1" if "no_obj_embed_spatial" in state else "sam2"
    return _package_config(f"configs/{version}/{version}_hiera_{size}.yaml")


def _check_targets(config: Any, path: str | Path) -> None:
    """Refuses a config that names anything but SAM2's classes or reads further files."""
    for part in nested(config):
        if isinstance(part, dict):
            target, read = part.get("_target_"), part.get("weights_path")
            if target is not None and target not in ALLOWED_TARGETS:
                raise CheckpointError(
                    f"{path} asks to build '{target}': only SAM2's own model classes are allowed"
                )
            if read is not None:
                raise CheckpointError(f"{path} asks to read '{read}': remove its weights_path")
        elif isinstance(part, str) and "${" in part:
            raise CheckpointError(f"{path} contains '{part}': write values, not interpolations")


def _package_config(name: str) -> Path:
    """The path of a config that comes with the sam2 package, found without importing sam2."""
    from importlib.util import find_spec

    spec = find_spec("sam2")
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(_NEEDS_SAM2)
    return Path(spec.submodule_search_locations[0]) / name


def _with_config(weights: Path) -> list[Path]:
    """A weights file and its config: one beside it, else the official one of that file name."""
    for beside in (weights.with_suffix(".yaml"), weights.parent / "config.yaml"):
        if beside.is_file():
            return [beside, weights]
    if weights.name in OFFICIAL_CONFIGS:
        return [_package_config(OFFICIAL_CONFIGS[weights.name]), weights]
    return [weights]


def _in_directory(directory: Path) -> list[Path]:
    """The config and weights in a directory; a clone of an official hub repository works too."""
    safetensors = directory / "model.safetensors"
    if (directory / "config.yaml").is_file() and safetensors.is_file():
        return [directory / "config.yaml", safetensors]
    found = sorted(directory.glob("*.pt"))
    if not found and safetensors.is_file():
        found = [safetensors]
    if len(found) == 1:
        return _with_config(found[0])
    raise CheckpointError(f"'{directory}' {_NEEDS}")


def _on_hub(repo_id: str) -> list[Path]:
    """Downloads a checkpoint: config.yaml and model.safetensors, or the only .pt file."""
    from huggingface_hub import hf_hub_download, list_repo_files
    from huggingface_hub.errors import EntryNotFoundError

    owner, name = repo_id.split("/")
    with downloading(repo_id):
        if owner == "facebook" and name in OFFICIAL_PRESETS:
            found = [OFFICIAL_PRESETS[name]]
        else:
            try:
                files = ("config.yaml", "model.safetensors")
                return [Path(hf_hub_download(repo_id, file)) for file in files]
            except EntryNotFoundError:
                found = [file for file in list_repo_files(repo_id) if file.endswith(".pt")]
                if len(found) != 1:
                    raise CheckpointError(f"'{repo_id}' on the hub {_NEEDS}") from None
        return _with_config(Path(hf_hub_download(repo_id, found[0])))


@contextmanager
def downloading(repo_id: str) -> Iterator[None]:
    """Has whatever the hub's client raises end as an error in words.

    Raises:
        CheckpointError: if a download fails
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as e:  # OSError, ValueError, httpx errors, ...
        raise CheckpointError(
            f"'{repo_id}' could not be downloaded from the hub ({type(e).__name__}): "
            "check the name and the connection, or give a local path"
        ) from e
