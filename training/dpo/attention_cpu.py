"""Attention within a pack on the CPU, a block of queries at a time, forward and backward.

A block is some tokens of one answer (with its prompt, for the chosen one) and all they may see: so its softmax is whole, nothing
is computed that is masked but a corner of the block itself, and what is held at any time grows with a row's length, not with its
square. The backward pass makes each block's probabilities again. Compiled (kernels.py) where that can be; what is here for torch
computes the same.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch

from training.dpo import kernels, passes
from training.dpo.packing import Span
from training.dpo.products import product, products

BLOCK = 256  # queries


@dataclass(frozen=True)
class Block:
    """Queries in a row of a pack, and the one or two stretches of it that hold their keys; the last key is the last query's."""

    queries: slice
    keys: tuple[slice, ...]

    @property
    def count(self) -> int:
        return self.queries.stop - self.queries.start


@lru_cache(maxsize=8)
def blocks_of(spans: tuple[Span, ...]) -> list[Block]:
    """Example: prompt 3, chosen 2, rejected 2 tokens → queries 0 to 5 with their keys; 5 to 7 with keys 0 to 3 and 5 to 7."""
    blocks = []
    for span in spans:
        prompt, middle = span.start + span.prompt, span.start + span.prompt + span.chosen
        for start in range(span.start, middle, BLOCK):
            stop = min(start + BLOCK, middle)
            blocks.append(Block(slice(start, stop), (slice(span.start, stop),)))
        for start in range(middle, span.end, BLOCK):
            stop = min(start + BLOCK, span.end)
            blocks.append(Block(slice(start, stop), (slice(span.start, prompt), slice(middle, stop))))
    return blocks


class PackAttention(torch.autograd.Function):
    """Queries (T, H · D), keys and values (T, K · D), of one type → (T, H · D). Query head h looks at key head h // (H / K).

    Queries and keys are rotated by their positions first where cosines and sines of the angles, (T, D) each, are given: with
    halves a and b to (a cos − b sin, b cos + a sin) (arXiv:2104.09864, equation 34). Scores and softmax are in float32 at least.
    With P = softmax(S), dS = P ∘ (dP − rowsum(P ∘ dP)).
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor] | None,
        spans: tuple[Span, ...], width: int, scale: float | None,
    ) -> torch.Tensor:  # fmt: skip
        ctx.spans, ctx.width, ctx.scale = spans, width, width**-0.5 if scale is None else scale
        if kernels.have(query.dtype):
            made_TN, log_sum_TH = kernels.attention((query, key, value), angles, spans, width, ctx.scale)
            ctx.save_for_backward(query, key, value, *(angles or (None, None)), log_sum_TH)
            return made_TN
        ctx.save_for_backward(query, key, value, *(angles or (None, None)), None)
        query_KGTD, key_KTD, value_KTD = _heads(query, key, value, angles, width, ctx.scale)
        groups, heads, tokens, _ = query_KGTD.shape
        output = query.new_empty(tokens, groups, heads, width)
        output_KGTD = output.permute(1, 2, 0, 3)
        for block in blocks_of(spans):
            shares_KMS = _shares(_rows(query_KGTD, block), _seen(key_KTD, block), block, query.dtype)
            made_KMD = products(shares_KMS, _seen(value_KTD, block))
            output_KGTD[:, :, block.queries] = made_KMD.view(groups, heads, block.count, width)
        return output.flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, cos_TD, sin_TD, log_sum_TH = ctx.saved_tensors
        angles = None if cos_TD is None else (cos_TD, sin_TD)
        to_each = passes.beside_each_other(query, key, value)
        if log_sum_TH is not None:
            given = (query, key, value), angles, ctx.spans, ctx.width, ctx.scale
            kernels.attention_back(gradients[0], *given, log_sum_TH, to_each)
            return *to_each, None, None, None, None
        query_KGTD, key_KTD, value_KTD = _heads(query, key, value, angles, ctx.width, ctx.scale)
        compute, exact = query.dtype, query_KGTD.dtype
        rough_KGTD, rough_KTD = query_KGTD.to(compute), key_KTD.to(compute)
        given_KGTD = gradients[0].unflatten(1, (*rough_KGTD.shape[:2], ctx.width)).permute(1, 2, 0, 3)
        to_query = torch.empty_like(query_KGTD)
        to_key, to_value = (torch.zeros_like(rough_KTD, dtype=exact) for _ in range(2))
        for block in blocks_of(ctx.spans):
            shares_KMS = _shares(_rows(query_KGTD, block), _seen(key_KTD, block), block, compute)
            given_KMD = _rows(given_KGTD, block)
            by_shares = products(given_KMD, _seen(value_KTD, block).transpose(1, 2))
            by_scores = torch._softmax_backward_data(by_shares, shares_KMS, -1, compute)
            by_query = products(by_scores, _seen(rough_KTD, block))
            torch.mul(by_query.unflatten(1, (-1, block.count)), ctx.scale, out=to_query[:, :, block.queries])
            _add(to_key, products(by_scores.transpose(1, 2), _rows(rough_KGTD, block)), block)
            _add(to_value, products(shares_KMS.transpose(1, 2), given_KMD), block)
        if angles is not None:
            back = cos_TD, -sin_TD.roll(sin_TD.shape[1] // 2, dims=1)
            to_query, to_key = _rotated(to_query, *back), _rotated(to_key, *back)
        for to, slope_HTD in zip(to_each, (to_query.flatten(0, 1), to_key, to_value), strict=True):
            to.unflatten(1, (-1, ctx.width)).copy_(slope_HTD.transpose(0, 1))
        return *to_each, None, None, None, None


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: tuple[Span, ...], scale: float | None
) -> torch.Tensor:
    """(1, H, T, D), (1, K, T, D), (1, K, T, D) → (1, T, H, D), in the type that products of it are computed in. Queries and keys
    that are more exact than values are taken as they are.
    """
    compute, width = computed_in(query), query.shape[-1]
    common = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    with torch.autocast("cpu", enabled=False):
        rows = (each[0].transpose(0, 1).flatten(1).to(common) for each in (query, key, value))
        return PackAttention.apply(*rows, None, spans, width, scale).unflatten(1, (-1, width))[None].to(compute)


def computed_in(tensor: torch.Tensor) -> torch.dtype:
    """What products of it are computed in: autocast's type, or its own."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else tensor.dtype


