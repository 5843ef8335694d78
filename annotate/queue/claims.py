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
from annotate.models import Assignment, Comparison, Completion, Handout, Judgement, Membership, Project, User
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import ComparisonState, Purpose
from annotate.models.kept_queries import Given, KeptQuery, KeptUpdate, insert
from annotate.models.project import AiJudgements, Role
from annotate.queue.lanes import Lane, draw_lanes, in_one_order, only_gold
from annotate.queue.places import lock_comparison, lock_if_free, recount_places
from annotate.text.typed import storable

MAX_LEASES = 2  # per annotator and project: the pair on screen and the next one
NONE = UUID(int=0)  # no assignment's
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
            if own := _oldest_lease.first(project=project.pk, annotator=annotator.pk, beside=beside.pk if beside else NONE):
                _lease(own, project)
                return own
            if project.is_paused:
                return None
            if lanes is None:
                lanes = _lanes_of(membership, project)
            if membership.any_lapsed and not wait:
                _release(Assignment.objects.lapsed().order_by("expires_at")[:RELEASED_PER_CLAIM])
            for lane in in_one_order(lanes) if wait else lanes:
                for comparison, purpose, had in lane.candidates(project=project, annotator=annotator, wait=wait):
                    if assignment := _take(comparison, purpose, had, project=project, annotator=annotator):
                        return assignment
    return None


def _lock_membership(*, project: Project, annotator: User) -> Membership | None:
    """None if they may not judge here. Two claims of one person (two tabs) come one after the other from here on."""
    membership = _membership.first(project=project.pk, user=annotator.pk, now=timezone.now())
    if membership is None or membership.suspended_at or project.archived_at:
        return None
    return membership if Role(membership.role).may_judge else None


def _memberships() -> QuerySet[Membership]:
    handouts = Handout.objects.filter(project=OuterRef("project"), people=OuterRef("user"), released_at=None)
    lapsed = Assignment.objects.filter(state=AssignmentState.LEASED, expires_at__lte=Given("now", datetime))
    found = Membership.objects.filter(project=Given("project", int), user=Given("user", int))
    return found.annotate(has_handouts=Exists(handouts), any_lapsed=Exists(lapsed)).select_for_update(no_key=True)


_membership = KeptQuery(_memberships)


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


_oldest_lease = KeptQuery(
    lambda: (
        Assignment.objects.filter(
            annotator=Given("annotator", int), comparison__project=Given("project", int), state=AssignmentState.LEASED
        )
        .exclude(pk=Given("beside", UUID))
        .order_by("leased_at", "id")[:1]
    )
)


def _take(comparison: int, purpose: Purpose, had: bool, *, project: Project, annotator: User) -> Assignment | None:
    # If their lease on it ran out before, the same assignment goes on, with the same sides. It is read again under
    # the lock: they may have sent their late answer at this moment.
    assignment = Assignment.objects.filter(comparison=comparison, annotator=annotator).first() if had else None
    if assignment and assignment.state != AssignmentState.EXPIRED:
        return None
    is_gold = purpose == Purpose.GOLD  # which takes no place
    place = 0 if is_gold or (annotator.is_ai and project.ai_judgements != AiJudgements.COUNT) else 1
    if not _take_place.run(comparison=comparison, purpose=purpose, place=place):  # never on the lock's word alone
        return None
    if assignment is None:
        sides = secrets.choice([True, False])
        assignment = Assignment(comparison_id=comparison, annotator=annotator, swapped=sides, grades=project.grades)
    assignment.is_gold = is_gold
    assignment.leased_at = timezone.now()
    if not _lease(assignment, project):  # they have looked at it elsewhere at this moment (`annotate.review.seen`)
        recount_places([comparison])
        return None
    return assignment


_take_place = KeptUpdate(
    lambda: (
        Comparison.objects.claimable().filter(pk=Given("comparison", int), purpose=Given("purpose", str)),
        {"free_places": F("free_places") - Given("place", int)},
    )
)


def _lease(assignment: Assignment, project: Project) -> bool:
    """False for a new one if there is one of this person and this comparison by now."""
    assignment.state = AssignmentState.LEASED
    assignment.expires_at = _lease_end(project)
    if assignment._state.adding:
        return insert(assignment)
    assignment.save()
    return True


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


def find_assignment(*, annotator: User, assignment_id: UUID, key: UUID | None = None) -> Assignment:
    """The annotator's own assignment, while they may judge. One refusal for all else: an outsider learns nothing.

    It also has `guidelines_read`, the edition of the guidelines that they have opened last, and `is_answered`: a judgement of
    it stands, or there is one with this `key`.
    """
    assignment = _own_assignment.first(annotator=annotator.pk, assignment=assignment_id, key=key)
    if assignment and assignment.role and Role(assignment.role).may_judge:
        return assignment
    raise JudgementRefused("not_yours", "This comparison was not handed out to you. Go back to the queue for the next one.")


def _own_assignments() -> QuerySet[Assignment]:
    membership = Membership.objects.filter(project=OuterRef("comparison__project"), user=OuterRef("annotator"))
    standing = Judgement.objects.standing().filter(assignment=OuterRef("pk"))
    own = Assignment.objects.filter(pk=Given("assignment", UUID), annotator=Given("annotator", int))
    return own.select_related("comparison__project").annotate(
        role=Subquery(membership.values("role")),
        guidelines_read=Subquery(membership.values("guidelines_read")),
        is_answered=Exists(standing) | Exists(Judgement.objects.filter(key=Given("key", UUID))),
    )


_own_assignment = KeptQuery(_own_assignments)


def mark_judged(assignment: Assignment) -> None:
    """The caller holds its comparison's lock and counts its places afterwards."""
    _mark.run(assignment=assignment.pk)
    assignment.state = AssignmentState.JUDGED


_mark = KeptUpdate(lambda: (Assignment.objects.filter(pk=Given("assignment", UUID)), {"state": AssignmentState.JUDGED}))


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
