#!/usr/bin/env bash
# `transformers serve` takes OpenAI's frequency_penalty for a repetition penalty less one.
#
# Guess before the run: frequency_penalty is subtracted from the logits of tokens by how often they were written, as
# OpenAI's API describes it, or it is ignored; 0, its default there, changes nothing.
# Seen, transformers 5.24.0, a random Llama of two layers whose generation config has repetition_penalty 1.3 (greedy,
# 24 tokens), over HTTP, beside model.generate in one process:
#   no frequency_penalty: the text that generate gives with repetition_penalty 1.3, the checkpoint's
#   frequency_penalty 0:  the text of repetition_penalty 1.0, so the default of the API is not the default here
#   frequency_penalty 1:  the text of repetition_penalty 2.0
# A repetition penalty counts the prompt's tokens, too, and does not grow with their number.
set -euo pipefail
dir=$(mktemp -d); server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v
v/bin/pip install -q transformers==5.24.0 torch==2.14.1 accelerate==1.15.0 fastapi==0.136.3 uvicorn==0.54.0 \
    openai==3.57.0 pydantic==2.14.4
cat > make.py <<'PY'
import json, torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
words = {word: k for k, word in enumerate(["<end>", "<unk>", "user", *(f"w{k}" for k in range(61))])}
tokenizer = Tokenizer(models.WordLevel(words, "<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>", unk_token="<unk>")
fast.chat_template = "{% for m in messages %}user {{ m['content'] }} {% endfor %}"
torch.manual_seed(0)
config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                     max_position_embeddings=256, eos_token_id=None, bos_token_id=None, pad_token_id=0)
model = LlamaForCausalLM(config).eval()
model.generation_config.update(repetition_penalty=1.3, max_new_tokens=24, pad_token_id=0)
fast.save_pretrained("model"); model.save_pretrained("model")
ids = fast("user w1 w2 w3", return_tensors="pt").input_ids
texts = {}
for penalty in (1.0, 1.3, 2.0):
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, repetition_penalty=penalty)
    texts[str(penalty)] = fast.decode(out[0, ids.shape[1]:], skip_special_tokens=True)
assert len(set(texts.values())) == 3, texts
json.dump(texts, open("texts.json", "w"))
PY
v/bin/python make.py
port=$(v/bin/python -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
HF_HUB_OFFLINE=1 v/bin/transformers serve --host 127.0.0.1 --port "$port" --device cpu >log 2>&1 & server=$!
cat > ask.py <<'PY'
import json, sys, time, urllib.request
texts = json.load(open("texts.json"))
def ask(**more):
    body = {"model": sys.argv[2], "messages": [{"role": "user", "content": "w1 w2 w3"}], "max_tokens": 24,
            "temperature": 0, "stream": False, **more}
    request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=120))["choices"][0]["message"]["content"].strip()
for _ in range(120):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/health", timeout=5)
        break
    except OSError:
        time.sleep(1)
seen = {}
for name, more in (("none", {}), ("0", {"frequency_penalty": 0.0}), ("1", {"frequency_penalty": 1.0})):
    text = ask(**more)
    seen[name] = [penalty for penalty, known in texts.items() if known.strip() == text] or text
print("frequency_penalty -> the repetition_penalty of generate with the same text:", seen)
assert seen == {"none": ["1.3"], "0": ["1.0"], "1": ["2.0"]}
print("as described")
PY
v/bin/python ask.py "$port" "$dir/model" || { tail -5 log; exit 1; }
