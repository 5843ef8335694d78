"""Attention within a pack on the CPU, a block of queries at a time, forward and backward.

A block is at most 256 tokens of one answer (with its prompt, for the chosen one) and all they may see: so its softmax is whole,
nothing is computed that is masked but a corner of the block itself, and what is held at any time grows with a row's length, not
with its square. The backward pass makes each block's probabilities again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

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


def blocks_of(spans: Sequence[Span]) -> list[Block]:
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
    """(1, H, T, D), (1, K, T, D), (1, K, T, D) → (1, T, H, D). Query head h looks at key head h // (H / K).

    Scores and softmax are in float32 at least; probabilities meet values, and gradients each other, in `compute`. With P =
    softmax(S), dS = P ∘ (dP − rowsum(P ∘ dP)).
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, blocks: Sequence[Block], scale: float | None,
        compute: torch.dtype,
    ) -> torch.Tensor:  # fmt: skip
        ctx.blocks, ctx.compute = blocks, compute
        ctx.scale = query.shape[-1] ** -0.5 if scale is None else scale
        ctx.save_for_backward(query, key, value)
        query_KGTD, value_KTD = _scaled(query, key, ctx.scale), value[0].to(compute).contiguous()
        groups, heads, tokens, width = query_KGTD.shape
        output = query.new_empty(tokens, groups, heads, width, dtype=compute)
        output_KGTD = output.permute(1, 2, 0, 3)
        for block in blocks:
            shares_KMS = _shares(_rows(query_KGTD, block), _seen(key[0], block), block, compute)
            made_KMD = products(shares_KMS, _seen(value_KTD, block))
            output_KGTD[:, :, block.queries] = made_KMD.view(groups, heads, block.count, width)
        return output.view(1, tokens, groups * heads, width)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        compute, exact = ctx.compute, torch.promote_types(ctx.compute, torch.float32)
        query_KGTD = _scaled(query, key, ctx.scale)
        groups, heads, tokens, width = query_KGTD.shape
        given_KGTD = gradients[0].reshape(tokens, groups, heads, width).permute(1, 2, 0, 3).to(compute)
        rough_KGTD, rough_KTD, value_KTD = query_KGTD.to(compute), key[0].to(compute), value[0].to(compute).contiguous()
        to_query = query.new_empty(tokens, groups, heads, width, dtype=exact)
        to_query_KGTD = to_query.permute(1, 2, 0, 3)
        to_key, to_value = (key.new_zeros(groups, tokens, width, dtype=exact) for _ in range(2))
        for block in ctx.blocks:
            shares_KMS = _shares(_rows(query_KGTD, block), _seen(key[0], block), block, compute)
            given_KMD = _rows(given_KGTD, block)
            by_shares = products(given_KMD, _seen(value_KTD, block).transpose(1, 2))
            by_scores = torch._softmax_backward_data(by_shares, shares_KMS, -1, compute)
            by_query = products(by_scores, _seen(rough_KTD, block))
            torch.mul(by_query.view(groups, heads, block.count, width), ctx.scale, out=to_query_KGTD[:, :, block.queries])
            _add(to_key, products(by_scores.transpose(1, 2), _rows(rough_KGTD, block)), block)
            _add(to_value, products(shares_KMS.transpose(1, 2), given_KMD), block)
        shaped = to_query.view(tokens, groups * heads, width).transpose(0, 1)[None]
        return shaped.to(query.dtype), to_key[None].to(key.dtype), to_value[None].to(value.dtype), None, None, None


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, blocks: Sequence[Block], scale: float | None
) -> torch.Tensor:
    """As `PackAttention`; under autocast in its arithmetic."""
    compute = computed_in(query)
    exact = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast("cpu", enabled=False):
        return PackAttention.apply(query.to(exact), key.to(exact), value, blocks, scale, compute)


def computed_in(tensor: torch.Tensor) -> torch.dtype:
    """What products of it are computed in: autocast's type, or its own."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else tensor.dtype


def _scaled(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
    """The G query heads that share a key head, for each of those: (K, G, T, D)."""
    return (query[0] * scale).unflatten(0, (key.shape[1], -1))


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
