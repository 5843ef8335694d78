"""How far the work has come: one person's, and the project's."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TypedDict

from django.core.cache import cache
from django.db.models import Count, Q
from django.utils import timezone

from annotate.models import Assignment, Comparison, Judgement, PairCount, Project, User
from annotate.models.comparison import ComparisonState, Purpose
from annotate.models.kept_queries import Given, KeptQuery
from annotate.models.prompt import Split
from annotate.projects.judged import count_judged

LARGE = 2_000  # pairs from which on nobody misses one in a count
KEPT_SECONDS = 5
SMALL_SECONDS = 60
COUNTED_LATELY = timedelta(minutes=2)  # by the clock, if it runs


@dataclass(frozen=True)
class Pairs:
    """A project's comparisons but for gold, which is never used up. Wherever a page counts them, it counts these."""

    judged: int  # with all the judgements they need
    waiting: int  # for a judgement, also those that are on somebody's screen
    free: int  # of the waiting ones, those that the queue can hand out now: the rest is on screens
    retired: int  # superseded before anybody judged them

    @property
    def all(self) -> int:
        return self.judged + self.waiting + self.retired


def recent_pairs(project: Project) -> Pairs:
    """As `count_pairs`; of a large project as the clock counted them last, or up to a few seconds old."""
    return recent_pairs_of([project.pk])[project.pk]


def recent_pairs_of(projects: Collection[int]) -> dict[int, Pairs]:
    """The same of several projects, by their ids: a few queries for all that are not known."""
    kept: dict[str, Pairs | None] = cache.get_many([f"pairs:{project}" for project in projects])
    found = {project: pairs for project in projects if (pairs := kept.get(f"pairs:{project}"))}
    if len(found) == len(projects):
        return found
    new = _counted_lately([project for project in projects if f"pairs:{project}" not in kept])
    new |= count_pairs_of([project for project in projects if project not in found and project not in new])
    cache.set_many({f"pairs:{project}": pairs for project, pairs in new.items() if pairs.all >= LARGE}, KEPT_SECONDS)
    small = {f"pairs:{project}": None for project, pairs in new.items() if pairs.all < LARGE}
    cache.set_many(small, SMALL_SECONDS)  # counted each time, without looking whether the clock has done so
    return found | new


def keep_pairs(*, project: Project) -> None:
    """Counts them for the pages if there are many: a part of the clock's work."""
    if project.comparisons.exclude(purpose=Purpose.GOLD)[:LARGE].count() < LARGE:
        PairCount.objects.filter(project=project).delete()
        return
    now = timezone.now()
    PairCount.objects.update_or_create(project=project, defaults=asdict(count_pairs(project)) | {"counted_at": now})


def _counted_lately(projects: Collection[int]) -> dict[int, Pairs]:
    """What the clock counted. A short queue is counted anew, exactly: what happens next depends on it."""
    if not projects:
        return {}
    kept = PairCount.objects.filter(project__in=projects, counted_at__gt=timezone.now() - COUNTED_LATELY)
    found = {each.project_id: Pairs(each.judged, each.waiting, each.free, each.retired) for each in kept}
    short = [project for project, pairs in found.items() if pairs.waiting < LARGE]
    for project, now in (count_pairs_of(short, only=ComparisonState.OPEN) if short else {}).items():
        found[project] = replace(found[project], waiting=now.waiting, free=now.free)
    return found


def judged_today(*, project: Project, annotator: User) -> int:
    """The person's judgements that stand, since midnight in the site's time zone. Answered by an index on the person's newest."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    found = _judged_since.first(annotator=annotator.pk, project=project.pk, midnight=midnight)
    return found[0] if found else 0


_judged_since = KeptQuery(
    lambda: (
        Judgement.objects.standing()
        .filter(annotator=Given("annotator", int), created_at__gte=Given("midnight", datetime))
        .filter(comparison__project=Given("project", int))
        .order_by()
        .values("annotator")
        .annotate(n=Count("pk"))
        .values_list("n")
    )
)


def count_pairs(project: Project) -> Pairs:
    """One query."""
    return count_pairs_of([project.pk])[project.pk]


def count_pairs_of(projects: Collection[int], *, only: ComparisonState | None = None) -> dict[int, Pairs]:
    """By the projects' ids; of one state only, if one is given. One query."""
    free = Count("pk", filter=Q(free_places__gt=0))
    pairs = Comparison.objects.filter(project__in=projects).exclude(purpose=Purpose.GOLD).order_by()
    pairs = pairs.filter(state=only) if only else pairs
    rows = pairs.values_list("project", "state").annotate(all=Count("pk"), free=free) if projects else ()
    counted = {(project, state): (number, free) for project, state, number, free in rows}

    def number(project: int, state: ComparisonState) -> int:
        return counted.get((project, state), (0, 0))[0]

    return {
        project: Pairs(
            judged=number(project, ComparisonState.DONE),
            waiting=number(project, ComparisonState.OPEN),
            free=counted.get((project, ComparisonState.OPEN), (0, 0))[1],
            retired=number(project, ComparisonState.RETIRED),
        )
        for project in projects
    }


class Progress(TypedDict):
    """A plain dictionary, so that pages, fragments and JSON show the same numbers."""

    mine_today: int  # since midnight, in the site's time zone
    mine: int
    judgements: int  # everybody's that stand
    done: int  # pairs that are judged
    open: int  # pairs that wait; there is no “of how many”, since the model goes on writing and promotion retires some
    leased: int  # pairs that are on somebody's screen, or next on it
    prompts_train: int
    prompts_heldout: int


def progress_of(*, project: Project, annotator: User | None = None) -> Progress:
    """As many queries for much as for little. Without an annotator, `mine` and `mine_today` are 0."""
    own = Judgement.objects.standing().filter(comparison__project=project, annotator=annotator)
    pairs = recent_pairs(project)
    prompts = dict(project.prompts.order_by().values_list("split").annotate(Count("pk")))
    return {
        "mine_today": judged_today(project=project, annotator=annotator) if annotator else 0,
        "mine": own.count() if annotator else 0,
        "judgements": count_judged(project).all,
        "done": pairs.judged,
        "open": pairs.waiting,
        "leased": Assignment.objects.live().filter(comparison__project=project).count(),
        "prompts_train": prompts.get(Split.TRAIN, 0),
        "prompts_heldout": prompts.get(Split.HELDOUT, 0),
    }
