"""The operations and bytes that no engine can do without: what sets the floor of the time.

Of the language model they are counted by formula, from its configuration. SAM2 is run without
numbers (torch's "meta" device), and its matrix products are counted.

    python benchmarks/engine_floor.py
    python benchmarks/engine_floor.py --frames 300 --flops 800e12 --bandwidth 4.8e12     # an H200
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

BYTES = 2  # of a weight in bfloat16
USED_FLOPS, USED_BANDWIDTH = 0.5, 0.7  # what well-made kernels get of a GPU, by experience


@dataclass(frozen=True)
class Floor:
    """What one video with one query takes."""

    images: int  # of the first turn
    vision: float  # operations for the images of both turns, each seen once
    prefill: float  # for reading both turns
    decode: float  # for writing both turns
    weights: float  # bytes, read for every token that is written, by a whole batch together
    cache: float  # bytes of keys and values, read for every token, by each dialogue
    tokens: int  # written
    prompts: tuple[int, int]  # tokens read in turn 1, and anew in turn 2


def vision_flops(vision, patches, merged_width):
    """Of an image of so many patches."""
    width, inner, layers = vision.hidden_size, vision.intermediate_size, vision.depth
    gated = 3 if vision.model_type == "qwen2_5_vl" or hasattr(vision, "window_size") else 2
    whole = getattr(vision, "fullatt_block_indexes", None)
    window = (getattr(vision, "window_size", 0) // vision.patch_size) ** 2 or patches
    seen = sum(
        patches if whole is None or i in whole else min(window, patches) for i in range(layers)
    )
    linear = layers * patches * (4 * width**2 + gated * width * inner)
    attention = 2 * patches * seen * width
    side = vision.spatial_merge_size**2
    merger = patches // side * ((side * width) ** 2 + side * width * merged_width)
    mergers = 1 + len(getattr(vision, "deepstack_visual_indexes", None) or ())
    embed = patches * width * 3 * vision.temporal_patch_size * vision.patch_size**2
    return 2 * (linear + attention + mergers * merger + embed)


def text_weights(text):
    """Those of the layers, and those that give the scores of the next token."""
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    attention = 2 * text.hidden_size * head * (text.num_attention_heads + text.num_key_value_heads)
    layer = attention + 3 * text.hidden_size * text.intermediate_size
    return text.num_hidden_layers * layer, text.hidden_size * text.vocab_size


def language_floor(config, spec, reply_tokens, words=60):
    """Counts both turns; turn 2 goes on from the keys and values of turn 1."""
    text, vision = config.get_text_config(), config.vision_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    patches = [(size // vision.patch_size) ** 2 for size in (spec.frame_size, spec.key_frame_size)]
    tokens = [count // vision.spatial_merge_size**2 for count in patches]
    width = text.hidden_size
    seen = [vision_flops(vision, count, width) for count in patches]
    first = spec.frames * (tokens[0] + 8) + words
    said = first + reply_tokens
    second = said + tokens[1] + words
    layers, scores = text_weights(text)
    across = text.num_hidden_layers * text.num_attention_heads * head

    def reading(length, known=0):
        return 2 * (layers * (length - known) + across * (length**2 - known**2) + scores)

    def writing(length):
        return reply_tokens * 2 * (layers + scores + 2 * across * length)

    kept = 2 * text.num_hidden_layers * text.num_key_value_heads * head * BYTES
    return Floor(
        images=spec.frames,
        vision=spec.frames * seen[0] + seen[1],
        prefill=reading(first) + reading(second, said),
        decode=writing(first) + writing(second),
        weights=(layers + scores) * BYTES,
        cache=kept * (first + second) / 2,
        tokens=2 * reply_tokens,
        prompts=(first, second - said),
    )


def sam2_flops(config):
    """Of the image encoder for a frame, the key frame's step and, with a full memory, any other."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from fiftyone_revseg.tracking.checkpoints import build_model
    from fiftyone_revseg.tracking.memory import Memory, encode_frames, track_frame

    model = build_model(config).eval().to("meta")
    with torch.inference_mode(), torch.device("meta"):
        with FlopCounterMode(display=False) as encoder:
            (features,) = encode_frames(
                model, torch.zeros(1, 3, model.image_size, model.image_size)
            )
        memory, steps = Memory(model, torch.bfloat16), []
        for k in range(memory.reach + 2):
            box = {
                "point_coords": torch.zeros(1, 2, 2),
                "point_labels": torch.zeros(1, 2, dtype=torch.int32),
            }
            with FlopCounterMode(display=False) as step:
                track_frame(model, features, memory, 1, None if k else box)
            steps.append(step.get_total_flops())
    weights = sum(p.numel() for p in model.parameters())
    return encoder.get_total_flops(), steps[0], steps[-1], weights


