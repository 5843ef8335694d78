"""Attention within a pack on the CPU: three fused calls per pair, forward and backward, on views of one row.

Prompt and chosen answer are one causal row. The rejected answer looks at the prompt and, causally, at itself: two calls whose
results are joined by their normalisers, as FlashAttention joins blocks (arXiv:2205.14135, section 3.1). So no key is copied next
to another, none is repeated for its group of heads, there is no mask, and each gradient is added into one buffer.
"""

from collections.abc import Sequence
from typing import Any

import torch

from training.dpo.packing import Span

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class PackAttention(torch.autograd.Function):
    """(1, H, T, D), (1, K, T, D), (1, K, T, D) → (1, T, H, D). Query head h looks at key head h // (H / K).

    With O = softmax(QKᵀ)V and L its log-normaliser, two blocks of keys give O = e^(L₁ − L) O₁ + e^(L₂ − L) O₂ with
    L = log(e^L₁ + e^L₂). The backward pass of a block needs nothing of the others but the joined O and L.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Sequence[Span], scale: float | None
    ) -> torch.Tensor:
        query_KGTD, key_KGTD, value_KGTD = _grouped(query, key, value)
        groups, heads, tokens, width = query_KGTD.shape
        output = query.new_empty(tokens, groups, heads, width)
        output_KGTD = output.permute(1, 2, 0, 3)
        normaliser = torch.empty(groups, tokens, heads, dtype=torch.promote_types(query.dtype, torch.float32))
        normaliser_KGT = normaliser.transpose(1, 2)
        for span in spans:
            row, prompt, rejected = _parts(span)
            output_KGTD[:, :, row], normaliser_KGT[:, :, row] = _forward(
                query_KGTD[:, :, row], key_KGTD[:, :, row], value_KGTD[:, :, row], 0.0, True, scale=scale
            )
            if span.rejected:
                own = query_KGTD[:, :, rejected]
                first, first_normaliser = _forward(own, key_KGTD[:, :, prompt], value_KGTD[:, :, prompt], 0.0, False, scale=scale)
                second, second_normaliser = _forward(
                    own, key_KGTD[:, :, rejected], value_KGTD[:, :, rejected], 0.0, True, scale=scale
                )
                joined = torch.logaddexp(first_normaliser, second_normaliser)
                normaliser_KGT[:, :, rejected] = joined
                share = (first_normaliser - joined).exp_().to(query.dtype)
                output_KGTD[:, :, rejected] = second.lerp_(first, share[..., None])  # the shares of both sum to 1
        ctx.spans, ctx.scale = spans, scale
        ctx.save_for_backward(query, key, value, output, normaliser)
        return output.view(1, tokens, groups * heads, width)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, output, normaliser = ctx.saved_tensors
        query_KGTD, key_KGTD, value_KGTD = _grouped(query, key, value)
        groups, heads, tokens, width = query_KGTD.shape
        output_KGTD, normaliser_KGT = output.permute(1, 2, 0, 3), normaliser.transpose(1, 2)
        gradient_KGTD = gradients[0].reshape(tokens, groups, heads, width).permute(1, 2, 0, 3)
        to_query = query.new_empty(tokens, groups, heads, width)
        to_key, to_value = key.new_empty(tokens, groups, width), value.new_empty(tokens, groups, width)
        to_query_KGTD, to_key_KTD, to_value_KTD = to_query.permute(1, 2, 0, 3), to_key.transpose(0, 1), to_value.transpose(0, 1)

        def block(rows: slice, seen: slice, causal: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            return _backward(
                gradient_KGTD[:, :, rows], query_KGTD[:, :, rows], key_KGTD[:, :, seen], value_KGTD[:, :, seen],
                output_KGTD[:, :, rows], normaliser_KGT[:, :, rows], 0.0, causal, scale=ctx.scale,
            )  # fmt: skip

        for span in ctx.spans:
            row, prompt, rejected = _parts(span)
            by_query, by_key, by_value = block(row, row, True)
            to_query_KGTD[:, :, row] = by_query
            to_key_KTD[:, row], to_value_KTD[:, row] = by_key.sum(1), by_value.sum(1)
            if span.rejected:
                by_query, by_key, by_value = block(rejected, rejected, True)
                to_key_KTD[:, rejected], to_value_KTD[:, rejected] = by_key.sum(1), by_value.sum(1)
                by_prompt, by_key, by_value = block(rejected, prompt, False)
                to_query_KGTD[:, :, rejected] = by_query.add_(by_prompt)
                to_key_KTD[:, prompt] += by_key.sum(1)
                to_value_KTD[:, prompt] += by_value.sum(1)
        shaped = to_query.view(tokens, groups * heads, width).transpose(0, 1)[None]
        return shaped, to_key.transpose(0, 1)[None], to_value.transpose(0, 1)[None], None, None


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Sequence[Span], scale: float | None
) -> torch.Tensor:
    """As `PackAttention`. Under autocast in float32: the fused backward pass takes two to three times as long in bfloat16 on rows
    as short as a pair's (docs/experiments.md), and what comes out is more exact.
    """
    dtype = torch.float32 if torch.is_autocast_enabled("cpu") else query.dtype
    return PackAttention.apply(query.to(dtype), key.to(dtype), value.to(dtype), spans, scale)


def _grouped(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views (K, G, T, D): the G query heads that share a key head, and that key head for each of them, not copied."""
    query_KGTD = query[0].unflatten(0, (key.shape[1], -1))
    return query_KGTD, key[0][:, None].expand_as(query_KGTD), value[0][:, None].expand_as(query_KGTD)


def _parts(span: Span) -> tuple[slice, slice, slice]:
    """Prompt and chosen answer; prompt; rejected answer."""
    prompt, middle = span.start + span.prompt, span.start + span.prompt + span.chosen
    return slice(span.start, middle), slice(span.start, prompt), slice(middle, span.end)
