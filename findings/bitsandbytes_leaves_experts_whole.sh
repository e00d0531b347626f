#!/usr/bin/env bash
# load_in_4bit of a mixture of experts quantizes everything but the experts, which are most of it, without a word.
#
# Guess before the run: as for a dense model, memory falls to about 0.3 of bfloat16, and what cannot be quantized is warned of.
# Seen, transformers 5.24.0 with bitsandbytes 0.50.2, a Qwen3-VL-MoE of 64 experts (random weights, on a CPU): the experts
#   are one tensor of all experts (`experts.gate_up_proj`), no linear layer, stay in bfloat16, and the model takes
#   0.99 of its memory. Neither a warning nor an error; `is_loaded_in_4bit` is True. A dense model of that width: 0.44
#   (its embeddings stay whole).
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v
v/bin/pip install -q transformers==5.24.0 bitsandbytes==0.50.2 accelerate==1.15.0 numpy==2.4.6 torch==2.14.1 torchvision==0.29.1 pillow==13.0.0
v/bin/python - <<'PY' 2>log || { tail -5 log; exit 1; }
import logging, warnings
import torch
import transformers
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, Qwen3VLConfig, Qwen3VLMoeConfig

said = []
warnings.showwarning = lambda message, *rest, **more: said.append(str(message))
class Listener(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
transformers.utils.logging.add_handler(Listener(logging.WARNING))

WIDTH = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 1, "head_dim": 128, "vocab_size": 512}
TOWER = {"depth": 1, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": 256,
         "deepstack_visual_indexes": [0]}

def share(config, folder):
    whole = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    whole.save_pretrained(folder)
    small = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.bfloat16, device_map={"": "cpu"},
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"))
    assert small.is_loaded_in_4bit
    return small, small.get_memory_footprint() / whole.get_memory_footprint()

_, dense = share(Qwen3VLConfig(text_config=WIDTH, vision_config=TOWER), "dense")
experts = {**WIDTH, "num_experts": 64, "num_experts_per_tok": 2, "moe_intermediate_size": 512}
said.clear()
moe, part = share(Qwen3VLMoeConfig(text_config=experts, vision_config=TOWER), "moe")
kept = moe.model.language_model.layers[1].mlp.experts.gate_up_proj
about = [text for text in said if "expert" in text.lower()]
print(f"dense {dense:.2f}, experts {part:.2f} of bfloat16; {kept.dtype} {tuple(kept.shape)}; said of experts: {about}")
assert dense < 0.6 and part > 0.9 and kept.dtype == torch.bfloat16 and not about
print("as described")
PY
