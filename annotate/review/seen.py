"""Who is blind to a pair no more: they manage the project, and have opened a page that says what others think of it.

A pair that somebody has seen so is not handed out to them, and what they had said of it before stands as it is.
"""

from django.db import transaction
from django.utils import timezone

from annotate.models import Assignment, Comparison, User
from annotate.models.assignment import AssignmentState
from annotate.queue.places import lock_comparison, recount_places


@transaction.atomic
def note_seen(*, comparison: Comparison, by: User) -> None:
    """From now on `by` does not judge it. A lease of theirs ends, and its place is free; a second time changes nothing."""
    if Assignment.objects.filter(comparison=comparison, annotator=by, seen_at__isnull=False).exists():
        return
    lock_comparison(comparison.pk)
    assignment = Assignment.objects.filter(comparison=comparison, annotator=by).first() or Assignment(
        comparison=comparison, annotator=by, swapped=False, grades=comparison.project.grades, expires_at=timezone.now()
    )
    assignment.seen_at = timezone.now()
    if assignment.state in (AssignmentState.LEASED, AssignmentState.EXPIRED):
        assignment.state = AssignmentState.SEEN
    assignment.save()
    recount_places([comparison.pk])
