"""How far the work has come: one person's, and the project's."""

from typing import TypedDict

from django.db.models import Count, Q
from django.utils import timezone

from .models import Assignment, Judgement, Project, User
from .models.comparison import ComparisonState
from .models.prompt import Split


class Progress(TypedDict):
    """A plain dictionary, so that pages, fragments and JSON show the same numbers."""

    mine_today: int  # since midnight, in the site's time zone
    mine: int
    judgements: int  # everybody's that stand
    done: int  # comparisons with all the judgements they need
    open: int  # the others; there is no “of how many”, since the model goes on writing and promotion retires some
    leased: int  # pairs that are on somebody's screen, or next on it
    prompts_train: int
    prompts_heldout: int


def progress_of(*, project: Project, annotator: User | None = None) -> Progress:
    """Four queries. Without an annotator, `mine` and `mine_today` are 0."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    mine = Q(annotator=annotator)
    judgements = (
        Judgement.objects.standing()
        .filter(comparison__project=project)
        .aggregate(all=Count("pk"), mine=Count("pk", filter=mine), today=Count("pk", filter=mine & Q(created_at__gte=midnight)))
    )
    comparisons = dict(project.comparisons.order_by().values_list("state").annotate(Count("pk")))
    prompts = dict(project.prompts.order_by().values_list("split").annotate(Count("pk")))
    return {
        "mine_today": judgements["today"],
        "mine": judgements["mine"],
        "judgements": judgements["all"],
        "done": comparisons.get(ComparisonState.DONE, 0),
        "open": comparisons.get(ComparisonState.OPEN, 0),
        "leased": Assignment.objects.live().filter(comparison__project=project).count(),
        "prompts_train": prompts.get(Split.TRAIN, 0),
        "prompts_heldout": prompts.get(Split.HELDOUT, 0),
    }
