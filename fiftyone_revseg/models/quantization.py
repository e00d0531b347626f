"""A language model's weights in fewer bits, or spread over devices, where memory is short."""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Precision -> the memory that weights take then, of that in bfloat16, at most. Embeddings of a
#: model that ties them to its output stay as they are; of others, these are less
SHARES = {"8bit": 0.57, "4bit": 0.36}

_NEEDED = ("accelerate", "bitsandbytes")
_TRACKER_ROOM = 4 * 10**9  # bytes that a model spread over GPUs leaves on the tracker's
_ENOUGH = 0.5  # the share of the weights that has to be in fewer bits


def check_placing(quantization: str | None, device_map: str | None) -> None:
    """Checks how a model is to be loaded, before anything is.

    Args:
        quantization: "4bit" or "8bit"; None for the whole weights
        device_map: "auto" to spread the weights over all GPUs and the CPU; None for one device

    Raises:
        ValueError: if there is no such way, or what it takes is not installed
    """
    if quantization is not None and quantization not in tuple(SHARES):
        raise ValueError(
            f"quantization is {quantization!r}: give '4bit' or '8bit', or leave it out"
        )
    if device_map not in (None, "auto"):
        raise ValueError(
            f"device_map is {device_map!r}: give 'auto', to spread the model over all GPUs and the "
            "CPU, or leave it out and name a device"
        )
    needed = _NEEDED if quantization else _NEEDED[:1] if device_map else ()
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"This needs {' and '.join(missing)}: pip install 'fiftyone-revseg[quantization]'"
        )


def placing_arguments(
    config: Any,
    device: torch.device,
    dtype: torch.dtype,
    quantization: str | None,
    device_map: str | None,
) -> dict[str, Any]:
    """Says how ``from_pretrained`` loads a model in place, in words of transformers.

    Args:
        config: the model's, as transformers reads it
        device: the device, if there is no map; the tracker's, if there is one
        dtype: of what is not quantized, and to compute in
        quantization: see :func:`check_placing`
        device_map: see :func:`check_placing`

    Returns:
        keyword arguments; {} if a model is loaded as it is, and moved then

    Raises:
        ValueError: if the checkpoint is quantized already, and by something else is asked for
    """
    own = own_method(config)
    if own and quantization:
        raise ValueError(
            f"The weights are quantized already, by {own}: leave out "
            f"quantization={quantization!r}, or name the checkpoint that they were made from"
        )
    arguments: dict[str, Any] = {}
    if device_map:
        arguments["device_map"] = device_map
        arguments["max_memory"] = _with_room(_memory(), device.index or 0)
    elif own or quantization:
        arguments["device_map"] = {"": str(device)}
    if quantization:
        on_cpu = bool(device_map) or device.type == "cpu"
        arguments["quantization_config"] = _bits_and_bytes(config, dtype, quantization, on_cpu)
    return arguments


def own_method(config: Any) -> str | None:
    """Names what quantized a checkpoint, such as "fp8" or "awq"; None if nothing did."""
    own = getattr(config, "quantization_config", None)
    if not own:
        return None
    method = own.get("quant_method") if isinstance(own, dict) else own.quant_method
    if method is None:  # as it was when there was bitsandbytes alone
        bits = isinstance(own, dict) and (own.get("load_in_4bit") or own.get("load_in_8bit"))
        method = "bitsandbytes" if bits else "something without a name"
    return str(getattr(method, "value", method))


def quantize_rest(name: str, model: Any) -> None:
    """Quantizes what transformers left whole, and refuses a model that was left whole mostly.

    Transformers quantizes linear layers. Embeddings that are no output at the same time are looked
    up only, so 8 bits do; experts that share one tensor stay as they are.

    Args:
        name: the checkpoint's name
        model: the model, as ``from_pretrained`` quantized it; changed in place

    Raises:
        ValueError: if more than half of the weights are still whole, as they are experts
    """
    import torch
    from bitsandbytes.nn import Embedding8bit

    embedding = model.get_input_embeddings()
    if embedding.weight is not model.get_output_embeddings().weight:
        small = Embedding8bit(
            embedding.num_embeddings, embedding.embedding_dim, dtype=embedding.weight.dtype
        )
        small.load_state_dict({"weight": embedding.weight.detach()})
        model.set_input_embeddings(small.to(embedding.weight.device))
    whole = sum(p.nbytes for p in model.parameters() if p.dtype not in (torch.uint8, torch.int8))
    experts = sum(p.nbytes for n, p in model.named_parameters() if ".experts." in n)
    mostly_whole = whole > _ENOUGH * sum(p.nbytes for p in model.parameters())
    if mostly_whole and experts > _ENOUGH * whole:
        raise ValueError(
            f"Most weights of '{name}' are experts, which bitsandbytes leaves as they are: load a "
            "checkpoint of it in FP8, or use device_map='auto'"
        )


def _bits_and_bytes(config: Any, dtype: torch.dtype, quantization: str, on_cpu: bool) -> Any:
    from transformers import BitsAndBytesConfig

    # Of each layer it would say that it casts what comes in, and of a CPU what could be faster
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    both = (config, config.get_text_config())
    # An output that is the embedding, too, would be untied, and take the memory twice
    tied = any(getattr(part, "tie_word_embeddings", False) for part in both)
    kept = ["lm_head"] if tied else []
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    if on_cpu:
        kept += _odd_layers(config)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=kept,
    )


def _odd_layers(config: Any) -> list[str]:
    """Layers whose sides are no multiples of 64, which bitsandbytes 0.50 fails on on a CPU.

    The towers of Qwen3-VL 8B and of Qwen3.5 have such: 4,304 wide.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    linear = ((n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear))
    return [n for n, m in linear if m.in_features % 64 or m.out_features % 64]


def _memory() -> dict[Any, int]:
    from accelerate.utils import get_max_memory

    return get_max_memory()


def _with_room(memory: dict[Any, int], tracker: int) -> dict[Any, int]:
    """Leaves room for the tracker on its GPU."""
    return {at: max(0, n - _TRACKER_ROOM) if at == tracker else n for at, n in memory.items()}
