"""Implicit rewards of stored pairs: what has still to be scored, what it says of the judgements, and what follows in the queue.

A version prefers the first answer with probability σ(margin), margin = β · (log-ratio of the first − log-ratio of the second)
(Rafailov et al., arXiv:2305.18290, equation 6). The work is done in `training.rewards.scoring`.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from annotate.models import Comparison, Judgement, Project, User
from annotate.models.comparison import ComparisonState, Purpose
from annotate.models.judgement import Outcome
from annotate.models.prompt import Split
from annotate.models.review import Reason
from annotate.models.scale import Grades
from annotate.quality.intervals import wilson
from annotate.review.disputes import mark_disputes
from training import tasks
from training.evaluations.votes import votes
from training.generation.filling import priority_of
from training.leaderboard.counting import fingerprint
from training.models import Score, Scoring, Version
from training.models.job import JobState
from training.runs.curves import resolved_settings
from training.versions.registry import serving_version

STRONG = 3  # "better", of the words of all scales (`annotate.models.scale.RANKS`)
AGAINST = 0.25  # a version contradicts a judgement when it gives the chosen answer less
LEVELS = 4  # of uncertainty in the queue; within one, prompts with fewest pairs come first
ROWS_AT_ONCE = 500  # SQLite takes a limited number of variables


class ScoringRefused(Exception):
    """The version cannot score; the text says why."""


# -- scoring -----------------------------------------------------------------------------------------------


def has_rewards(version: Version) -> bool:
    """Only a version that was trained here has a reference to be measured against; both must still be there."""
    if version.run_id is None or version.is_endpoint or version.is_removed:
        return False
    return not (version.run.reference.is_endpoint or version.run.reference.is_removed)


def unscored(version: Version) -> QuerySet[Comparison]:
    """What is judged, or waits in the queue, and the version has not scored. The newest first."""
    scored = Score.objects.filter(version=version, comparison=OuterRef("pk"))
    judged = Exists(Judgement.objects.standing().filter(comparison=OuterRef("pk")))
    waiting = Q(state=ComparisonState.OPEN, purpose=Purpose.TRAIN)
    return Comparison.objects.filter(~Exists(scored), judged | waiting, project=version.project_id).order_by("-pk")


def start_scoring(*, version: Version, by: User | None = None) -> Scoring:
    """A scoring, queued; the unfinished one if there is one. Raises ScoringRefused."""
    if not has_rewards(version):
        raise ScoringRefused(
            f"{version} was not trained here, or its files or its reference's are gone: it has no implicit reward."
        )
    try:
        with transaction.atomic():
            beta = float(resolved_settings(run=version.run)["beta"])
            scoring = Scoring.objects.create(project=version.project, version=version, beta=beta, started_by=by)
            tasks.score_comparisons.enqueue(scoring.pk)
            return scoring
    except IntegrityError:
        return version.scorings.unfinished().get()


# -- what it says of the judgements ------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """Of pairs that people decided: how often the version ranks them as they did."""

    right: float  # equal rewards count half
    pairs: int
    margin: float  # mean, towards the chosen answer

    @property
    def accuracy(self) -> float:
        return self.right / self.pairs

    @property
    def range(self) -> tuple[float, float]:
        return wilson(self.accuracy, self.pairs)


def agreement_of(version: Version, *, split: Split) -> Agreement | None:
    """Over scored comparisons of which more judgements chose one side than the other. None without any."""
    margins = margins_of(version, comparison__prompt__split=split)
    lead: defaultdict[int, int] = defaultdict(int)
    for pk, outcome in votes(version.project).filter(comparison__prompt__split=split).values_list("comparison_id", "outcome"):
        lead[pk] += {Outcome.FIRST: 1, Outcome.SECOND: -1}.get(outcome, 0)
    towards = [math.copysign(1, lead[pk]) * margin for pk, margin in margins.items() if lead[pk]]
    if not towards:
        return None
    right = sum(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in towards)
    return Agreement(right, len(towards), sum(towards) / len(towards))


def margins_of(version: Version, **which: Any) -> dict[int, float]:
    """Of the comparisons that it has scored, by id: how much it prefers the first answer."""
    found = Score.objects.with_margin().filter(version=version, first_reward__isnull=False, **which)
    return dict(found.values_list("comparison_id", "margin"))


def figures_of_rewards(version: Version) -> dict[str, Any]:
    """As plain numbers, for the version's page."""
    figures: dict[str, Any] = {"scored": Score.objects.filter(version=version, first_reward__isnull=False).count()}
    for split in Split:
        if found := agreement_of(version, split=split):
            low, high = found.range
            figures[split.value] = {
                "pairs": found.pairs, "accuracy": round(found.accuracy, 4), "low": round(low, 4), "high": round(high, 4),
                "margin": round(found.margin, 4),
            }  # fmt: skip
    return figures


