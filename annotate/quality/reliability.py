"""Reliability: how often each person is right, estimated from how people agree, and how likely that makes each answer.

The model is that of A. P. Dawid and A. M. Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM
Algorithm", Journal of the Royal Statistical Society C 28 (1979) 20-28; crowd-kit's implementation estimates it. An estimate
holds the share of each true answer, p(t), and for each person the probability e(w, g, t) of giving g where t is true. Then
the probability of an answer, given the judgements of one comparison, is closed (the E-step):

    p(t | judgements)  ∝  p(t) · Π e(w, g, t)      over who (w) gave what (g)

so triples are read in constant memory, by an estimate that was made before. What managers have settled counts as known.

Maximum likelihood makes people who have judged little look perfect, or always wrong. So the formula takes e as if each person
had, for each true answer, given one answer more, spread evenly over all (Laplace): who judges much is hardly touched by it.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from django.db import transaction
from django.utils import timezone

from annotate.consensus.exclusions import excluded_people, exclusions_mark
from annotate.models import Decision, Judgement, Project
from annotate.models.comparison import ComparisonState, Purpose
from annotate.models.judgement import Outcome
from annotate.models.reliability import ReliabilityEstimate
from annotate.models.review import Reason
from annotate.review.disputes import mark_disputes

LEAST = 1e-10  # of a probability: as crowd-kit has it
ITERATIONS = 100
TOLERANCE = 1e-5
AT_ONCE = 500

Given = tuple[int, int, str]  # comparison, person, outcome


@dataclass(frozen=True)
class Estimate:
    """`priors`: p(t). `errors`: person → answer given → true answer → probability; over the answers given it sums to 1.

    `judged`: how much each person has judged; who is not in it is taken as they are estimated.
    """

    priors: Mapping[str, float]
    errors: Mapping[int, Mapping[str, Mapping[str, float]]]
    judged: Mapping[int, int] = field(default_factory=dict)

    def probabilities(self, votes: Iterable[tuple[int, str]]) -> dict[str, float]:
        """Of each outcome being the true one, given who said what. It sums to 1; without votes it is the prior.

        Somebody who was not there when the estimate was made is taken for the average person.
        """
        logs = {true: math.log(max(prior, LEAST)) for true, prior in self.priors.items()}
        for person, given in votes:
            of_person = self.errors.get(person, self.average).get(given, {})
            for true in logs:
                logs[true] += math.log(self._tempered(of_person.get(true, LEAST), person, true))
        if not logs:
            return {}
        most = max(logs.values())
        scaled = {true: math.exp(value - most) for true, value in logs.items()}
        total = sum(scaled.values())
        return {true: value / total for true, value in scaled.items()}

    def likeliest(self, votes: Iterable[tuple[int, str]]) -> tuple[str, float]:
        """The outcome and its probability; of two that are as likely, the one that comes first in the order of outcomes."""
        found = self.probabilities(votes)
        order = [outcome.value for outcome in Outcome if outcome.value in found]
        best = max(order, key=lambda outcome: (round(found[outcome], 12), -order.index(outcome)))
        return best, found[best]

    def _tempered(self, error: float, person: int, true: str) -> float:
        seen = self.judged.get(person, math.inf) * self.priors[true]
        return max(error if seen == math.inf else (error * seen + 1 / len(self.priors)) / (seen + 1), LEAST)

    @cached_property
    def average(self) -> dict[str, dict[str, float]]:
        people = self.errors.values()
        return {
            given: {true: sum(each.get(given, {}).get(true, LEAST) for each in people) / len(self.errors) for true in self.priors}
            for given in self.priors
        }

    def reliability_of(self, person: int) -> float | None:
        """How often they are right: Σ p(t) · e(person, t, t). None of somebody the estimate does not know."""
        errors = self.errors.get(person)
        return errors and sum(prior * errors.get(true, {}).get(true, 0.0) for true, prior in self.priors.items())


def estimate(given: Sequence[Given], known: Mapping[int, str] | None = None) -> Estimate:
    """Fits the model by EM, starting from the shares of the answers. The same rows in the same order give the same estimate.

    `known`: the true answers of some comparisons. 100,000 judgements take about as long as importing pandas does.
    """
    if not given:
        return Estimate({}, {})
    import pandas
    from crowdkit.aggregation.classification.dawid_skene import DawidSkene

    rows = pandas.DataFrame(given, columns=["task", "worker", "label"])
    labels = set(rows["label"])
    truths = {task: label for task, label in (known or {}).items() if label in labels}
    model = DawidSkene(n_iter=ITERATIONS, tol=TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how crowd-kit calls pandas
        model.fit(rows, true_labels=pandas.Series(truths, dtype=object) if truths else None)
    errors: dict[int, dict[str, dict[str, float]]] = {}
    for (person, label), row in model.errors_.iterrows():
        errors.setdefault(int(person), {})[label] = {str(true): float(value) for true, value in row.items()}
    priors = {str(label): float(prior) for label, prior in model.priors_.items()}
    return Estimate(priors, errors, dict(Counter(person for _, person, _ in given)))


# -- of a project ------------------------------------------------------------------------------------------


def stored_estimate(project: Project) -> ReliabilityEstimate | None:
    return ReliabilityEstimate.objects.filter(project=project).first()


def reliability_in(project: Project, *, fresh: bool = False) -> Estimate:
    """The project's estimate; with `fresh`, one of all the judgements there are now. One is made if there is none."""
    stored = stored_estimate(project)
    if stored is None or (fresh and not is_current(stored)):
        stored = refresh_estimate(project=project)
    return _read(stored)


