"""Whether this machine is good at bfloat16."""

import time
from functools import cache
from pathlib import Path

import torch

from training.dpo.products import product

WORTH_IT = 1.3  # bfloat16 products must be so much faster than float32 ones: a step holds more than products


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 matrix products have hardware; in emulation they are a hundred times slower than float32.

    Enough for decoding, which waits for memory and reads half as much of it.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return any(flag in _cpu_flags() for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def trains_faster_in_bfloat16(device: torch.device) -> bool:
    """Whether large bfloat16 matrix products beat float32 ones.

    Measured on a CPU, for its flags do not tell: of two with AVX-512 BF16, one had half the speed of float32 in it and the other
    more than four times that speed (docs/experiments.md).
    """
    if device.type == "cuda" or not has_bfloat16(device):
        return has_bfloat16(device)
    return product_rate(torch.bfloat16) > WORTH_IT * product_rate(torch.float32)


@cache
def product_rate(dtype: torch.dtype, rows: int = 512, width: int = 1024) -> float:
    """FLOP/s of (rows × width) · (width × width) on the CPU, the fastest of some. About 50 ms."""
    inputs, weights = torch.ones(rows, width, dtype=dtype), torch.ones(width, width, dtype=dtype)
    taken = []
    for _ in range(6):
        began = time.perf_counter()
        product(inputs, weights)
        taken.append(time.perf_counter() - began)
    return 2 * rows * width * width / min(taken)


def _cpu_flags() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""
