#!/usr/bin/env bash
# GRPO of Qwen2.5-VL-7B on 8 GPUs with the settings of the paper: see docs/train-grpo.md.
#
#   DATASET=my-training-set recipes/grpo_7b_8gpus/launch.sh               # trains
#   DATASET=my-training-set recipes/grpo_7b_8gpus/launch.sh --dry-run     # checks, trains nothing
#   DATASET=my-training-set recipes/grpo_7b_8gpus/launch.sh --resume      # goes on
set -euo pipefail
cd "$(dirname "$0")/../.."

CONFIG=recipes/grpo_7b_8gpus/accelerate.yaml
: "${DATASET:?is the FiftyOne dataset to learn from}" "${OUT:=runs/grpo-7b}" "${STEPS:=500}"
: "${MODEL:=revseg-qwen2.5-vl-7b}"

TRAIN=(-m fiftyone_revseg.cli train grpo
    -o "$OUT" --model "$MODEL" --dataset "$DATASET"
    --steps "$STEPS" --prompts 128 --rollouts 8 --batch 1
    --learning-rate 1e-6 --beta 1e-3 --temporal soft
    --gradient-checkpointing --bf16 --vllm colocate --threads 4)

for argument in "$@"; do
    if [ "$argument" = --dry-run ]; then  # needs neither GPUs nor weights
        exec python "${TRAIN[@]}" --accelerate "$CONFIG" "$@"
    fi
done
exec accelerate launch --config_file "$CONFIG" "${TRAIN[@]}" "$@"
