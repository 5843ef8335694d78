"""The language-model head over scored positions only, a tile at a time: full logits never exist, forward or backward.

For SmolLM2 (49,152 words) one answer of 500 tokens would need 98 MB of float32 logits, their softmax and their gradient;
a tile of 256 positions is what is held at any time.
"""

from typing import Any

import torch

from training.dpo.casts import cast
from training.dpo.products import product

TILE = 256  # positions whose logits exist at once


class TiledLogprobs(torch.autograd.Function):
    """log softmax(h Wᵀ + b)[target] for each position: (S, D), (V, D), (V,) or None, (S,) → (S,) float32.

    d logp / d logits = onehot(target) − softmax. With δ = softmax − onehot and g the gradient of logp, a tile adds −g · (δ W) to
    its rows of h's gradient and −δᵀ (g · h) to W's: g meets the narrow factor, and δ is all that is made of the tile's logits.
    The forward pass keeps nothing but its inputs; the backward pass makes each tile's logits again. Where the head is frozen
    (LoRA), only h has a gradient, and the forward pass knows it but for g: it is kept, and nothing is made again.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_SD: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None, targets_S: torch.Tensor,
        compute: torch.dtype,
    ) -> torch.Tensor:  # fmt: skip
        hidden, weight = hidden_SD.to(compute), cast(weight_VD, compute)
        frozen = ctx.needs_input_grad[0] and not any(ctx.needs_input_grad[1:3])
        slope_SD = torch.empty_like(hidden_SD) if frozen else None  # d logp / d h
        logprobs_S = hidden_SD.new_empty(targets_S.shape, dtype=_exact(compute))
        for tile in _tiles(len(targets_S)):
            logs_CV = _logits(hidden[tile], weight, bias_V).log_softmax(dim=1, dtype=_exact(compute))
            logprobs_S[tile] = logs_CV.gather(1, targets_S[tile, None]).squeeze(1)
            if slope_SD is not None:
                delta_CV = _minus_onehot(logs_CV.exp_(), targets_S[tile])
                slope_SD[tile] = product(delta_CV.to(compute), weight).neg_().to(slope_SD.dtype)
        ctx.slope_SD, ctx.compute, ctx.dtypes = slope_SD, compute, (hidden_SD.dtype, weight_VD.dtype)
        if slope_SD is None:
            ctx.save_for_backward(hidden, weight, bias_V, targets_S, logprobs_S)
        return logprobs_S

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.slope_SD is not None:
            return ctx.slope_SD * gradients[0][:, None].to(ctx.slope_SD.dtype), None, None, None, None
        hidden, weight, bias_V, targets_S, logprobs_S = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        exact, (hidden_dtype, weight_dtype) = _exact(ctx.compute), ctx.dtypes
        minus_S = -gradients[0].to(exact)
        to_hidden = torch.empty_like(hidden, dtype=hidden_dtype) if wants_hidden else None
        to_weight: torch.Tensor | None = None
        to_bias = torch.zeros_like(bias_V, dtype=exact) if wants_bias and bias_V is not None else None
        for tile in _tiles(len(targets_S)):
            delta_CV = _logits(hidden[tile], weight, bias_V).softmax(dim=1)
            delta_CV.scatter_(1, targets_S[tile, None], torch.expm1(logprobs_S[tile, None]).to(delta_CV.dtype))  # p − 1, exactly
            if to_bias is not None:
                to_bias += minus_S[tile] @ delta_CV
            delta, minus_C1 = delta_CV.to(ctx.compute), minus_S[tile, None]
            if to_hidden is not None:
                to_hidden[tile] = (product(delta, weight) * minus_C1).to(hidden_dtype)
            if wants_weight:
                to_weight = _plus_product(to_weight, delta.T, (hidden[tile] * minus_C1).to(ctx.compute), exact)
        cast = None if to_weight is None else to_weight.to(weight_dtype)
        return to_hidden, cast, None if to_bias is None or bias_V is None else to_bias.to(bias_V.dtype), None, None


def tiled_logprobs(head: torch.nn.Linear, hidden_SD: torch.Tensor, targets_S: torch.Tensor, compute: torch.dtype) -> torch.Tensor:
    """Log-probability of each target under a head, in nats: (S, D), (S,) → (S,) float32.

    Example: two equal logits give log 0.5 = −0.6931 for either target.
    """
    return TiledLogprobs.apply(hidden_SD, head.weight, head.bias, targets_S, compute)


def _logits(hidden_CD: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None) -> torch.Tensor:
    """(C, D), (V, D) → (C, V). With a bias in float32 at least; sums over the vocabulary are in any case."""
    logits_CV = product(hidden_CD, weight_VD.t())
    return logits_CV if bias_V is None else logits_CV.to(_exact(logits_CV.dtype)) + bias_V


def _minus_onehot(softmax_CV: torch.Tensor, targets_C: torch.Tensor) -> torch.Tensor:
    """softmax − onehot(target), in the place of the softmax."""
    return softmax_CV.scatter_add_(1, targets_C[:, None], -torch.ones_like(softmax_CV[:, :1]))


def _plus_product(total: torch.Tensor | None, left: torch.Tensor, right: torch.Tensor, exact: torch.dtype) -> torch.Tensor:
    """total + left · right, summed in `exact`. A head's gradient is large: it is gone over as seldom as can be."""
    if total is None:
        return product(left, right).to(exact)
    return total.addmm_(left, right) if left.dtype == exact else total.add_(left @ right)


def _exact(compute: torch.dtype) -> torch.dtype:
    return torch.promote_types(compute, torch.float32)


def _tiles(count: int) -> list[slice]:
    return [slice(start, min(start + TILE, count)) for start in range(0, count, TILE)]
