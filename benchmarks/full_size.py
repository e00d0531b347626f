"""Runs the whole chain at full size without any download: random weights, made on the spot.

A Qwen-VL model and SAM2.1 tiny have their published sizes (or fewer layers, where there is no
GPU), so time and memory are real; only the answers are not. The clip goes through several times:

* as it is: random weights write no readable answer, and the status has to say so;
* with each reply replaced, after the model has written it, by a readable one: so that turn 2 and
  the tracker run too. The masks mean nothing;
* so once more, looking again: two candidates more, a verdict, which is "none" at first, and repair.

    python benchmarks/full_size.py CLIP                                    # on a GPU
    python benchmarks/full_size.py CLIP --layers 2 --frames 0:8 --new-tokens 16     # without one
    python benchmarks/full_size.py CLIP --model qwen3.5-9b --layers 4 --frames 0:8 --new-tokens 16
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from random_weights import ARCHITECTURES, save_random_checkpoint

from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.reasoning import LocalReasoner

CHOICE = (
    "<think>a stand-in</think> "
    '<answer>[{"frame_idx": 1, "object description": "a stand-in"}]</answer>'
)
BOX = '[{"bbox_2d": [210, 210, 630, 630], "label": "a stand-in"}]'
NONE = '<think>a stand-in</think> <answer> {"objects": [], "why": "it is another"} </answer>'
FIRST = '<think>a stand-in</think> <answer> {"objects": [1], "why": "it is that"} </answer>'


class StandIn:
    """Lets the model do all its work, then gives readable replies in place of the model's."""

    def __init__(self, reasoner):
        self.reasoner = reasoner
        self.name = f"{reasoner.name} with stand-in replies"
        self.spec = reasoner.spec
        self.verdicts = 0

    def generate(self, conversations, spec):
        replies = self.reasoner.generate(conversations, spec)
        return [
            replace(reply, text=self.text(c), token_texts=(), token_probabilities=())
            for c, reply in zip(conversations, replies, strict=True)
        ]

    def text(self, conversation):
        asked = conversation.messages[-1].text
        if '"wrong_frames"' in asked:
            self.verdicts += 1
            return NONE if self.verdicts == 1 else FIRST
        return CHOICE if "frame_idx" in asked else BOX


def random_tracker(device):
    """SAM2.1 tiny at its published size; its object score is positive, or it would hide all."""
    import sam2
    import torch

    from fiftyone_revseg.tracking import Sam2Tracker
    from fiftyone_revseg.tracking.checkpoints import build_model, read_config

    config = Path(sam2.__file__).parent / "configs" / "sam2.1" / "sam2.1_hiera_t.yaml"
    torch.manual_seed(0)
    model = build_model(read_config(config)).eval()
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(50.0)
    return Sam2Tracker(model, "sam2.1-hiera-tiny (random)", device)


def describe(title, answer):
    trajectory = answer.trajectory
    visible = [len(track.visible_frames) for track in answer.tracks if track is not None]
    print(f"\n{title}\n  status   {answer.status}: {answer.reason or '-'}")
    print(f"  video    {answer.frame_count} frames of {answer.size}")
    for turn in trajectory.turns:
        print(
            f"  turn {turn.turn}   attempt {turn.attempt}: {turn.prompt_tokens} tokens read, "
            f"{turn.tokens} written in {turn.seconds:.1f} s; {turn.error or 'readable'}"
        )
    print(f"  tracks   visible frames {visible}")
    print("  seconds  " + ", ".join(f"{k} {v:.1f}" for k, v in answer.timings.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", help="a video file")
    parser.add_argument("--model", default="qwen2.5-vl-3b", choices=ARCHITECTURES)
    parser.add_argument("--query", default="the dog that is nearest to the camera")
    parser.add_argument("--layers", type=int, help="fewer layers in both halves of the model")
    parser.add_argument("--frames", help="START:STOP, the part of the clip to use")
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--device")
    args = parser.parse_args()

    import torch

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    frame_range = tuple(int(k) for k in args.frames.split(":")) if args.frames else None
    with tempfile.TemporaryDirectory() as directory:
        path = save_random_checkpoint(
            directory,
            args.model,
            text_layers=args.layers,
            vision_layers=args.layers,
            dtype="bfloat16" if device.startswith("cuda") else "float32",
        )
        reasoner = LocalReasoner.load(path, device)
    reasoner.name = f"{args.model} (random)"
    count = sum(p.numel() for p in reasoner.model.parameters())
    print(f"{reasoner.name}: {count / 1e6:.0f} M parameters on {device}")
    tracker = random_tracker(device)
    spec = reasoner.spec.replace(max_new_tokens=args.new_tokens)

    (answer,) = RevSeg(reasoner, tracker, spec).segment(args.clip, args.query, frame_range)
    describe("As it is", answer)
    (answer,) = RevSeg(StandIn(reasoner), tracker, spec).segment(args.clip, args.query, frame_range)
    describe("With stand-in replies", answer)
    again = spec.replace(samples=2, verdict=True, rounds=1, anchors=1)
    pipeline = RevSeg(StandIn(reasoner), tracker, again)
    (answer,) = pipeline.segment(args.clip, args.query, frame_range)
    describe("Looking again, with stand-in replies", answer)
    said = [(verdict.count, verdict.objects) for verdict in answer.trajectory.verdicts]
    print(f"  verdicts {said}, candidates {len(answer.trajectory.candidates)}")

    scale = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, Linux kilobytes
    print(
        f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale:.1f} GiB",
        end="",
    )
    if device.startswith("cuda"):
        print(f", on the GPU {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", end="")
    print()


if __name__ == "__main__":
    main()
