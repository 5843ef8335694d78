"""Leases in tests: letting them run out without waiting, and counting the places that they and the judgements take."""

from datetime import timedelta

from django.db.models import Count, F, Q
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
        standing = Judgement.objects.filter(comparison=comparison, withdrawn_at=None, assignment__is_gold=False).count()
        leased = comparison.assignments.filter(state=AssignmentState.LEASED, is_gold=False).count()
        if comparison.purpose == "gold":  # open to everybody, once each
            assert (comparison.free_places, comparison.state) == (comparison.judgements_required, "open")
            continue
        expected = max(0, comparison.judgements_required - standing - leased)
        assert comparison.free_places == expected, f"{standing} judgements, {leased} leases, {comparison.free_places} free"
        if comparison.state != "retired":
            assert comparison.state == ("done" if standing >= comparison.judgements_required else "open")


def overbooked() -> int:
    """Comparisons with more live leases and standing judgements than they require: one query, one moment."""
    live = Q(assignments__state="leased", assignments__is_gold=False, assignments__expires_at__gt=timezone.now())
    standing = Q(judgements__isnull=False, judgements__withdrawn_at=None, judgements__assignment__is_gold=False)
    counted = Comparison.objects.annotate(
        leases=Count("assignments", filter=live, distinct=True), answers=Count("judgements", filter=standing, distinct=True)
    )
    return counted.filter(judgements_required__lt=F("leases") + F("answers")).count()
