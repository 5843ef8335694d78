"""Loss, accuracy, margin and rewards of pairs, from their log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from training.dpo.config import LOSS_OPTIONS, Config
from training.dpo.losses import LOSSES, Scores, implicit_reward, nll
from training.dpo.tokens import Example


@dataclass(frozen=True)
class Objective:
    """Which loss, with which options; `beta` also scales the implicit rewards of losses that have none."""

    loss: str = "dpo"
    beta: float = 0.1
    options: dict[str, float] = field(default_factory=dict)
    nll_weight: float = 0.0

    @classmethod
    def of(cls, config: Config) -> "Objective":
        options = {name: getattr(config, name) for name in LOSS_OPTIONS[config.loss]}
        return cls(config.loss, config.beta, options, config.nll_weight)

    def losses(self, scores: Scores) -> torch.Tensor:
        """(B,), unweighted."""
        losses_B = LOSSES[self.loss](scores, **self.options)
        return losses_B + self.nll_weight * nll(scores) if self.nll_weight else losses_B

    def divisor(self, examples: Sequence[Example]) -> int:
        """What the losses of a batch are summed and divided by: its rows; of kto, which judges single answers, its answers."""
        return sum(example.answers for example in examples) if self.loss == "kto" else len(examples)


def weights_of(examples: Sequence[Example]) -> torch.Tensor:
    return torch.tensor([example.weight for example in examples])


def metrics(
    policy_N2: torch.Tensor, reference_N2: torch.Tensor, examples: Sequence[Example], objective: Objective, z: float = 0.0
) -> dict[str, float | None]:
    """Means over pairs; only the loss is weighted. `z` is kto's reference point.

    Accuracy is the share of decided pairs whose chosen reward is the larger; where there are unpaired rows, the share of all
    couples of a desirable and an undesirable answer. Equal rewards count half. None where there are no answers to be the mean of.
    """
    scores = Scores.of(policy_N2, reference_N2, examples, z)
    reward_N2 = implicit_reward(policy_N2, reference_N2, objective.beta)
    figures: dict[str, float | None] = {
        "loss": (weights_of(examples) * objective.losses(scores)).sum().item() / objective.divisor(examples)
    }
    if all(example.answers == 2 for example in examples):
        right_N = ((reward_N2[:, 0] - reward_N2[:, 1]).sign() + 1).div(2)[~scores.tie]
        figures["accuracy"] = right_N.mean().item() if len(right_N) else 0.5
    else:
        figures["accuracy"] = ordered_share(reward_N2[scores.chosen_tokens > 0, 0], reward_N2[scores.rejected_tokens > 0, 1])
    for side, name, tokens_N in ((0, "chosen", scores.chosen_tokens), (1, "rejected", scores.rejected_tokens)):
        figures[f"{name}_logp"] = _mean(policy_N2[tokens_N > 0, side])
        figures[f"{name}_reward"] = _mean(reward_N2[tokens_N > 0, side])
    chosen, rejected = figures["chosen_reward"], figures["rejected_reward"]
    return figures | {"margin": None if chosen is None or rejected is None else chosen - rejected}


def _mean(values_N: torch.Tensor) -> float | None:
    return values_N.mean().item() if len(values_N) else None


def ordered_share(higher_N: torch.Tensor, lower_M: torch.Tensor) -> float:
    """Of all couples of one of each, the share in which the first is larger; equal ones count half. Also known as AUC.

    Example: 1 and 3 against 2 and 1: (0.5 + 2) / 4 = 0.625. Without couples 0.5.
    """
    if not len(higher_N) or not len(lower_M):
        return 0.5
    ranked_M = lower_M.sort().values
    below_N, up_to_N = (torch.searchsorted(ranked_M, higher_N.contiguous(), right=right) for right in (False, True))
    return ((below_N + up_to_N).double().mean() / (2 * len(ranked_M))).item()
