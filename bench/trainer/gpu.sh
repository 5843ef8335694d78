#!/bin/sh
# The trainer on a GPU box, from a checkout: `sh bench/trainer/gpu.sh [PYTHON [TRL_PYTHON]]`. It needs torch and transformers, no Django, no network
# and no trained weights: speed and memory are those of random weights of published shapes. Each line of figures says what it is.
set -e
PYTHON=${1:-python3}
cd "$(dirname "$0")/../.."
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# 1. What each feature is worth, tokens/s, MFU and peak memory.
for size in 0.5b 1.5b; do
    "$PYTHON" -m bench.trainer.ablation --size $size --compute bfloat16 --pairs 64 --budget 16384
done
"$PYTHON" -m bench.trainer.ablation --size 8b --compute bfloat16 --pairs 32 --budget 4096
# 2. The same on long answers.
"$PYTHON" -m bench.trainer.ablation --size 1.5b --compute bfloat16 --pairs 32 --lengths 512 1024 1024 --budget 16384
# 3. How seconds and memory grow with pairs, length, prompt share and vocabulary.
"$PYTHON" -m bench.trainer.scaling --size 0.5b --compute bfloat16 --budget 16384
# 4. Against TRL in its settings for a GPU, where a Python that has it is named: short dialogues, long answers, adapters. Add
# "TRL, best with Liger" to `--only` where liger-kernel is installed.
[ -n "$2" ] || exit 0
for size in 0.5b 1.5b; do
    for lengths in "200 80 80" "100 700 700"; do
        "$PYTHON" -m bench.trainer --trl "$2" --size $size --lengths $lengths --batch 16 --pairs 64 --rounds 5 --only \
            "ours, bfloat16" "TRL, best in bfloat16" "TRL, sorted by length, bfloat16" "TRL, defaults (bfloat16)"
    done
done
"$PYTHON" -m bench.trainer --trl "$2" --size 8b --batch 8 --pairs 32 --rounds 5 --only "ours, LoRA 16, bfloat16" "TRL, LoRA 16, best in bfloat16"