def contradictions(version: Version) -> set[int]:
    """Comparisons with a strong judgement for an answer that the version holds for the worse, by far."""
    sure = -math.log(AGAINST / (1 - AGAINST))
    scores = Score.objects.with_margin().filter(Q(margin__gt=sure) | Q(margin__lt=-sure), version=version)
    margins = dict(scores.filter(comparison__purpose=Purpose.TRAIN).values_list("comparison_id", "margin"))
    sided = votes(version.project).filter(
        comparison__in=scores.values("comparison_id"), outcome__in=[Outcome.FIRST, Outcome.SECOND]
    )
    return {
        pk
        for pk, outcome, strength, grades in sided.values_list("comparison_id", "outcome", "strength", "assignment__grades")
        if pk in margins and (margins[pk] < 0) == (outcome == Outcome.FIRST) and Grades(grades).rank(strength) >= STRONG
    }


# -- what follows in the queue -----------------------------------------------------------------------------


def follow_rewards(*, project: Project) -> None:
    """By the serving version: what it contradicts goes to review, what it is least certain about is judged first."""
    version = serving_version(project)
    if version is None:
        return
    looked_at = Score.objects.filter(version=version).values_list("comparison_id", flat=True)
    found = contradictions(version)
    known = project.disputes.filter(against_reward=True).values_list("pk", flat=True)
    of = sorted({*known, *found} if has_rewards(version) else known)
    scored = set(looked_at)
    for start in range(0, len(of), ROWS_AT_ONCE):
        part = of[start : start + ROWS_AT_ONCE]
        mark_disputes(Reason.AGAINST_REWARD, of=part, where=found.intersection(part) & scored)
    order_by_uncertainty(version=version)


def order_by_uncertainty(*, version: Version) -> int:
    """Sets the priority of the open pairs that the version wrote and scored; returns how many changed."""
    base = priority_of(version.project, version)
    own = Q(comparison__first__version=version) | Q(comparison__second__version=version)
    rows = Score.objects.with_margin().filter(
        own, version=version, first_reward__isnull=False, comparison__state=ComparisonState.OPEN,
        comparison__purpose=Purpose.TRAIN,
    )  # fmt: skip
    by_level: defaultdict[float, list[int]] = defaultdict(list)
    for pk, margin in rows.values_list("comparison_id", "margin"):
        by_level[base + level_of(margin)].append(pk)
    changed = 0
    for priority, pks in by_level.items():
        for start in range(0, len(pks), ROWS_AT_ONCE):
            part = Comparison.objects.open().filter(pk__in=pks[start : start + ROWS_AT_ONCE])
            changed += part.exclude(priority=priority).update(priority=priority)
    return changed


def level_of(margin: float) -> float:
    """0, ¼, ½ or ¾: how uncertain σ(margin) is. Below 1, so that no pair of a version before comes earlier.

    Examples: margin 0 (a coin) → ¾; margin 3 (95 %) → 0.
    """
    sure = abs(math.tanh(margin / 2))  # |2 σ(margin) − 1|
    return min(LEVELS - 1, math.floor(LEVELS * (1 - sure))) / LEVELS


# -- by itself ---------------------------------------------------------------------------------------------

PAUSE_SECONDS = 60


def score_what_is_new() -> None:
    """The tick's part: the serving version scores what it has not, and what follows is brought up to date."""
    for project in Project.objects.current().filter(runs__state=JobState.DONE).distinct():
        if not cache.add(f"rewards-looked-at:{project.pk}", True, PAUSE_SECONDS):
            continue
        version = serving_version(project)
        if version is None:
            continue
        if has_rewards(version) and _may_try(version) and unscored(version).exists():
            start_scoring(version=version)
        now = f"{version.pk}:{fingerprint(project)}"
        if cache.get(f"rewards-followed:{project.pk}") != now:
            follow_rewards(project=project)
            cache.set(f"rewards-followed:{project.pk}", now, None)


def _may_try(version: Version) -> bool:
    """None is unfinished, and the last one did not fail: one that did is tried again by hand, or by the next version."""
    last = version.scorings.order_by("-pk").values_list("state", flat=True).first()
    return last in (None, JobState.DONE)
