"""Losses: pure functions of summed log-probabilities, (B,) → (B,). A new loss is a new entry of LOSSES.

Every function takes the log-probability of each completion as a whole (summed over its tokens), under the
policy and under the reference, and gives one loss per pair. The loop applies weights and takes the mean.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F


def dpo(
    policy_chosen: torch.Tensor,
    policy_rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Direct Preference Optimization: Rafailov et al., arXiv:2305.18290, equation 7.

    With h = β · [(log π(y_w) − log π_ref(y_w)) − (log π(y_l) − log π_ref(y_l))] the loss is −log σ(h).
    With ε = `label_smoothing` > 0 it is conservative DPO (Mitchell, "A note on DPO with noisy preferences",
    2023, equation 3): −(1 − ε) · log σ(h) − ε · log σ(−h), whose gradient vanishes where σ(h) = 1 − ε.

    Example: log-probabilities −10 and −12 (policy), −11 and −11 (reference), β = 0.1: h = 0.1 · (1 − (−1)) = 0.2,
    loss = log(1 + e^−0.2) = 0.5981. With ε = 0.1: 0.9 · 0.5981 + 0.1 · 0.7981 = 0.6181.

    Shapes: four times (B,) → (B,). Raises nothing; a non-finite input gives a non-finite loss.
    """
    logits = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -(1 - label_smoothing) * F.logsigmoid(logits) - label_smoothing * F.logsigmoid(-logits)


def implicit_reward(policy: torch.Tensor, reference: torch.Tensor, beta: float) -> torch.Tensor:
    """β · log(π(y|x) / π_ref(y|x)) of arXiv:2305.18290, section 4, up to the prompt's constant. (B,), (B,) → (B,).

    Example: log-probabilities −10 and −11 with β = 0.1 give 0.1.
    """
    return beta * (policy - reference)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {"dpo": dpo}