def cpu_rate():
    """Operations a second that this CPU reaches in products of large float32 matrices."""
    import torch

    a, b = torch.rand(2, 1536, 1536)
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        a @ b
        best = max(best, 2 * 1536**3 / (time.perf_counter() - started))
    return best


def report(name, floor, sam2, args, rate, bandwidth):
    """Prints the table of a pair of models on a device of so many operations and bytes a second."""
    encoder, _, step, weights = sam2
    print(f"\n{name}: {args.frames} frames, one query, one object")
    rows = [
        (f"vision tower, {floor.images} frames and the key frame", floor.vision, 0.0),
        (
            f"reading prompts of {floor.prompts[0]} and {floor.prompts[1]} more tokens",
            floor.prefill,
            0,
        ),
        (
            f"writing {floor.tokens} tokens, {args.batch} dialogues in a batch",
            floor.decode,
            floor.tokens * (floor.weights / args.batch + floor.cache),
        ),
        (f"SAM2's image encoder, {args.frames} frames", args.frames * encoder, 0.0),
        (
            f"SAM2's steps with memory, {args.frames} frames",
            args.frames * step,
            args.frames * weights * BYTES / args.batch,
        ),
    ]
    total = 0.0
    print(f"  {'':58}{'GFLOP':>11}{'GB read':>10}{'ms':>10}")
    for what, flops, read in rows:
        seconds = max(flops / rate, read / bandwidth)
        total += seconds
        print(f"  {what:58}{flops / 1e9:11,.0f}{read / 1e9:10.1f}{1000 * seconds:10,.1f}")
    alone = floor.weights / bandwidth
    print(
        f"  one token: {floor.weights / 1e9:.2f} GB of weights, {floor.cache / 1e6:.1f} MB of keys "
        f"and values; at least {1000 * alone:.2f} ms alone"
    )
    print(f"  at least {1000 * total:,.0f} ms for a video: {3600 / total:,.0f} videos per hour")
    return {"name": name, "rows": rows, "seconds": total}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100, help="of the video")
    parser.add_argument("--new-tokens", type=int, default=128, help="in each turn")
    parser.add_argument("--batch", type=int, default=16, help="dialogues, or objects, together")
    parser.add_argument("--flops", type=float, default=989e12, help="of the GPU, dense bfloat16")
    parser.add_argument("--bandwidth", type=float, default=4.8e12, help="bytes a second")
    args = parser.parse_args(argv)

    import sam2
    from random_weights import ARCHITECTURES
    from transformers import AutoConfig, Qwen2_5_VLConfig

    from fiftyone_revseg.reasoning import ChainSpec, family_spec
    from fiftyone_revseg.tracking.checkpoints import EMBEDDED, read_config

    rate = cpu_rate()
    nano = EMBEDDED / "revseg-nano"
    spec = ChainSpec.load(nano)
    results = [
        report(
            f"The embedded pair on this CPU, {rate / 1e9:.0f} GFLOP/s",
            language_floor(AutoConfig.from_pretrained(nano), spec, 20, words=10),
            sam2_flops(read_config(EMBEDDED / "sam2-nano" / "config.yaml")),
            args,
            rate,
            20e9,  # weights of this size stay in the cache
        )
    ]
    _, sizes = ARCHITECTURES["qwen2.5-vl-7b"]
    config = Qwen2_5_VLConfig(text_config=sizes["text"], vision_config=sizes["vision"])
    large = Path(sam2.__file__).parent / "configs" / "sam2.1" / "sam2.1_hiera_l.yaml"
    results.append(
        report(
            f"Qwen2.5-VL 7B and SAM2.1 large on a GPU, {USED_FLOPS:.0%} of "
            f"{args.flops / 1e12:.0f} TFLOP/s and {USED_BANDWIDTH:.0%} of "
            f"{args.bandwidth / 1e12:.1f} TB/s",
            language_floor(config, family_spec("qwen2_5_vl"), args.new_tokens),
            sam2_flops(read_config(large)),
            args,
            USED_FLOPS * args.flops,
            USED_BANDWIDTH * args.bandwidth,
        )
    )
    return results


if __name__ == "__main__":
    main()
