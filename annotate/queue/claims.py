"""The queue: who works on which comparison, and until when.

One way to get work: `claim_comparison`. A lease holds a place of its comparison (`annotate.queue.places`); it ends in a
judgement, in a skip, or by running out, and then the place is there for somebody else.
"""

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet, Subquery
from django.utils import timezone

from annotate.gold.calibration import is_calibrating, is_stopped, update_calibration
from annotate.judging.refusals import JudgementRefused
from annotate.models import Assignment, Comparison, Completion, Handout, Membership, Project, User
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import ComparisonState, Purpose
from annotate.models.project import AiJudgements, Role
from annotate.queue.lanes import Lane, draw_lanes, in_one_order, only_gold
from annotate.queue.places import lock_comparison, lock_if_free, recount_places
from annotate.text.typed import storable

MAX_LEASES = 2  # per annotator and project: the pair on screen and the next one
RELEASED_PER_CLAIM = 50  # so that a claim costs the same however many leases have run out


def claim_comparison(*, project: Project, annotator: User, beside: Assignment | None = None) -> Assignment | None:
    """The annotator's next assignment, leased for the project's time; None when there is no work (`no_work` says why).

    A lease the annotator already holds comes first (a reload shows the same pair); only then is a comparison
    taken from the queue (`annotate.queue.lanes`), unless the project is paused. With `beside`, the pair on screen, the one to
    show after it is prefetched. Nobody but a member who may judge gets anything.
    """
    lanes: list[Lane] | None = None
    # The first try passes over comparisons that other claims hold at this moment. If it finds nothing, the second
    # waits for them: two people who ask for the last comparison at once must both be served if it has two places.
    for wait in (False, True):
        with transaction.atomic():
            membership = _lock_membership(project=project, annotator=annotator)
            if membership is None:
                return None
            if own := _own_leases(project=project, annotator=annotator, beside=beside).first():
                _lease(own, project)
                return own
            if project.is_paused:
                return None
            if lanes is None:
                lanes = _lanes_of(membership, project)
            if not wait:
                _release(Assignment.objects.lapsed().order_by("expires_at")[:RELEASED_PER_CLAIM])
            for lane in in_one_order(lanes) if wait else lanes:
                for candidates in lane.candidates(project=project, annotator=annotator):
                    if assignment := _take_first(candidates, project=project, annotator=annotator, wait=wait):
                        return assignment
    return None


def _lock_membership(*, project: Project, annotator: User) -> Membership | None:
    """None if they may not judge here. Two claims of one person (two tabs) come one after the other from here on."""
    handouts = Handout.objects.filter(project=project, people=annotator, released_at=None)
    memberships = Membership.objects.select_for_update(no_key=True).annotate(has_handouts=Exists(handouts))
    membership = memberships.filter(project=project, user=annotator).first()
    if membership is None or membership.suspended_at or project.archived_at:
        return None
    return membership if Role(membership.role).may_judge else None


def _lanes_of(membership: Membership, project: Project) -> list[Lane]:
    """None while somebody new has all their known answers on the screen, or when their calibration has stopped them."""
    if is_calibrating(project, membership):
        wanted = update_calibration(project=project, membership=membership)
        if wanted is not None:
            return only_gold() if wanted else []
    if is_stopped(project, membership):
        return []
    handouts: list[int] = []
    if membership.has_handouts:
        own = Handout.objects.filter(project=project, people=membership.user_id, released_at=None)
        handouts = list(own.order_by("number").values_list("pk", flat=True))
    return draw_lanes(project, handouts=handouts)


def _own_leases(*, project: Project, annotator: User, beside: Assignment | None = None) -> QuerySet[Assignment]:
    """Oldest first. One that has run out is still theirs as long as nobody has needed its place."""
    leases = Assignment.objects.filter(annotator=annotator, state=AssignmentState.LEASED, comparison__project=project).order_by(
        "leased_at", "id"
    )
    return leases.exclude(pk=beside.pk) if beside else leases


def _take_first(candidates: QuerySet[Comparison], *, project: Project, annotator: User, wait: bool) -> Assignment | None:
    comparison = candidates.select_for_update(no_key=True, skip_locked=not wait).first()
    if comparison is None:
        return None
    # If their lease on it ran out before, the same assignment goes on, with the same sides. It is read again under
    # the lock: they may have sent their late answer at this moment.
    assignment = Assignment.objects.filter(comparison=comparison, annotator=annotator).first()
    if assignment is None:
        assignment = Assignment(
            comparison=comparison, annotator=annotator, swapped=secrets.choice([True, False]), grades=project.grades
        )
    elif assignment.state != AssignmentState.EXPIRED:
        return None
    assignment.is_gold = comparison.purpose == Purpose.GOLD  # which takes no place
    place = 0 if annotator.is_ai and project.ai_judgements != AiJudgements.COUNT else 1
    still = Comparison.objects.claimable().filter(pk=comparison.pk, purpose=comparison.purpose)
    taken = still.exists() if assignment.is_gold else still.update(free_places=F("free_places") - place)
    if not taken:  # a place is never taken on the lock's word alone
        return None
    assignment.leased_at = timezone.now()
    _lease(assignment, project)
    return assignment


def _lease(assignment: Assignment, project: Project) -> None:
    assignment.state = AssignmentState.LEASED
    assignment.expires_at = _lease_end(project)
    assignment.save()


def _lease_end(project: Project) -> datetime:
    return timezone.now() + timedelta(minutes=project.lease_minutes)


