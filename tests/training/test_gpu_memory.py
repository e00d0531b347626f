"""The formulas of memory against what torch really keeps, and against published sizes."""

import pytest
from full_size_configs import QWEN2_5_VL_7B
from random_weights import build

from fiftyone_revseg.models.builtin import PRESETS
from fiftyone_revseg.training.gpu_memory import LayerShape, Workload, estimate_memory, shape_of

GB = 10**9


@pytest.fixture(scope="module")
def seven():
    from transformers import Qwen2_5_VLConfig

    return shape_of(Qwen2_5_VLConfig(**QWEN2_5_VL_7B))


def rollout(batch=1, generated=128):
    return Workload(batch, generated, generated, 4300, 3000, 16 * 256 + 900)


def test_the_whole_model_is_built_without_memory(seven):
    assert 2 * seven.parameters == pytest.approx(
        PRESETS["revseg-qwen2.5-vl-7b"].reasoner_weights.size, rel=1e-4
    )
    assert seven.text == LayerShape(28, 3584, 3584, 512, 18944)
    assert seven.merge == 4
    # q, k, v, o: 7168 + 4096 + 4096 + 7168; gate, up, down: 3 x 22528
    assert seven.adapters == 28 * (2 * 7168 + 2 * 4096 + 3 * 22528)


@pytest.mark.parametrize("architecture", ["tiny-qwen3.5", "tiny-qwen3.5-moe"])
def test_models_with_recurrent_layers_and_experts_have_a_shape(architecture):
    shape = shape_of(build(architecture)[0])
    # q, with its gate, k, v, o in 1 layer; qkv, z, out in 3 layers; the MLP, or the shared expert
    attention = (32 + 64) + 2 * (32 + 16) + (32 + 32)
    recurrent = (32 + 64) + (32 + 32) + (32 + 32)
    mlp = 32 if "moe" in architecture else 64
    assert shape.adapters == attention + 3 * recurrent + 4 * 3 * (32 + mlp)
    assert shape.text.mlp == (3 * 32 if "moe" in architecture else 64)


def test_states_are_those_of_the_zero_paper(seven):
    p = seven.parameters
    alone = estimate_memory(seven, rollout(), zero_stage=1, reference=False)
    assert sum(alone.states.values()) == 16 * p + 2 * GB
    parts = ("weights", "gradients", "Adam")
    for stage, shared in ((1, 2 + 2 + 12 / 8), (2, 2 + (2 + 12) / 8), (3, 16 / 8)):
        states = estimate_memory(seven, rollout(), 8, stage).states
        assert sum(states[name] for name in parts) == pytest.approx(shared * p, rel=1e-6)
        assert states["reference model"] == pytest.approx(2 * p / (8 if stage == 3 else 1))
    plain = estimate_memory(seven, rollout()).states
    assert sum(plain[name] for name in parts) == 16 * p
    assert plain["weights in bfloat16"] == 2 * p


def test_the_recipe_fits_and_the_same_without_its_savings_does_not(seven):
    recipe = {"gpus": 8, "zero_stage": 3, "gradient_checkpointing": True, "vllm": "colocate"}
    assert 30 * GB < estimate_memory(seven, rollout(), **recipe).peak < 80 * GB
    for change in (
        {"vllm": None},  # transformers reads all prompts of a step together
        {"zero_stage": 0},
        {"gradient_checkpointing": False},
    ):
        assert estimate_memory(seven, rollout(), **{**recipe, **change}).peak > 80 * GB
    lora = estimate_memory(
        seven, rollout(), lora_rank=16, gradient_checkpointing=True, vllm="server"
    )
    assert lora.peak < 40 * GB
    assert lora.states["reference model"] == 0


def test_more_of_anything_takes_more(seven):
    base = {"gpus": 8, "zero_stage": 3, "gradient_checkpointing": True}
    least = estimate_memory(seven, rollout(generated=8), **base)
    assert estimate_memory(seven, rollout(2, 8), **base).update["activations"] == (
        2 * least.update["activations"]
    )
    more = estimate_memory(seven, rollout(generated=16), **base)
    assert more.generation["keys and values"] == 2 * least.generation["keys and values"]
    # 2 x 2 bytes for each of 512 numbers in 28 layers
    assert least.generation["keys and values"] == 8 * 7300 * 57344
    assert estimate_memory(seven, rollout(), **base, bf16=False).peak > least.peak


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_what_torch_keeps(checkpointing):
    """A small language model on this CPU, in float32; what autograd keeps is counted."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=32,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
    )
    model = Qwen3ForCausalLM(config).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # alive, so addresses are unique
        return tensor

    tokens = 128
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.model(input_ids=torch.ones(1, tokens, dtype=torch.long), use_cache=False)
    measured = sum(size for size, _ in kept.values())
    shape = LayerShape(8, 64, 64, 32, 256)
    if checkpointing:
        # The formula has one layer on top, which is only there in the backward pass
        formula = tokens * (shape.kept_checkpointed(4) - shape.kept(4) // 8)
    else:
        formula = tokens * shape.kept(4)
    assert measured == pytest.approx(formula, rel=0.3)  # and the last norm, and positions
