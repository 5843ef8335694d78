"""What a layer does between its products on the CPU: norms, sums and gates, forward and backward.

Compiled (kernels.py) where that can be: in float32 and bfloat16 with a C compiler at hand. Else by torch's operations.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from training.dpo import kernels


def compiled(sums: torch.dtype, compute: torch.dtype) -> bool:
    return sums == torch.float32 and kernels.have(compute)


def norm(x_TD: torch.Tensor, gain_D: torch.Tensor, epsilon: float, compute: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """RMSNorm (arXiv:1910.07467, equation 4): (T, D), (D,) → r x ∘ gain in `compute`, and r = 1 / √(mean(x²) + ε), (T,)."""
    if compiled(x_TD.dtype, compute):
        return kernels.norm(x_TD, gain_D, epsilon, compute)
    rate_T = torch.linalg.vector_norm(x_TD, dim=1).square_().div_(x_TD.shape[1]).add_(epsilon).rsqrt_()
    return (x_TD * rate_T[:, None]).mul_(gain_D).to(compute), rate_T


def norm_back(
    gradient_TD: torch.Tensor, x_TD: torch.Tensor, gain_D: torch.Tensor, rate_T: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of x and of the gain.

    With n = r x and g the gradient of n: dx = r (g − n · mean(g ∘ n)).
    """
    if compiled(x_TD.dtype, gradient_TD.dtype):
        return kernels.norm_back(gradient_TD, x_TD, gain_D, rate_T)
    gradient_TD = gradient_TD.to(x_TD.dtype)
    unit_TD = x_TD * rate_T[:, None]
    to_gain = (unit_TD * gradient_TD).sum(0)
    to_unit = gradient_TD * gain_D
    mean_T1 = torch.linalg.vecdot(to_unit, unit_TD)[:, None].div_(x_TD.shape[1])
    return to_unit.addcmul_(unit_TD, mean_T1, value=-1).mul_(rate_T[:, None]), to_gain


def add(x_TD: torch.Tensor, y_TD: torch.Tensor) -> torch.Tensor:
    """x + y, as exact as x."""
    return kernels.add(x_TD, y_TD) if compiled(x_TD.dtype, y_TD.dtype) else x_TD + y_TD


def gated(gate_TN: torch.Tensor, up_TN: torch.Tensor) -> torch.Tensor:
    """silu(gate) ∘ up (SwiGLU, arXiv:2002.05202, equation 6)."""
    return kernels.gated(gate_TN, up_TN) if kernels.have(gate_TN.dtype) else F.silu(gate_TN).mul_(up_TN)


def gated_back(
    gradient_TN: torch.Tensor, gate_TN: torch.Tensor, up_TN: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """silu(gate) ∘ up again, and the gradients of gate and up, which lie beside each other."""
    to_both = beside_each_other(gate_TN, up_TN)
    if kernels.have(gate_TN.dtype):
        return kernels.gated_back(gradient_TN, gate_TN, up_TN, to_both), *to_both
    open_TN = F.silu(gate_TN)
    to_both[0].copy_(torch.ops.aten.silu_backward(gradient_TN * up_TN, gate_TN))
    torch.mul(gradient_TN, open_TN, out=to_both[1])
    return open_TN.mul_(up_TN), *to_both


def beside_each_other(*like: torch.Tensor) -> Sequence[torch.Tensor]:
    """Empty tensors of these shapes, (T, N) each, as columns of one where the given ones are so too."""
    if together(like) is None:
        return [torch.empty_like(each, memory_format=torch.contiguous_format) for each in like]
    sizes = [each.shape[1] for each in like]
    return like[0].new_empty(len(like[0]), sum(sizes)).split(sizes, dim=1)


def together(parts: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """The tensor whose columns `parts` are, (T, N) each, side by side and all of them; None where there is no such."""
    first, width = parts[0], sum(each.shape[1] for each in parts)
    at = first.storage_offset()
    for each in parts:
        same = each.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not same or each.storage_offset() != at or each.stride() != (width, 1):
            return None
        at += each.shape[1]
    return first.as_strided((len(first), width), (width, 1))
