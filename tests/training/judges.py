"""Judging without a browser: through the functions that the pages call."""

import uuid
from collections.abc import Callable

from annotate.judging.judgements import record_judgement
from annotate.models import Project, User
from annotate.queue.claims import claim_comparison


def judge_all(project: Project, annotator: User, choose: Callable[[str, str], str]) -> int:
    """Judge everything the queue has, with the choice ("a", "b", "tie", "both_bad") that `choose(a, b)` makes."""
    count = 0
    while assignment := claim_comparison(project=project, annotator=annotator):
        first, second = assignment.comparison.first.text, assignment.comparison.second.text
        a, b = (second, first) if assignment.swapped else (first, second)
        record_judgement(annotator=annotator, assignment_id=assignment.pk, key=uuid.uuid4(), choice=choose(a, b))
        count += 1
    return count


def shorter(a: str, b: str) -> str:
    return "a" if len(a) < len(b) else "b"
