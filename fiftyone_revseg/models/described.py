"""What a person who chooses a model wants to know, in one line each."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from functools import lru_cache

from fiftyone_revseg.models.builtin import PRESETS, ModelNotFoundError, Preset
from fiftyone_revseg.models.hub import is_on_disk
from fiftyone_revseg.models.presets import user_presets
from fiftyone_revseg.models.quantization import SHARES

_GB = 10**9


def all_presets() -> dict[str, Preset]:
    """Returns all presets by name, this package's first and then a person's own."""
    try:
        return {**PRESETS, **user_presets()}
    except ModelNotFoundError:  # what is damaged is said to whoever asks for one of them
        return dict(PRESETS)


def described_presets() -> dict[str, str]:
    """Describes all presets: name -> size, licence, what is on disk, and whether it fits here."""
    return {name: _in_words(preset) for name, preset in all_presets().items()}


def size_in_words(size: int) -> str:
    """Says a number of bytes, such as "8.9 GB"."""
    return f"{size / _GB:.1f} GB" if size >= _GB else f"{size / 1e6:.0f} MB"


@lru_cache(maxsize=1)
def memory_here() -> tuple[int, bool]:
    """Returns how much memory there is for a model, in bytes, and whether it is a GPU's.

    Without an NVIDIA GPU it is the machine's. torch is not imported for this.
    """
    command = shutil.which("nvidia-smi")
    if command:
        query = [command, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
        try:
            found = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
            return int(found.stdout.split()[0]) * 2**20, True
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            pass  # a driver without a GPU
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), False


def _in_words(preset: Preset) -> str:
    if preset.embedded:
        return "comes with the package; knows made-up videos only, for demonstrations"
    missing = sum(weights.size for weights in preset.weights if not is_on_disk(weights))
    if not missing:
        found = "on disk"
    else:
        found = "GONE" if preset.own else f"{size_in_words(missing)} to download"
    parts = [size_in_words(preset.size), preset.license, found, _fit(preset)]
    return " · ".join(part for part in parts if part)


def _fit(preset: Preset) -> str:
    """Whether a preset fits into the memory that is here, an estimate."""
    here, is_gpu = memory_here()
    if is_gpu:
        for kind in (None, *SHARES):
            if preset.gpu_memory(kind) <= here:
                fits = f"fits the GPU here ({size_in_words(here)})"
                return fits if kind is None else f"{fits} with {kind} only"
        return f"too large for the GPU here: {_needs(preset.gpu_memory(), here)}"
    needed = preset.gpu_memory() + preset.size  # in float32, weights take twice as much
    if needed <= here:
        return "no GPU here, so slow"
    return f"no GPU here, and too large for its memory: {_needs(needed, here)}"


def _needs(needed: int, here: int) -> str:
    return f"about {math.ceil(needed / _GB)} GB, here are {round(here / _GB)}"
