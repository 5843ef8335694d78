"""Whose judgements count: those of people, and those of AI annotators where the project wants that."""

from django.db.models import Q

from .project import AiJudgements


def by_voters() -> Q:
    """A condition on judgements or assignments. What does not count takes no place of its comparison either."""
    return Q(annotator__is_ai=False) | Q(comparison__project__ai_judgements=AiJudgements.COUNT)
