"""From a version to the clicks it learnt from, and from a click to the versions that learnt from it."""

from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Exists, OuterRef, Prefetch

from annotate.consensus.judged import pseudonym
from annotate.models import Comparison, Judgement, Project, User
from training.models import Dataset, Version

SIDES = ("first", "second")
AT_ONCE = 40  # judgements on a page
MOST_COUNTED = 5_000  # pairs with an answer of a version
KEEP_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Person:
    pk: int
    name: str
    judgements: int


@dataclass(frozen=True)
class Click:
    judgement: Judgement
    who: str
    winner: str  # the start of the answer that was chosen; "" for neither
    loser: str


@dataclass(frozen=True)
class Clicks:
    rows: list[Click]
    older: int | None  # to ask with for the next page; None at the end


def people_of(dataset: Dataset, *, names: bool) -> list[Person]:
    """Whose judgements it holds, most first; under pseudonyms for those who may not see names. A dataset never changes, so
    they are counted once."""

    def count() -> list[tuple[int, int]]:
        judged = Judgement.objects.filter(datasets=dataset).order_by().values_list("annotator_id").annotate(n=Count("pk"))
        return sorted(judged, key=lambda row: (-row[1], row[0]))

    counted = cache.get_or_set(f"people-of-dataset:{dataset.pk}:{dataset.created_at.timestamp()}", count, KEEP_SECONDS)
    called = _called(dataset.project, [pk for pk, _ in counted], names=names)
    return [Person(pk, called[pk], number) for pk, number in counted]


@dataclass(frozen=True)
class Written:
    """Pairs in which an answer of a version stands. `more`: there are more than these, and nobody has counted them."""

    pairs: int
    judged: int
    more: bool


def pairs_written_by(version: Version) -> Written:
    """Two short queries, however many it wrote: beyond MOST_COUNTED a page needs no number."""
    standing = Exists(Judgement.objects.standing().filter(comparison=OuterRef("pk")))
    judged: dict[int, bool] = {}
    for side in SIDES:
        found = Comparison.objects.filter(**{f"{side}__version": version}).order_by().values_list("pk", standing)
        judged |= dict(found[: MOST_COUNTED + 1])
    more = len(judged) > MOST_COUNTED
    return Written(min(len(judged), MOST_COUNTED), sum(judged.values()), more)


def judgements_of_answers(version: Version, *, names: bool, before: int | None = None) -> Clicks:
    """Those of pairs in which an answer of the version stands, newest first."""
    ids: set[int] = set()
    for side in SIDES:  # asked for each by itself, an index answers
        found = Judgement.objects.standing().filter(**{f"comparison__{side}__version": version})
        if before is not None:
            found = found.filter(pk__lt=before)
        ids |= set(found.order_by("-pk").values_list("pk", flat=True)[: AT_ONCE + 1])
    return _clicks(version.project, sorted(ids, reverse=True)[: AT_ONCE + 1], names=names)


def judgements_in(dataset: Dataset, *, names: bool, before: int | None = None) -> Clicks:
    """Those of the dataset, newest first. The cost of a page is flat: the link table's index gives the next AT_ONCE."""
    links = Dataset.judgements.through.objects.filter(dataset=dataset).order_by("-judgement_id")
    if before is not None:
        links = links.filter(judgement_id__lt=before)
    return _clicks(dataset.project, list(links.values_list("judgement_id", flat=True)[: AT_ONCE + 1]), names=names)


def _clicks(project: Project, ids: list[int], *, names: bool) -> Clicks:
    """AT_ONCE + 1 ids, or fewer at the end."""
    shown = ids[:AT_ONCE]
    found = Judgement.objects.filter(pk__in=shown).select_related("comparison__first", "comparison__second", "comparison__prompt")
    rows = list(found.order_by("-pk"))
    called = _called(project, {row.annotator_id for row in rows}, names=names)
    return Clicks([_click(row, called) for row in rows], shown[-1] if len(ids) > AT_ONCE else None)


def judged_comparison(project: Project, comparison_id: int) -> dict[str, Any] | None:
    """A comparison with its judgements and the versions that it helped to train; None if the project has none such."""
    judgements = Prefetch("judgements", Judgement.objects.select_related("annotator").order_by("pk"))
    found = project.comparisons.select_related("prompt", "first__version__project", "second__version__project")
    comparison: Comparison | None = found.prefetch_related(judgements).filter(pk=comparison_id).first()
    if comparison is None:
        return None
    return {
        "comparison": comparison,
        "answers": [(comparison.first, "First"), (comparison.second, "Second")],
        "judgements": comparison.judgements.all(),
        "versions": versions_trained_on(project=project, comparison_id=comparison_id),
    }


def versions_trained_on(*, project: Project, comparison_id: int) -> list[Version]:
    """Whose dataset holds a judgement of the comparison, in order."""
    links = Dataset.judgements.through.objects.filter(judgement__comparison=comparison_id)
    trained = project.versions.filter(run__dataset__in=links.values("dataset"))
    return list(trained.select_related("project", "run__project", "run__dataset").order_by("number"))


def _click(judgement: Judgement, called: dict[int, str]) -> Click:
    pair = judgement.comparison
    first, second = pair.first.text, pair.second.text
    winner, loser = {"first": (first, second), "second": (second, first)}.get(judgement.outcome, ("", ""))
    return Click(judgement, called[judgement.annotator_id], winner, loser)


def _called(project: Project, pks: Any, *, names: bool) -> dict[int, str]:
    if not names:
        return {pk: f"annotator {pseudonym(project, pk)}" for pk in pks}
    return {user.pk: user.get_full_name() for user in User.objects.filter(pk__in=list(pks))}