def renew_lease(*, assignment: Assignment) -> bool:
    """Starts the lease's time again (the page is open and visible). False when it is no longer a lease: its place
    was given back; an answer is taken all the same (`annotate.judging.judgements`)."""
    end = _lease_end(assignment.comparison.project)
    renewed = Assignment.objects.filter(pk=assignment.pk, state=AssignmentState.LEASED).update(expires_at=end)
    if renewed:
        assignment.expires_at = end
    return bool(renewed)


@transaction.atomic
def lease_again(*, assignment: Assignment) -> Assignment:
    """Gives an undone assignment back to its annotator, as the first to be shown, with the sides it had.

    The caller holds the comparison's lock and counts its places afterwards. Of the leases beyond `MAX_LEASES`, the
    youngest (the prefetched ones) are released.
    """
    project = assignment.comparison.project
    others = _own_leases(project=project, annotator=assignment.annotator, beside=assignment)
    if oldest := others.first():
        assignment.leased_at = min(assignment.leased_at, oldest.leased_at - timedelta(milliseconds=1))
    _lease(assignment, project)
    _release(others.reverse()[: max(0, others.count() - (MAX_LEASES - 1))])
    return assignment


@transaction.atomic
def skip_comparison(*, annotator: User, assignment_id: UUID, reason: str = "") -> Assignment:
    """Frees the place; the comparison is never served to this annotator again. Doing it twice changes nothing."""
    assignment = find_assignment(annotator=annotator, assignment_id=assignment_id)
    lock_comparison(assignment.comparison_id)
    assignment.refresh_from_db(fields=["state", "skip_reason"])
    if assignment.state == AssignmentState.JUDGED:
        raise JudgementRefused("judged", "You have already judged this comparison. Undo the judgement first.")
    if assignment.state != AssignmentState.SKIPPED:
        assignment.state = AssignmentState.SKIPPED
        assignment.skip_reason = storable(reason)[: Assignment._meta.get_field("skip_reason").max_length]
        assignment.skipped_at = timezone.now()
        assignment.save(update_fields=["state", "skip_reason", "skipped_at"])
        recount_places([assignment.comparison_id])
    return assignment


def find_assignment(*, annotator: User, assignment_id: UUID) -> Assignment:
    """The annotator's own assignment, while they may judge. One refusal for all else: an outsider learns nothing.

    It also has `guidelines_read`, the edition of the guidelines that they have opened last.
    """
    membership = Membership.objects.filter(project=OuterRef("comparison__project"), user=annotator)
    assignment = (
        Assignment.objects.select_related("comparison__project")
        .annotate(role=Subquery(membership.values("role")), guidelines_read=Subquery(membership.values("guidelines_read")))
        .filter(pk=assignment_id, annotator=annotator)
        .first()
    )
    if assignment and assignment.role and Role(assignment.role).may_judge:
        return assignment
    raise JudgementRefused("not_yours", "This comparison was not handed out to you. Go back to the queue for the next one.")


@transaction.atomic
def release_lapsed(*, limit: int = RELEASED_PER_CLAIM) -> int:
    """Gives back the places of leases that have run out, in all projects, the longest over first. Returns how many."""
    return _release(Assignment.objects.lapsed().order_by("expires_at")[:limit])


@transaction.atomic
def release_leases(*, project: Project, annotator: User) -> int:
    """Gives back all places somebody holds in the project (they have left, or may no longer judge)."""
    return _release(_own_leases(project=project, annotator=annotator))


def _release(leases: QuerySet[Assignment]) -> int:
    """Ends those leases whose comparison nobody else has locked. One that was renewed meanwhile is left alone."""
    found = list(leases.values_list("pk", "comparison_id", "expires_at"))
    if not found:
        return 0
    locked = set(lock_if_free([comparison_id for _, comparison_id, _ in found]))
    ended = [(pk, comparison_id) for pk, comparison_id, _ in found if comparison_id in locked]
    latest = max(expires_at for _, _, expires_at in found)
    count = Assignment.objects.filter(
        pk__in=[pk for pk, _ in ended], state=AssignmentState.LEASED, expires_at__lte=latest
    ).update(state=AssignmentState.EXPIRED)
    recount_places([comparison_id for _, comparison_id in ended])
    return count


@transaction.atomic
def supersede(*, project: Project, version_id: int) -> tuple[int, int]:
    """Makes the queue that of the version that serves now. Returns how many were (retired, reopened).

    Open training comparisons of which that version wrote neither answer are retired, if nobody has judged them and
    nobody is at work on them: those that are judged in part stay open, so that no judgement is wasted. Retired
    ones of which it wrote an answer are opened again, so a rollback brings them back. Imported answers
    (without a version) are never out of date.
    """

    retired = outdated_pairs(project=project, version_id=version_id).update(state=ComparisonState.RETIRED)
    by_it = _written(version_id=version_id)
    reopened = _untouched(project).filter(by_it[0] | by_it[1], state=ComparisonState.RETIRED).update(state=ComparisonState.OPEN)
    return retired, reopened


def outdated_pairs(*, project: Project, version_id: int) -> QuerySet[Comparison]:
    """Those that `supersede` retires."""
    by_it, by_any = _written(version_id=version_id), _written(version__isnull=False)
    return _untouched(project).filter(by_any[0], by_any[1], ~by_it[0], ~by_it[1], state=ComparisonState.OPEN)


def _untouched(project: Project) -> QuerySet[Comparison]:
    """All places free = no judgement and no lease. It stands on the row itself, so that the database checks it again
    when the row was changed by a claim at the same moment."""
    return Comparison.objects.filter(project=project, purpose=Purpose.TRAIN, free_places=F("judgements_required"))


def _written(**conditions: object) -> tuple[Exists, Exists]:
    """Whether the first, and whether the second completion fulfils the conditions."""
    return tuple(Exists(Completion.objects.filter(pk=OuterRef(side), **conditions)) for side in ("first_id", "second_id"))
