"""Packs: many pairs in one row, each prompt once. Nothing is padding, and no token is encoded twice.

A pair lies in the row as `prompt | chosen | rejected`. The rejected answer takes up the prompt's positions where the prompt
ends, and attention.py lets it see the prompt and itself, but not the chosen answer; so each token gets what it would get
in a row of its own. The last token of an answer is predicted and predicts nothing: it is a target, not an input.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from training.dpo.tokens import Example


@dataclass(frozen=True)
class Span:
    """Where a pair lies in the row: `prompt`, `chosen` and `rejected` tokens from `start` on; an absent answer has none."""

    start: int
    prompt: int
    chosen: int
    rejected: int

    @property
    def end(self) -> int:
        return self.start + self.prompt + self.chosen + self.rejected


@dataclass(frozen=True)
class Pack:
    """T tokens in one row; S of the answers' tokens are scored, each by the row's token that predicts it."""

    input_ids_T: torch.Tensor
    position_ids_T: torch.Tensor
    predictors_S: torch.Tensor  # positions in the row whose hidden state predicts a scored token
    targets_S: torch.Tensor
    answers_S: torch.Tensor  # which answer a scored token belongs to: 2 · pair, and 1 more for the rejected one
    spans: tuple[Span, ...]

    @property
    def tokens(self) -> int:
        return self.input_ids_T.shape[0]


def packed_length(example: Example) -> int:
    """Tokens a pair takes in a pack. Example: prompt 10, chosen 5, rejected 3 → 10 + 4 + 2 = 16; without rejected 14."""
    return len(example.prompt) + len(example.chosen) + len(example.rejected) - example.answers


def fill_packs(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Places in `lengths`, longest first, each in the first pack that still has room (first-fit decreasing).

    A pair that is longer than the budget gets a pack of its own. The same lengths give the same packs.
    Example: lengths 5, 3, 4, 2 with budget 7 → [[0, 3], [2, 1]].
    """
    packs: list[list[int]] = []
    room: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        fits = next((number for number, left in enumerate(room) if left >= lengths[place]), None)
        if fits is None:
            packs.append([])
            room.append(budget)
            fits = len(packs) - 1
        packs[fits].append(place)
        room[fits] -= lengths[place]
    return packs


def spread_packs(lengths: Sequence[int], budget: int, processes: int) -> list[list[int]]:
    """As `fill_packs`, but as many packs for each process and all of like size, where the budget lets them be: each pair, longest
    first, goes to the pack that has least.

    Example: lengths 5, 3, 4, 2, budget 14, 2 processes → [[0, 3], [2, 1]], not one pack and an idle process.
    """
    packs = fill_packs(lengths, budget)
    wanted = math.ceil(len(packs) / processes) * processes
    if processes == 1 or not packs or len(lengths) < wanted:
        return packs
    even: list[list[int]] = [[] for _ in range(wanted)]
    taken = [0] * wanted
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        emptiest = taken.index(min(taken))
        even[emptiest].append(place)
        taken[emptiest] += lengths[place]
    return even if max(taken) <= max(budget, max(lengths)) else packs


def make_pack(examples: Sequence[Example], device: torch.device) -> Pack:
    """All of `examples` in one row."""
    ids: list[int] = []
    positions: list[int] = []
    predictors: list[int] = []
    targets: list[int] = []
    answers: list[int] = []
    spans: list[Span] = []
    for pair, example in enumerate(examples):
        span = Span(len(ids), len(example.prompt), max(0, len(example.chosen) - 1), max(0, len(example.rejected) - 1))
        ids += [*example.prompt, *example.chosen[:-1], *example.rejected[:-1]]
        positions += range(span.prompt + span.chosen)
        positions += range(span.prompt, span.prompt + span.rejected)
        last_of_prompt = span.start + span.prompt - 1
        predictors += range(last_of_prompt, last_of_prompt + len(example.chosen))
        predictors += [last_of_prompt, *range(span.end - span.rejected, span.end)] if example.rejected else []
        targets += [*example.chosen, *example.rejected]
        answers += [2 * pair] * len(example.chosen) + [2 * pair + 1] * len(example.rejected)
        spans.append(span)
    rows = [torch.tensor(row, device=device) for row in (ids, positions, predictors, targets, answers)]
    return Pack(*rows, spans=tuple(spans))
