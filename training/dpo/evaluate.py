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


def weights_of(examples: Sequence[Example]) -> torch.Tensor:
    return torch.tensor([example.weight for example in examples])


def metrics(
    policy_N2: torch.Tensor, reference_N2: torch.Tensor, examples: Sequence[Example], objective: Objective
) -> dict[str, float]:
    """Means over pairs. Accuracy is the share of decided pairs whose chosen reward is the larger (equal ones count half);
    only the loss is weighted.
    """
    scores = Scores.of(policy_N2, reference_N2, examples)
    reward_N2 = implicit_reward(policy_N2, reference_N2, objective.beta)
    margin_N = reward_N2[:, 0] - reward_N2[:, 1]
    right_N = (margin_N.sign() + 1).div(2)[~scores.tie]
    return {
        "loss": (weights_of(examples) * objective.losses(scores)).mean().item(),
        "accuracy": right_N.mean().item() if len(right_N) else 0.5,
        "margin": margin_N.mean().item(),
        "chosen_logp": policy_N2[:, 0].mean().item(),
        "rejected_logp": policy_N2[:, 1].mean().item(),
        "chosen_reward": reward_N2[:, 0].mean().item(),
        "rejected_reward": reward_N2[:, 1].mean().item(),
    }
