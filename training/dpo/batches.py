"""Which pairs belong to which step, and micro-batches as padded tensors. Everything follows from (seed, step)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from training.dpo.tokens import Example


@dataclass(frozen=True)
class Batch:
    """Rows are all chosen, then all rejected: R = 2 · pairs. T is the longest row."""

    input_ids_RT: torch.Tensor
    attention_mask_RT: torch.Tensor
    completion_mask_RT: torch.Tensor  # True where a token is scored: the completion with its end-of-turn token
    tokens: int  # without padding

    @property
    def pairs(self) -> int:
        return self.input_ids_RT.shape[0] // 2


def steps_total(pairs: int, batch_pairs: int, epochs: float, max_steps: int | None) -> int:
    """Optimizer steps of a run. Example: 38 pairs, batch 8, 2 epochs = 76 pairs = 10 steps, the last with 4 pairs."""
    return max_steps if max_steps is not None else math.ceil(_pairs_seen(pairs, epochs) / batch_pairs)


def step_indices(step: int, pairs: int, batch_pairs: int, epochs: float, max_steps: int | None, seed: int) -> list[int]:
    """The pairs of step `step` (from 0): a slice of endless shuffled epochs, which a batch may straddle."""
    start = step * batch_pairs
    end = start + batch_pairs
    if max_steps is None:
        end = min(end, _pairs_seen(pairs, epochs))
    return [_epoch_order(seed, place // pairs, pairs)[place % pairs] for place in range(start, end)]


def fill_padded(examples: Sequence[Example], budget: int) -> list[list[int]]:
    """Places in `examples`, longest first, cut so that a batch's padded rows (two a pair) hold at most `budget` tokens.

    A pair that is longer than the budget gets a batch of its own.
    """
    batches: list[list[int]] = []
    width = 0
    for place in sorted(range(len(examples)), key=lambda place: (-examples[place].width, place)):
        if not batches or 2 * width * (len(batches[-1]) + 1) > budget:
            batches.append([])
            width = examples[place].width
        batches[-1].append(place)
    return batches


def collate(examples: Sequence[Example], pad_id: int, device: torch.device) -> Batch:
    """Pad on the right. Padding is neither attended to nor scored, so `pad_id` may be any id."""
    rows = [(e.prompt, e.chosen) for e in examples] + [(e.prompt, e.rejected) for e in examples]
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    input_ids_RT = torch.full((len(rows), width), pad_id, dtype=torch.long)
    attention_mask_RT = torch.zeros((len(rows), width), dtype=torch.long)
    completion_mask_RT = torch.zeros((len(rows), width), dtype=torch.bool)
    for row, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        input_ids_RT[row, :end] = torch.tensor(prompt + answer, dtype=torch.long)
        attention_mask_RT[row, :end] = 1
        completion_mask_RT[row, len(prompt) : end] = True
    return Batch(
        input_ids_RT.to(device),
        attention_mask_RT.to(device),
        completion_mask_RT.to(device),
        tokens=sum(len(prompt) + len(answer) for prompt, answer in rows),
    )


def _pairs_seen(pairs: int, epochs: float) -> int:
    return max(1, round(pairs * epochs))


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, pairs: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(pairs, generator=generator).tolist()
