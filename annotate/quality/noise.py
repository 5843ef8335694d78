"""Noise: how often a triple points the wrong way, told from how often people contradict each other.

If each of two people, independently, takes the worse answer for the better one with probability e, they choose opposite sides
with probability d = 2e(1 − e); so e = (1 − √(1 − 2d)) / 2. A rule over several judgements is wrong less often. The result is
what ε of conservative and robust DPO stands for: the share of flipped labels (arXiv:2403.00409, section 3).
"""

import math
from dataclasses import dataclass

from django.core.cache import cache

from annotate.models import Project
from annotate.models.judgement import Outcome
from annotate.models.project import Consensus
from annotate.quality.counts import counted
from annotate.quality.tallies import OUTCOMES, Patterns

FEWEST = 30  # pairs of judgements: with fewer, nothing is said
KEEP_SECONDS = 600


@dataclass(frozen=True)
class Noise:
    opposite: int  # pairs of judgements of one comparison that choose opposite sides
    of: int  # pairs that both choose a side
    per_judgement: float  # e; 0.5 when people agree no more often than by chance
    per_triple: float  # by the project's rule: the ε to take

    @property
    def epsilon(self) -> float:
        return round(self.per_triple, 2)


def measure_noise(project: Project) -> Noise | None:
    """None when too few comparisons were judged by two people who both chose a side. Kept for ten minutes."""
    key = f"noise:{project.pk}:{project.consensus}:{project.judgements_required}"
    found = cache.get(key)
    if found is None:
        found = noise_in(counted(project).tally.choices, rule=project.consensus, judgements=project.judgements_required)
        cache.set(key, found or False, KEEP_SECONDS)
    return found or None


def noise_in(choices: Patterns, *, rule: str, judgements: int) -> Noise | None:
    """Of how many comparisons got which outcomes (`tallies.Tally.choices`), and how many judgements each is to get."""
    first, second = OUTCOMES.index(Outcome.FIRST), OUTCOMES.index(Outcome.SECOND)
    opposite = same = 0
    for pattern, number in choices.items():
        one, other = pattern.count(first), pattern.count(second)
        opposite += number * one * other
        same += number * (math.comb(one, 2) + math.comb(other, 2))
    if opposite + same < FEWEST:
        return None
    wrong = flipped(opposite / (opposite + same))
    return Noise(opposite, opposite + same, wrong, flipped_by(rule, wrong, judgements))


def flipped(opposite: float) -> float:
    """e from d: 0.18 → 0.1. From one half on, 0.5."""
    return (1 - math.sqrt(1 - 2 * opposite)) / 2 if opposite < 0.5 else 0.5


def flipped_by(rule: str, wrong: float, judgements: int) -> float:
    """How often a triple is wrong when each of its judgements is with probability `wrong`, and all choose a side.

    Of three judgements at 0.1, the majority: 3 · 0.1² · 0.9 + 0.1³ = 0.028; unanimous: 0.1³ / (0.1³ + 0.9³) = 0.0014.
    """
    if rule == Consensus.EVERY:
        return wrong
    needed = judgements if rule == Consensus.UNANIMOUS else judgements // 2 + 1
    chances = [math.comb(judgements, k) * wrong**k * (1 - wrong) ** (judgements - k) for k in range(judgements + 1)]
    bad, good = sum(chances[needed:]), sum(chances[: judgements - needed + 1])
    return bad / (bad + good)
