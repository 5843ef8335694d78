"""Loss, accuracy, margin and rewards of pairs, from their log-probabilities."""

from dataclasses import dataclass

import torch

from training.dpo.losses import LOSSES, implicit_reward


@dataclass(frozen=True)
class Objective:
    """Which loss, with which parameters."""

    loss: str
    beta: float
    label_smoothing: float

    def losses(self, policy_B2: torch.Tensor, reference_B2: torch.Tensor) -> torch.Tensor:
        """(B, 2), (B, 2) → (B,); columns are chosen, rejected."""
        return LOSSES[self.loss](
            *policy_B2.unbind(1), *reference_B2.unbind(1), beta=self.beta, label_smoothing=self.label_smoothing
        )


def metrics(
    policy_N2: torch.Tensor, reference_N2: torch.Tensor, weights_N: torch.Tensor, objective: Objective
) -> dict[str, float]:
    """Means over pairs. Accuracy is the share whose chosen reward is the larger, ties half; only the loss is weighted."""
    reward_N2 = implicit_reward(policy_N2, reference_N2, objective.beta)
    margin_N = reward_N2[:, 0] - reward_N2[:, 1]
    return {
        "loss": (weights_N * objective.losses(policy_N2, reference_N2)).mean().item(),
        "accuracy": (margin_N.sign() + 1).div(2).mean().item(),
        "margin": margin_N.mean().item(),
        "chosen_logp": policy_N2[:, 0].mean().item(),
        "rejected_logp": policy_N2[:, 1].mean().item(),
        "chosen_reward": reward_N2[:, 0].mean().item(),
        "rejected_reward": reward_N2[:, 1].mean().item(),
    }
