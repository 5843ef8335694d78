#!/bin/sh
# The trainer on a GPU box, from a checkout: `sh bench/trainer/gpu.sh [PYTHON]`. It needs torch and transformers, no Django, no network
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
