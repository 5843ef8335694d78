"""Tokens per second of the real model, by batch size and precision: `python -m bench.sampling [TOKENS]`.

Ratios are against one completion at a time in float32. A prompt's answers are the same in float32 whatever the batch
(tests/training/test_sampling.py), so a larger batch only saves time.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch

from training.dpo.model import load_model, load_tokenizer
from training.generation.sampling import Request, sample
from training.versions.base_models import import_model

PROMPT = [{"role": "user", "content": "Explain why the sky is blue, with an example that a child would understand."}]


def main(tokens: int) -> None:
    with tempfile.TemporaryDirectory(prefix="prefloop-bench-") as directory:
        path = Path(import_model("smollm2", Path(directory)).directory)
        tokenizer = load_tokenizer(path)
        base = 0.0
        for dtype in (torch.float32, torch.bfloat16):
            model = load_model(path, torch.device("cpu"), dtype)
            for batch in (1, 4, 8, 16):
                speed = measure(model, tokenizer, batch, tokens)
                base = base or speed
                name = str(dtype).removeprefix("torch.")
                print(f"  {name:>8}, batch {batch:>2}: {speed:6.1f} tokens/s, × {speed / base:.2f}", flush=True)


def measure(model: object, tokenizer: object, batch: int, tokens: int) -> float:
    requests = [Request(PROMPT, seed=seed, max_new_tokens=tokens) for seed in range(batch)]
    sample(model, tokenizer, [Request(PROMPT, max_new_tokens=2)])  # warm-up
    began = time.perf_counter()
    answers = sample(model, tokenizer, requests, batch_size=batch)
    return sum(len(answer.token_ids) for answer in answers) / (time.perf_counter() - began)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 48)