def reliabilities(project: Project) -> dict[int, float]:
    """How often each person is right, as it was last estimated; {} before."""
    stored = stored_estimate(project)
    made = _read(stored) if stored else Estimate({}, {})
    return {person: made.reliability_of(person) for person in made.errors}


def is_current(stored: ReliabilityEstimate) -> bool:
    return mark_of(stored.project) == stored.mark


def refresh_estimate(*, project: Project) -> ReliabilityEstimate:
    """Estimates anew, keeps that, and brings the disputes of low confidence up to date."""
    mark = mark_of(project)
    votes = Judgement.objects.voting().for_training().filter(comparison__project=project, comparison__purpose=Purpose.TRAIN)
    votes = votes.exclude(annotator__in=excluded_people(project))
    rows = votes.order_by("comparison_id", "pk").values_list("comparison_id", "annotator_id", "outcome")
    given = list(rows.iterator(chunk_size=5000))
    known = dict(Decision.objects.settlements().filter(comparison__project=project).values_list("comparison_id", "outcome"))
    made = estimate(given, known)
    values = {
        "made_at": timezone.now(),
        "mark": mark,
        "judgements": len(given),
        "priors": dict(made.priors),
        "errors": {str(person): errors for person, errors in made.errors.items()},
        "judged": {str(person): number for person, number in made.judged.items()},
    }
    with transaction.atomic():
        stored, _ = ReliabilityEstimate.objects.update_or_create(project=project, defaults=values)
    _dispute_unlikely(project, made, given, settled=known.keys())
    return stored


def mark_of(project: Project) -> str:
    """Changes with each judgement or settlement that is added or taken away, and with whose judgements count."""
    judgements = Judgement.objects.filter(comparison__project=project)
    newest = judgements.order_by("-pk").values_list("pk", flat=True).first()
    withdrawn = (
        judgements.filter(withdrawn_at__isnull=False).order_by("-withdrawn_at").values_list("withdrawn_at", flat=True).first()
    )
    decisions = Decision.objects.filter(comparison__project=project)
    decided = decisions.order_by("-pk").values_list("pk", flat=True).first()
    taken_back = decisions.filter(taken_back_at__isnull=False).count()
    undone = project.imports.filter(undone_at__isnull=False).count()
    counted = f"{project.confidence_bar:g}/{exclusions_mark(project)}/{project.ai_judgements}"
    return f"{newest}/{withdrawn and withdrawn.timestamp()}/{decided}/{taken_back}/{undone}/{counted}"


def _read(stored: ReliabilityEstimate) -> Estimate:
    judged = {int(person): number for person, number in stored.judged.items()}
    return Estimate(stored.priors, {int(person): errors for person, errors in stored.errors.items()}, judged)


def _dispute_unlikely(project: Project, made: Estimate, given: Sequence[Given], settled: Set[int]) -> None:
    """Of the comparisons that have all their judgements, two or more, those whose likeliest answer is not likely enough."""
    votes: dict[int, list[tuple[int, str]]] = {}
    for comparison, person, outcome in given:
        votes.setdefault(comparison, []).append((person, outcome))
    confidence = {pk: made.likeliest(of_pair)[1] for pk, of_pair in votes.items() if len(of_pair) > 1}
    unlikely = {pk for pk, probability in confidence.items() if probability < project.confidence_bar} - settled
    before = set(project.disputes.filter(low_confidence=True).values_list("pk", flat=True))
    looked_at = sorted(unlikely | before)
    for start in range(0, len(looked_at), AT_ONCE):
        some = looked_at[start : start + AT_ONCE]
        done = set(project.comparisons.filter(pk__in=some, state=ComparisonState.DONE).values_list("pk", flat=True))
        mark_disputes(Reason.LOW_CONFIDENCE, of=some, where=unlikely & done, confidence=confidence)
