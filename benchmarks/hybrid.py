"""Both turns with a model that has recurrent layers: the rolling chain against ``generate``.

Qwen3.5 with random weights, tiny or of its published width with fewer layers. Two ways in turn, in
one process: transformers' own ``generate`` for one dialogue after the other, and the rolling chain
that the engine uses. Each reply is replaced by a readable one, so that turn 2 is asked; what was
really written has to be the same.

    python benchmarks/hybrid.py                                                 # tiny
    python benchmarks/hybrid.py --full-width --videos 2 --new-tokens 24 --repeats 1
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time

import numpy as np
from full_size import BOX, CHOICE
from random_weights import save_random_checkpoint

from fiftyone_revseg.models.batch_size import BatchSize
from fiftyone_revseg.nano.vlm import PROMPTS
from fiftyone_revseg.reasoning import ChainRequest, ChainSpec, LocalReasoner, Reply
from fiftyone_revseg.reasoning.chain import Pair
from fiftyone_revseg.reasoning.rolling import RollingChain
from fiftyone_revseg.types import FrameTable, Status


class OneByOne:
    """Transformers' own ``generate``."""

    def __init__(self, reasoner):
        self.reasoner = reasoner

    def write(self, conversations, spec):
        for conversation in conversations:
            inputs = self.reasoner.encode([conversation])
            written = self.reasoner.model.generate(
                **inputs, max_new_tokens=spec.max_new_tokens, do_sample=False
            )
            ids = written[0, inputs["input_ids"].shape[1] :]
            yield self.reasoner.processor.tokenizer.decode(ids, skip_special_tokens=True)


class Together:
    """The reasoner as the engine uses it."""

    def __init__(self, reasoner):
        self.reasoner = reasoner

    def write(self, conversations, spec):
        return [reply.text for reply in self.reasoner.generate(conversations, spec)]


class StandIn:
    """Gives readable replies in place of those that are written, and keeps what was written."""

    name = "random"

    def __init__(self, way, spec):
        self.way, self.spec, self.written = way, spec, {}

    def generate(self, conversations, spec):
        replies = []
        for conversation, text in zip(
            conversations, self.way.write(conversations, spec), strict=True
        ):
            asked = [message.text for message in conversation.messages if message.role == "user"]
            pixels = [
                part.pixels.tobytes()[:64]
                for message in conversation.messages
                for part in message.content
                if not isinstance(part, str)
            ]
            self.written[(*asked, *pixels)] = text
            replies.append(Reply(CHOICE if len(asked) == 1 else BOX, tokens=1))
        return replies


def requests_of(args):
    """The queries about each video."""
    table = FrameTable(
        tuple(range(args.frames)), tuple(map(float, range(args.frames))), args.frames, args.frames
    )
    videos = []
    for seed in range(args.videos):
        pixels = np.random.default_rng(seed)
        images = [
            pixels.integers(0, 256, (args.frame_size,) * 2 + (3,), dtype=np.uint8)
            for _ in range(args.frames)
        ]
        videos.append(
            [
                ChainRequest(
                    f"what moves like number {i} of them?" + " far away" * (i % 3),
                    table,
                    images,
                    images.__getitem__,
                    source_size=(args.frame_size,) * 2,
                )
                for i in range(args.queries)
            ]
        )
    return videos


def run(way, spec, videos, batch):
    """Returns the seconds, and what was written to each dialogue."""
    model = StandIn(way, spec)
    start = time.perf_counter()
    chain = RollingChain(model, spec, BatchSize("reasoning", batch))
    for key, requests in enumerate(videos):
        chain.add(key, [Pair(request, spec) for request in requests])
    while chain.waiting:
        for _, trajectories in chain.step():
            assert {t.status for t in trajectories} == {Status.OK}
    return time.perf_counter() - start, model.written


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full-width", action="store_true", help="the sizes of Qwen3.5-9B")
    parser.add_argument("--layers", type=int, default=4, help="of the language model")
    parser.add_argument("--vocabulary", type=int, default=4096, help="narrow, to save memory")
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--queries", type=int, default=4, help="about each video")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--frame-size", type=int, default=192)
    parser.add_argument("--key-frame-size", type=int, default=320)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    spec = ChainSpec(
        frames=args.frames,
        frame_size=args.frame_size,
        key_frame_size=args.key_frame_size,
        box_convention="relative-1000",
        prompts=PROMPTS,
        max_new_tokens=args.new_tokens,
    )
    name = "qwen3.5-9b" if args.full_width else "tiny-qwen3.5"
    with tempfile.TemporaryDirectory() as folder:
        small = {"vocabulary": args.vocabulary, "vision_layers": 2} if args.full_width else {}
        save_random_checkpoint(folder, name, text_layers=args.layers, spec=spec, **small)
        reasoner = LocalReasoner.load(folder, args.device, "float32")
    count = sum(p.numel() for p in reasoner.model.parameters())
    print(f"{name}, {args.layers} layers, {count / 1e6:.1f} M parameters, float32, {args.device}")
    print(
        f"{args.videos} videos x {args.queries} queries, {args.frames} frames of "
        f"{args.frame_size}, a key frame of {args.key_frame_size}, {args.new_tokens} tokens a reply"
    )
    videos = requests_of(args)
    ways = {"generate, one by one": OneByOne(reasoner), "rolling chain": Together(reasoner)}
    if not args.full_width:
        for way in ways.values():  # whatever is only done once
            run(way, spec, videos[:1], args.batch)
    seconds, written = {name: [] for name in ways}, {}
    for _ in range(args.repeats):
        for name, way in ways.items():
            reasoner.forget()
            taken, written[name] = run(way, spec, videos, args.batch)
            seconds[name].append(taken)
            print(f"  {name:22s} {taken:8.2f} s", flush=True)
    one, other = written.values()
    same = sum(one[asked] == other[asked] for asked in one)
    first, second = map(min, seconds.values())
    print(f"same replies: {same} of {len(one)}; rolling chain {first / second:.2f} x as fast")
    scale = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, Linux kilobytes
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale:.1f} GiB")


if __name__ == "__main__":
    main()
