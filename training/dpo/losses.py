"""Losses: pure functions of log-probabilities, one value per pair. A new loss is a new entry of LOSSES.

Each takes `Scores` and the options it names, and gives (B,); the loop applies weights and takes the mean. With
h = [log π(y_w) − log π_ref(y_w)] − [log π(y_l) − log π_ref(y_l)], the log-ratio difference, most are functions of β · h.
None raises; a non-finite input gives a non-finite loss.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from training.dpo.tokens import Example


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of the completions of B pairs, each summed over its tokens, and how many tokens those are. All (B,)."""

    policy_chosen: torch.Tensor
    policy_rejected: torch.Tensor
    reference_chosen: torch.Tensor
    reference_rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor
    strength: torch.Tensor  # of the preference, as its annotators graded it (the row's "margin")
    tie: torch.Tensor  # True where neither answer was preferred; "chosen" and "rejected" are then only names
    reference_point: float = 0.0  # z of KTO, in nats

    @classmethod
    def of(
        cls, policy_B2: torch.Tensor, reference_B2: torch.Tensor, examples: Sequence[Example], reference_point: float = 0.0
    ) -> "Scores":
        """Log-probabilities (columns are chosen, rejected) with what the pairs themselves say. An answer that is not there (of
        an unpaired row) has no tokens and the log-probability 0.
        """

        def column(values: list[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=policy_B2.dtype, device=policy_B2.device)

        return cls(
            *policy_B2.unbind(1),
            *reference_B2.to(policy_B2).unbind(1),
            chosen_tokens=column([len(example.chosen) for example in examples]),
            rejected_tokens=column([len(example.rejected) for example in examples]),
            strength=column([example.margin for example in examples]),
            tie=column([example.tie for example in examples]).bool(),
            reference_point=reference_point,
        )

    @property
    def chosen_ratio(self) -> torch.Tensor:
        return self.policy_chosen - self.reference_chosen

    @property
    def rejected_ratio(self) -> torch.Tensor:
        return self.policy_rejected - self.reference_rejected

    @property
    def difference(self) -> torch.Tensor:
        """h, in nats."""
        return self.chosen_ratio - self.rejected_ratio


def dpo(scores: Scores, *, beta: float, label_smoothing: float = 0.0, strength_offset: float = 0.0) -> torch.Tensor:
    """Direct Preference Optimization: Rafailov et al., arXiv:2305.18290, equation 7: −log σ(β · h).

    With ε = `label_smoothing` it is conservative DPO (Mitchell, "A note on DPO with noisy preferences", 2023, equation 3):
    −(1 − ε) · log σ(β · h) − ε · log σ(−β · h), whose gradient vanishes where σ(β · h) = 1 − ε.
    With α = `strength_offset` it is DPO with an offset (ODPO, Amini et al., arXiv:2402.10571): the reward margin must
    pass α · strength, −log σ(β · h − α · strength), so that a pair graded 3 is pushed further apart than one graded 1.

    Example: log-probabilities −10 and −12 (policy), −11 and −11 (reference), β = 0.1: β · h = 0.1 · (1 − (−1)) = 0.2,
    loss = log(1 + e^−0.2) = 0.5981. With ε = 0.1: 0.9 · 0.5981 + 0.1 · 0.7981 = 0.6181.
    """
    margin = beta * scores.difference - strength_offset * scores.strength
    return -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)


def robust(scores: Scores, *, beta: float, label_smoothing: float = 0.0) -> torch.Tensor:
    """Robust DPO: Chowdhury et al., arXiv:2403.00409: its loss estimate is unbiased when a share ε of labels is flipped.

    [−(1 − ε) · log σ(β · h) + ε · log σ(−β · h)] / (1 − 2ε). Example: β · h = 0.2, ε = 0.1: (0.9 · 0.5981 − 0.1 · 0.7981) / 0.8
    = 0.5731.
    """
    margin = beta * scores.difference
    straight, flipped = F.logsigmoid(margin), F.logsigmoid(-margin)
    return (-(1 - label_smoothing) * straight + label_smoothing * flipped) / (1 - 2 * label_smoothing)


def ipo(scores: Scores, *, beta: float) -> torch.Tensor:
    """Identity preference optimization: Azar et al., arXiv:2310.12036, equation 17: (h − 1 / (2β))².

    Log-ratios are averaged over each answer's tokens, as its authors recommend (a sum would ask long answers for the same
    margin as short ones). β is the paper's τ. Example: ratios 1 over 2 tokens and −1 over 4, β = 0.5: (0.5 + 0.25 − 1)² = 0.0625.
    """
    return (_averaged_difference(scores) - 1 / (2 * beta)) ** 2


def hinge(scores: Scores, *, beta: float) -> torch.Tensor:
    """The hinge of SLiC-HF (Zhao et al., arXiv:2305.10425) on the implicit rewards: max(0, 1 − β · h).

    As in RSO (Liu et al., arXiv:2309.06657). Example: β · h = 0.2 → 0.8.
    """
    return F.relu(1 - beta * scores.difference)


