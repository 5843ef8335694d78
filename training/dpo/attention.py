"""Attention within a pack: each answer sees its own prompt and itself, and nothing of any other pair.

On the CPU a block of queries at a time (attention_cpu.py). On a GPU one FlexAttention call over the whole pack, with a
block-sparse mask.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from transformers import AttentionInterface

from training.dpo import attention_cpu
from training.dpo.packing import Pack

NAME = "prefloop_packed"
# What some models ask of their attention and a pack does not do; such models take the plain path.
NOT_DONE = ("sliding_window", "softcap", "position_bias", "s_aux")


class CannotPack(Exception):
    """This model asks something of its attention that a pack cannot give."""


@dataclass
class Layout:
    """What may see what in one pack, made once and used by every layer."""

    pack: Pack
    mask: Any = None  # on a GPU: FlexAttention's block mask


def layout_of(pack: Pack) -> Layout:
    if pack.input_ids_T.device.type == "cuda":
        return Layout(pack, mask=block_mask(pack))
    return Layout(pack)


def packed_attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, layout: Layout | None = None, **asked: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """transformers' attention interface: (1, H, T, D), (1, K, T, D), (1, K, T, D) → (1, T, H, D). Raises CannotPack."""
    if layout is None or attention_mask is not None or (strange := [name for name in NOT_DONE if asked.get(name) is not None]):
        raise CannotPack(f"its attention asks for {', '.join(strange)}" if layout else "its layers do not pass the layout on")
    if layout.mask is None:
        return attention_cpu.attend(query, key, value, layout.pack.spans, scaling), None
    return _attend_by_mask(query, key, value, layout, scaling).transpose(1, 2).contiguous(), None


def _attend_by_mask(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, scaling: float | None
) -> torch.Tensor:
    return _flex_attention()(query, key, value, block_mask=layout.mask, scale=scaling, enable_gqa=query.shape[1] != key.shape[1])


def block_mask(pack: Pack) -> Any:
    """FlexAttention's mask of a pack: causal, within the pair, and not from the rejected answer to the chosen one."""
    from torch.nn.attention.flex_attention import create_block_mask

    device = pack.input_ids_T.device
    pair_T = torch.cat([torch.full((span.end - span.start,), number) for number, span in enumerate(pack.spans)])
    part_T = torch.cat(  # 0 prompt, 1 chosen, 2 rejected
        [torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor([s.prompt, s.chosen, s.rejected])) for s in pack.spans]
    )
    pair_T, part_T = pair_T.to(device), part_T.to(device)

    def sees(batch: Any, head: Any, query: Any, key: Any) -> Any:
        own = (part_T[key] == 0) | (part_T[key] == part_T[query])
        return (query >= key) & (pair_T[query] == pair_T[key]) & own

    return create_block_mask(sees, B=None, H=None, Q_LEN=pack.tokens, KV_LEN=pack.tokens, device=str(device))


@cache
def _flex_attention() -> Callable[..., torch.Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


AttentionInterface.register(NAME, packed_attention)
