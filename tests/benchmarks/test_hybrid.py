"""Two ways to write the same replies, with a model that has recurrent layers."""

from argparse import Namespace

import hybrid
from random_weights import save_random_checkpoint

from fiftyone_revseg.reasoning import ChainSpec, LocalReasoner


def test_both_ways_write_the_same(tmp_path):
    spec = ChainSpec(
        frames=2,
        frame_size=128,
        key_frame_size=64,
        box_convention="relative-1000",
        prompts=hybrid.PROMPTS,
        max_new_tokens=4,
    )
    save_random_checkpoint(tmp_path, "tiny-qwen3.5", spec=spec)
    reasoner = LocalReasoner.load(tmp_path, device="cpu")
    videos = hybrid.requests_of(Namespace(videos=2, queries=2, frames=2, frame_size=128))
    _, one = hybrid.run(hybrid.OneByOne(reasoner), spec, videos, 4)
    assert reasoner._decoder.read == 0
    _, other = hybrid.run(hybrid.Together(reasoner), spec, videos, 4)
    assert one == other
    assert len(one) == 8  # both turns of each query
    assert reasoner._decoder.reused > 0
