"""Which pairs belong to which step, and micro-batches as padded tensors. Everything follows from (seed, step)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from training.dpo.tokens import Example


@dataclass(frozen=True)
class Batch:
    """R rows of T tokens, the longest row's; T tokens are a prompt, a completion and padding."""

    input_ids_RT: torch.Tensor
    attention_mask_RT: torch.Tensor
    completion_mask_RT: torch.Tensor  # True where a token is scored: the completion with its end-of-turn token
    tokens: int  # without padding


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
    """Places in `examples`, longest first, cut so that a batch's padded rows (one an answer) hold at most `budget` tokens.

    A pair that is longer than the budget gets a batch of its own.
    """
    batches: list[list[int]] = []
    width = rows = 0
    for place in sorted(range(len(examples)), key=lambda place: (-examples[place].width, place)):
        if not batches or width * (rows + examples[place].answers) > budget:
            batches.append([])
            width, rows = examples[place].width, 0
        batches[-1].append(place)
        rows += examples[place].answers
    return batches


def answers_of(examples: Sequence[Example]) -> list[int]:
    """The answers that are there, in the order of a batch's rows, all chosen and then all rejected: 2 · place, and 1 more for a
    rejected one. Example: a pair and a desirable answer alone → [0, 2, 1].
    """
    chosen = [2 * place for place, example in enumerate(examples) if example.chosen]
    return chosen + [2 * place + 1 for place, example in enumerate(examples) if example.rejected]


def collate(examples: Sequence[Example], pad_id: int, device: torch.device) -> Batch:
    """A row for each of `answers_of`. Pad on the right; padding is neither attended to nor scored, so `pad_id` may be any id."""
    places = [divmod(answer, 2) for answer in answers_of(examples)]
    rows = [(examples[place].prompt, examples[place].rejected if side else examples[place].chosen) for place, side in places]
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
