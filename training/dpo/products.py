"""Matrix products on the CPU by the library that is fast at them.

torch hands float32 products to MKL, which on processors that are not Intel's runs at half of what oneDNN does there
(docs/experiments.md). oneDNN comes with torch, too, and computes in float32 all the same. Which one it is depends on nothing but
the types: a run that goes on computes as it began.
"""

import platform

import torch

_X86 = platform.machine() in ("x86_64", "AMD64")


def product(left_MK: torch.Tensor, right_KN: torch.Tensor) -> torch.Tensor:
    """left · right, (M, K), (K, N) → (M, N), in the arithmetic of its factors. Views need not be contiguous."""
    if not _by_onednn(left_MK):
        return left_MK @ right_KN
    return torch.ops.mkldnn._linear_pointwise(_dense(left_MK), _dense(right_KN).t(), None, "none", [], "")


def products(left_BMK: torch.Tensor, right_BKN: torch.Tensor) -> torch.Tensor:
    """left[b] · right[b] for each b: (B, M, K), (B, K, N) → (B, M, N)."""
    if not _by_onednn(left_BMK):
        return torch.bmm(left_BMK, right_BKN)
    return torch.stack([product(left, right) for left, right in zip(left_BMK, right_BKN, strict=True)])


def _dense(matrix: torch.Tensor) -> torch.Tensor:
    """Without gaps between its rows or its columns, over which oneDNN would go element by element."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


def _by_onednn(factor: torch.Tensor) -> bool:
    return factor.dtype == torch.float32 and factor.device.type == "cpu" and _X86 and torch.backends.mkldnn.is_available()
