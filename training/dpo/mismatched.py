"""KTO's reference point z: how likely the policy has made answers to other prompts (arXiv:2402.01306, section 4.1).

z estimates the KL divergence of policy and reference. The paper takes it from pairs (x_i, y_{i+1}) of the batch at hand. Here the
answer that a prompt is given is chosen once, by the order of the file: so the reference's log-probabilities of these mismatched
pairs are computed once and kept, as those of the rows themselves, and the policy's by one pass without gradient before each step.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from training.dpo.errors import DataError
from training.dpo.tokens import Example


def mismatched(examples: Sequence[Example], others: Sequence[Example] = (), max_row: int | None = None) -> list[Example]:
    """Each example's prompt with the answers of the next one whose prompt is another; after the last of `examples` come `others`,
    then the first again. Answers are cut where prompt and answer would pass `max_row` tokens.

    Example: prompts A, A, B with answers 1, 2, 3 → A3, A3, B1. Raises DataError when all have the same prompt.
    """
    ring = [*examples, *others]
    following = next((place for place in range(len(ring)) if ring[place].prompt != ring[-1].prompt), None)
    if following is None:
        raise DataError(
            "all rows have the same prompt, and kto takes its reference point from answers to other prompts. Add some."
        )
    after = [0] * len(ring)  # of each: the next place with another prompt
    for place in reversed(range(len(ring))):
        if place + 1 < len(ring) and ring[place + 1].prompt != ring[place].prompt:
            following = place + 1
        after[place] = following
    return [_with_answers_of(example, ring[after[place]], max_row) for place, example in enumerate(examples)]


def mismatched_name(part: str) -> str:
    """Under which the log-probabilities of a part's mismatched pairs are kept."""
    return f"{part} mismatched"


def reference_point(policy_B2: torch.Tensor, reference_B2: torch.Tensor, examples: Sequence[Example]) -> float:
    """z, in nats: the mean log-ratio of mismatched answers, 0 at least. Example: ratios 1, −2 and 4 → 1."""
    there_B2 = torch.tensor([[bool(example.chosen), bool(example.rejected)] for example in examples])
    return max(0.0, (policy_B2 - reference_B2)[there_B2].mean().item())


def _with_answers_of(example: Example, other: Example, max_row: int | None) -> Example:
    room = None if max_row is None else max(1, max_row - len(example.prompt))
    return replace(example, chosen=other.chosen[:room], rejected=other.rejected[:room])