def _heads(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor] | None,
    width: int, scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """The G query heads that share a key head, for each of those, rotated and times `scale`, (K, G, T, D); keys rotated, both in
    float32 at least; values (K, T, D).
    """
    exact = torch.promote_types(query.dtype, torch.float32)
    query_HTD, key_KTD, value_KTD = (each.unflatten(1, (-1, width)).transpose(0, 1) for each in (query, key, value))
    query_HTD, key_KTD = query_HTD.to(exact), key_KTD.to(exact)
    if angles is not None:
        query_HTD, key_KTD = _rotated(query_HTD, *angles), _rotated(key_KTD, *angles)
    return (query_HTD * scale).unflatten(0, (len(key_KTD), -1)), key_KTD, value_KTD.contiguous()


def _rotated(heads: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor) -> torch.Tensor:
    """(…, T, D) → the same."""
    a, b = heads.chunk(2, dim=-1)
    return heads * cos_TD + torch.cat([-b, a], dim=-1) * sin_TD


def _rows(whole_KGTD: torch.Tensor, block: Block) -> torch.Tensor:
    """The block's queries, those of all heads that share a key head below each other: (K, G · R, D)."""
    return whole_KGTD[:, :, block.queries].flatten(1, 2)


def _seen(whole_KTD: torch.Tensor, block: Block) -> torch.Tensor:
    """What the block's queries look at: (K, S, D)."""
    parts = [whole_KTD[:, stretch] for stretch in block.keys]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _shares(rows_KMD: torch.Tensor, key_KSD: torch.Tensor, block: Block, compute: torch.dtype) -> torch.Tensor:
    """The softmax of queries on keys: (K, M, S). Among the last keys, which are the queries' own, none sees a later one."""
    shares_KMS = rows_KMD.new_empty(*rows_KMD.shape[:2], key_KSD.shape[1], dtype=compute)
    for rows_MD, key_SD, shares_MS in zip(rows_KMD, key_KSD, shares_KMS, strict=True):
        scores_MS = product(rows_MD, key_SD.t())
        scores_MS.unflatten(0, (-1, block.count))[..., -block.count :].add_(_later()[: block.count, : block.count])
        shares_MS.copy_(scores_MS.softmax(dim=-1))
    return shares_KMS


@cache
def _later() -> torch.Tensor:
    """−∞ where a key comes after its query."""
    return torch.full((BLOCK, BLOCK), -torch.inf).triu_(1)


def _add(whole_KTD: torch.Tensor, part_KSD: torch.Tensor, block: Block) -> None:
    """Add what each seen token got to what it has."""
    lengths = [stretch.stop - stretch.start for stretch in block.keys]
    for stretch, part in zip(block.keys, part_KSD.split(lengths, dim=1), strict=True):
        whole_KTD[:, stretch] += part
