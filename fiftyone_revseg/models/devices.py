"""Where to run and in which precision: what suits this machine, or what the caller asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_DTYPES = {
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
    "half": "float16",
    "float32": "float32",
    "fp32": "float32",
}


def choose_device(device: torch.device | str | int | None = None) -> torch.device:
    """Returns the device to run on, once it is known to be there.

    Args:
        device (None): for example "cpu", "cuda", "cuda:1" or "mps". By default the current CUDA
            GPU if there is one, else the CPU; MPS only on request, as it was not tried

    Returns:
        the device, of a GPU with its index

    Raises:
        ValueError: if this machine has no such device
    """
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as e:
        raise _no_device(device) from e
    if chosen.type == "cpu":
        return torch.device("cpu")
    accelerator = _accelerator()
    if accelerator is None or accelerator.type != chosen.type:
        raise _no_device(device)
    if chosen.index is None:  # so that "cuda" and "cuda:0" are known to be the same
        return torch.device(chosen.type, torch.accelerator.current_device_index())
    if chosen.index >= torch.accelerator.device_count():
        raise _no_device(device)
    return chosen


def choose_dtype(dtype: torch.dtype | str | None, device: torch.device) -> torch.dtype:
    """Returns the precision to compute in.

    Args:
        dtype (None): "bfloat16", "float16", "float32", or torch's own. By default bfloat16 on
            CUDA GPUs that have it, else float32: in float16, the activations of Qwen models
            overflow
        device: the device, from :func:`choose_device`

    Raises:
        ValueError: if there is no such precision
    """
    import torch

    if dtype is None:
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    name = _DTYPES.get(str(dtype).removeprefix("torch."))
    if name is None:
        raise ValueError(
            f"There is no precision {str(dtype)!r} here: give 'bfloat16', 'float16' or 'float32'"
        )
    return getattr(torch, name)


def empty_caches() -> None:
    """Collects garbage and hands memory that nothing uses back to the GPUs."""
    import gc
    import sys

    gc.collect()  # models hold references in cycles
    torch: Any = sys.modules.get("torch")  # what was never imported holds no memory
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _accelerator() -> torch.device | None:
    import torch

    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None


def _has_bfloat16(device: torch.device) -> bool:
    import torch

    if device.type != "cuda":
        return False
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def _no_device(device: Any) -> ValueError:
    import torch

    accelerator, found = _accelerator(), ["'cpu'"]
    if accelerator is not None:
        count = torch.accelerator.device_count()
        found += [f"'{accelerator.type}:{i}'" for i in range(count)]
    there = " and ".join([", ".join(found[:-1]), found[-1]]) if len(found) > 1 else "only 'cpu'"
    return ValueError(f"There is no device {str(device)!r}: this machine has {there}")
