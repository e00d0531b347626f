#!/usr/bin/env bash
# On CPUs with AVX512-BF16, a layer that bitsandbytes took into 4 bits raises an error when it is first used: its width.
#
# Guess before the run: what can be quantized can be used; blocks of 64 weights run over the rows, so only the number of
# all weights matters, and that is checked while a layer is quantized.
# Seen, bitsandbytes 0.50.2 with torch 2.14.1 on a CPU with AVX512-BF16: a layer of 64 outputs works; one of 80 is
#   quantized, gives its weights back (dequantize_4bit), and raises AssertionError in its first forward, since weights
#   are packed there in groups of 32 rows. The towers of Qwen3-VL 8B and of Qwen3.5 have layers of 4,304 = 134.5 x 32.
# Without AVX512-BF16 nothing is packed, and both layers work: the script ends there without a verdict.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q bitsandbytes==0.50.2 torch==2.14.1 numpy==2.4.6
v/bin/python - <<'PY' 2>log || { tail -5 log; exit 1; }
import torch
from bitsandbytes.functional import dequantize_4bit, has_avx512bf16
from bitsandbytes.nn import Linear4bit

def used(outputs):
    whole = torch.nn.Linear(128, outputs, bias=False)
    small = Linear4bit(128, outputs, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    small.load_state_dict(whole.state_dict())
    small = small.to("cpu").eval()
    back = dequantize_4bit(small.weight.data, small.weight.quant_state)
    assert (back - whole.weight).abs().max() < 0.05
    try:
        with torch.no_grad():
            small(torch.randn(1, 128))
    except AssertionError as error:
        return f"AssertionError: {error}"
    return "works"

if not has_avx512bf16():
    raise SystemExit("no AVX512-BF16 here: nothing to see")
seen = {outputs: used(outputs) for outputs in (64, 80)}
print(seen)
assert seen[64] == "works" and seen[80].startswith("AssertionError")
print("as described")
PY
