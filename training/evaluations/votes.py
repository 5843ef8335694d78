"""Which judgements say how good answers are: of evaluations, of the leaderboard, of what a version should prefer."""

from django.db.models import QuerySet

from annotate.consensus.exclusions import excluded_people
from annotate.models import Judgement, Project


def votes(project: Project) -> QuerySet[Judgement]:
    """Those that stand, of people (or AI annotators) whose judgements count and whom no manager has excluded; not of gold."""
    found = Judgement.objects.voting().for_training().filter(comparison__project=project)
    return found.exclude(annotator__in=excluded_people(project))
