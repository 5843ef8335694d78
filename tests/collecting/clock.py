"""Letting leases run out in tests without waiting."""

from datetime import timedelta

from django.utils import timezone

from annotate.models import Assignment, Comparison, Judgement
from annotate.models.assignment import AssignmentState


def run_out(*assignments: Assignment) -> None:
    """Puts the leases' end into the past, as if their time had gone by."""
    past = timezone.now() - timedelta(seconds=1)
    Assignment.objects.filter(pk__in=[a.pk for a in assignments]).update(expires_at=past)


def assert_places_add_up() -> None:
    """The invariant, counted the slow way: free places = required − standing judgements − leases, floor 0."""
    for comparison in Comparison.objects.all():
        standing = Judgement.objects.filter(comparison=comparison, withdrawn_at=None).count()
        leased = comparison.assignments.filter(state=AssignmentState.LEASED).count()
        expected = max(0, comparison.judgements_required - standing - leased)
        assert comparison.free_places == expected, f"{standing} judgements, {leased} leases, {comparison.free_places} free"
        if comparison.state != "retired":
            assert comparison.state == ("done" if standing >= comparison.judgements_required else "open")