def dpo_norm(scores: Scores, *, beta: float, label_smoothing: float = 0.0) -> torch.Tensor:
    """Length-normalised DPO: Lambert et al., "Tülu 3", arXiv:2411.15124: log-ratios averaged over tokens.

    −log σ(β · (ratio_w / |y_w| − ratio_l / |y_l|)). β must be larger than in plain DPO (there 5), for averages are small.
    Example: ratios 1 over 2 tokens and −1 over 4, β = 2: −log σ(1.5) = 0.2014.
    """
    margin = beta * _averaged_difference(scores)
    return -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)


def dpo_ties(scores: Scores, *, beta: float, tie_width: float = 1.0) -> torch.Tensor:
    """DPO with ties, by Rao and Kupper: Chen et al., arXiv:2409.17431.

    With α = `tie_width` (the paper's log ν > 0): a preference costs −log σ(β · h − α), a tie
    −log[(e^2α − 1) · σ(β · h − α) · σ(−β · h − α)], which is least where h = 0. The three outcomes' probabilities sum to 1.
    Example: β · h = 0, α = 1: preference 1.3133, tie 2 · 1.3133 − log(e² − 1) = 0.7719.
    """
    margin = beta * scores.difference
    won, lost = F.logsigmoid(margin - tie_width), F.logsigmoid(-margin - tie_width)
    tied = -won - lost - math.log(math.expm1(2 * tie_width))
    return torch.where(scores.tie, tied, -won)


def sft(scores: Scores) -> torch.Tensor:
    """Preferred-FT: arXiv:2305.18290, section 6: maximum likelihood on the chosen answer, −log π(y_w) / |y_w|.

    Also how a reference is made where there is no SFT model. Example: −10 over 4 tokens → 2.5.
    """
    return -scores.policy_chosen / scores.chosen_tokens.clamp(min=1)


def unlikelihood(scores: Scores, *, unlikelihood_weight: float = 1.0) -> torch.Tensor:
    """The baseline of arXiv:2305.18290, section 6: −log π(y_w) + α · log π(y_l). It has no reference to hold it, and falls
    apart (as the paper shows); it is here for comparison only. Example: −10 and −12 with α = 1: −2.
    """
    return -scores.policy_chosen + unlikelihood_weight * scores.policy_rejected


def kto(
    ratios: torch.Tensor, desirable: torch.Tensor, kl: torch.Tensor, *,
    beta: float, desirable_weight: float = 1.0, undesirable_weight: float = 1.0,
) -> torch.Tensor:  # fmt: skip
    """Kahneman-Tversky optimization of single answers: Ethayarajh et al., arXiv:2402.01306, equation 8; (N,), (N,), () → (N,).

    `ratios` are log π/π_ref of N answers, `desirable` says which were liked, and z = `kl` ≥ 0 is the reference point (the mean
    log-ratio of answers to other prompts, without gradient). Liked: λ_D · [1 − σ(β · (ratio − z))]; disliked:
    λ_U · [1 − σ(β · (z − ratio))]. Example: ratio 1, z 0, β 1: liked 0.2689, disliked 0.7311.
    """
    gain = beta * (ratios - kl.clamp(min=0).detach())
    return torch.where(desirable, desirable_weight * torch.sigmoid(-gain), undesirable_weight * torch.sigmoid(gain))


def kto_rows(
    scores: Scores, *, beta: float, desirable_weight: float = 1.0, undesirable_weight: float = 1.0
) -> torch.Tensor:  # fmt: skip
    """`kto` of the answers of each row, summed: a chosen answer is a desirable one, a rejected one undesirable, and one that is
    not there adds nothing. The mean is over answers, not rows (`Objective.divisor`).

    Example: ratios 1 and 1, z 0, β 1: 0.2689 + 0.7311 = 1; of the chosen answer alone 0.2689.
    """
    ratios_B2 = torch.stack([scores.chosen_ratio, scores.rejected_ratio], 1)
    there_B2 = torch.stack([scores.chosen_tokens, scores.rejected_tokens], 1) > 0
    desirable_B2 = torch.tensor([True, False], device=ratios_B2.device).expand_as(ratios_B2)
    losses_B2 = kto(
        ratios_B2, desirable_B2, ratios_B2.new_tensor(scores.reference_point), beta=beta, desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
    )  # fmt: skip
    return losses_B2.where(there_B2, 0.0).sum(1)


def nll(scores: Scores) -> torch.Tensor:
    """The term that `nll_weight` adds to any loss, −log π(y_w) / |y_w|: Pang et al., arXiv:2404.19733 (also RPO,
    Liu et al., arXiv:2405.16436). It keeps chosen answers from becoming less likely while the margin grows.
    0 where there is none.
    """
    return sft(scores)


def implicit_reward(policy: torch.Tensor, reference: torch.Tensor, beta: float) -> torch.Tensor:
    """β · log(π(y|x) / π_ref(y|x)) of arXiv:2305.18290, section 4, up to the prompt's constant. (B,), (B,) → (B,).

    Example: log-probabilities −10 and −11 with β = 0.1 give 0.1.
    """
    return beta * (policy - reference)


def _averaged_difference(scores: Scores) -> torch.Tensor:
    return scores.chosen_ratio / scores.chosen_tokens - scores.rejected_ratio / scores.rejected_tokens


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "dpo": dpo,
    "robust": robust,
    "ipo": ipo,
    "hinge": hinge,
    "dpo_norm": dpo_norm,
    "dpo_ties": dpo_ties,
    "kto": kto_rows,
    "sft": sft,
    "unlikelihood": unlikelihood,
}
