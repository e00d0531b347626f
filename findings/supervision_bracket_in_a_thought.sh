#!/usr/bin/env bash
# supervision finds no box in the reply of a Qwen model if its thought holds a bracket, and says nothing.
#
# Guess before the run: what stands before the fenced JSON does not matter, as without brackets.
# Seen, supervision 0.31.2, Detections.from_vlm for QWEN_3_VL and QWEN_2_5_VL:
#   "The dog runs. ```json [...] ```"                    1 box
#   "<think>The dog runs [fast].</think> ```json ...```" 0 boxes, no error: the same as "there is no dog"
#   GOOGLE_GEMINI_2_5 reads the box in both.
# A fence is not looked for first; the text from the first bracket on is taken for the list.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv v && v/bin/pip install -q supervision==0.31.2 numpy==2.4.6
v/bin/python - <<'PY'
import supervision as sv
ANSWER = '```json\n[{"%s": [100, 200, 300, 400], "label": "dog"}]\n```'
def count(vlm, key, before, **size):
    found = sv.Detections.from_vlm(vlm, before + ANSWER % key, resolution_wh=(1000, 1000), **size)
    return len(found)
plain, bracket = "<think>The dog runs.</think>\n", "<think>The dog runs [fast].</think>\n"
qwen3 = [count(sv.VLM.QWEN_3_VL, "bbox_2d", text) for text in (plain, bracket)]
qwen2 = [count(sv.VLM.QWEN_2_5_VL, "bbox_2d", text, input_wh=(1000, 1000)) for text in (plain, bracket)]
gemini = [count(sv.VLM.GOOGLE_GEMINI_2_5, "box_2d", text) for text in (plain, bracket)]
print("without and with a bracket: Qwen3-VL", qwen3, "Qwen2.5-VL", qwen2, "Gemini 2.5", gemini)
assert qwen3 == qwen2 == [1, 0] and gemini == [1, 1]
print("as described")
PY
