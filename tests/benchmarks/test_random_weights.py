import pytest
import torch
from random_weights import build, save_random_checkpoint
from transformers import AutoModelForImageTextToText


# the published indices of their weights say so many bytes of bfloat16
@pytest.mark.parametrize(
    ("name", "size"), [("qwen2.5-vl-3b", 7_509_245_952), ("qwen2.5-vl-7b", 16_584_333_312)]
)
def test_models_have_the_published_number_of_parameters(name, size):
    config, _ = build(name)
    with torch.device("meta"):  # shapes only, no memory
        model = AutoModelForImageTextToText.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == size // 2


def test_the_depth_can_be_reduced():
    config, processor = build("qwen2.5-vl-3b", text_layers=2, vision_layers=3)
    assert config.text_config.num_hidden_layers == 2
    assert config.vision_config.depth == 3
    assert list(config.vision_config.fullatt_block_indexes) == [2]
    assert config.image_token_id == processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")


def test_one_seed_one_model(tmp_path):
    def weights(seed):
        before = torch.random.get_rng_state()
        path = save_random_checkpoint(tmp_path / str(seed), "tiny-qwen2.5-vl", seed=seed)
        assert torch.equal(torch.random.get_rng_state(), before)
        return (path / "model.safetensors").read_bytes()

    first = weights(1)
    assert weights(1) == first
    assert weights(2) != first


def test_an_unknown_architecture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Unknown architecture 'gpt': use one of"):
        save_random_checkpoint(tmp_path, "gpt")
