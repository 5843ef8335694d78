"""The language-model head over scored positions only, a tile at a time: full logits never exist, forward or backward.

For SmolLM2 (49,152 words) one answer of 500 tokens would need 98 MB of float32 logits, their softmax and their gradient;
a tile of 256 positions is what is held at any time.
"""

from typing import Any

import torch

TILE = 256  # positions whose logits exist at once


class TiledLogprobs(torch.autograd.Function):
    """log softmax(h Wᵀ + b)[target] for each position: (S, D), (V, D), (V,) or None, (S,) → (S,) float32.

    d logp / d logits = onehot(target) − softmax = onehot − p. With g the gradient of logp, a tile adds (g · (onehot − p)) W to
    its rows of h's gradient and (g · (onehot − p))ᵀ h to W's. The forward pass keeps nothing but its inputs and one
    normaliser a position; the backward pass makes each tile's logits again. Where the head is frozen (LoRA), only h has a
    gradient, and the forward pass knows it but for g: it is kept, and nothing is made again.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_SD: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None, targets_S: torch.Tensor,
        compute: torch.dtype,
    ) -> torch.Tensor:  # fmt: skip
        hidden, weight = hidden_SD.to(compute), weight_VD.to(compute)
        frozen = ctx.needs_input_grad[0] and not any(ctx.needs_input_grad[1:3])
        slope_SD = torch.empty_like(hidden_SD) if frozen else None  # d logp / d h
        normaliser_S = hidden_SD.new_empty(targets_S.shape, dtype=_exact(compute))
        logprobs_S = torch.empty_like(normaliser_S)
        for tile in _tiles(len(targets_S)):
            logits_CV = _logits(hidden[tile], weight, bias_V)
            normaliser_S[tile] = logits_CV.logsumexp(dim=1)
            logprobs_S[tile] = logits_CV.gather(1, targets_S[tile, None]).squeeze(1) - normaliser_S[tile]
            if slope_SD is not None:
                delta_CV = _onehot_minus_softmax(logits_CV, normaliser_S[tile], targets_S[tile])
                slope_SD[tile] = (delta_CV.to(compute) @ weight).to(slope_SD.dtype)
        ctx.slope_SD, ctx.compute = slope_SD, compute
        if slope_SD is None:
            ctx.save_for_backward(hidden_SD, weight_VD, bias_V, targets_S, normaliser_S)
        return logprobs_S

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.slope_SD is not None:
            return ctx.slope_SD * gradients[0][:, None].to(ctx.slope_SD.dtype), None, None, None, None
        hidden_SD, weight_VD, bias_V, targets_S, normaliser_S = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        gradient_S = gradients[0].to(normaliser_S.dtype)
        hidden, weight = hidden_SD.to(ctx.compute), weight_VD.to(ctx.compute)
        to_hidden = torch.empty_like(hidden_SD) if wants_hidden else None
        to_weight = torch.zeros_like(weight_VD, dtype=_exact(ctx.compute)) if wants_weight else None
        to_bias = torch.zeros_like(bias_V, dtype=_exact(ctx.compute)) if wants_bias and bias_V is not None else None
        for tile in _tiles(len(targets_S)):
            logits_CV = _logits(hidden[tile], weight, bias_V)
            delta_CV = _onehot_minus_softmax(logits_CV, normaliser_S[tile], targets_S[tile]).mul_(gradient_S[tile, None])
            if to_bias is not None:
                to_bias += delta_CV.sum(dim=0)
            delta = delta_CV.to(ctx.compute)
            if to_hidden is not None:
                to_hidden[tile] = (delta @ weight).to(to_hidden.dtype)
            if to_weight is not None:
                to_weight += delta.T @ hidden[tile]
        cast = None if to_weight is None else to_weight.to(weight_VD.dtype)
        return to_hidden, cast, None if to_bias is None or bias_V is None else to_bias.to(bias_V.dtype), None, None


def tiled_logprobs(head: torch.nn.Linear, hidden_SD: torch.Tensor, targets_S: torch.Tensor, compute: torch.dtype) -> torch.Tensor:
    """Log-probability of each target under a head, in nats: (S, D), (S,) → (S,) float32.

    Example: two equal logits give log 0.5 = −0.6931 for either target.
    """
    return TiledLogprobs.apply(hidden_SD, head.weight, head.bias, targets_S, compute)


def _logits(hidden_CD: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None) -> torch.Tensor:
    """(C, D), (V, D) → (C, V) in float32 at least, for a sum over the vocabulary in less loses digits."""
    logits_CV = (hidden_CD @ weight_VD.T).to(_exact(hidden_CD.dtype))
    return logits_CV if bias_V is None else logits_CV + bias_V.to(logits_CV.dtype)


def _onehot_minus_softmax(logits_CV: torch.Tensor, normaliser_C: torch.Tensor, targets_C: torch.Tensor) -> torch.Tensor:
    """d logp / d logits, in the place of the logits."""
    delta_CV = logits_CV.sub_(normaliser_C[:, None]).exp_().neg_()
    return delta_CV.scatter_add_(1, targets_C[:, None], torch.ones_like(delta_CV[:, :1]))


def _exact(compute: torch.dtype) -> torch.dtype:
    return torch.promote_types(compute, torch.float32)


def _tiles(count: int) -> list[slice]:
    return [slice(start, min(start + TILE, count)) for start in range(0, count, TILE)]
