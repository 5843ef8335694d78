"""Calibration: somebody new is given known answers first, and how many of them were right decides how they go on.

What became of it is written into the membership, under its lock, by the claim that finds it over. What counts is what is gold
now: an answer that was taken back, or whose pair is gold no more, is asked for again with another pair. Whom a calibration has
stopped is counted anew at each claim, so a known answer that turns out wrong, once it is mended, lets them go on.
"""

from django.db.models import QuerySet

from annotate.gold.known_answers import count_right
from annotate.models import Assignment, Judgement, Membership, Project
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import Purpose
from annotate.models.project import Calibration, Role
from annotate.queue.lanes import claimable_by


def is_calibrating(project: Project, membership: Membership) -> bool:
    """Whether what becomes of it is still open. Only annotators are asked."""
    is_open = not membership.calibration or is_stopped(project, membership)
    return bool(project.calibration_size) and membership.role == Role.ANNOTATOR and is_open


def is_stopped(project: Project, membership: Membership) -> bool:
    return bool(project.calibration_size) and project.calibration_stops and membership.calibration == Calibration.FAILED


def update_calibration(*, project: Project, membership: Membership) -> int | None:
    """How many known answers they are still to be handed (0: those that are on their screen come first); None when it is over.

    The caller holds the membership's lock. Who has judged for training before is not new. Where there is less gold than is
    asked for, all that there is will do.
    """
    judged = Judgement.objects.filter(annotator=membership.user_id, comparison__project=project)
    held = _gold_of(membership).filter(state=AssignmentState.LEASED).count()
    if not membership.calibration and judged.for_training().exists():
        return _close(membership, Calibration.NOT_NEEDED)
    share = count_right(project=project, annotator=membership.user, first=project.calibration_size)
    answered = share.of
    if answered < project.calibration_size:
        left = claimable_by(project=project, annotator=membership.user).filter(purpose=Purpose.GOLD)
        wanted = project.calibration_size - answered - held
        if held or (wanted > 0 and left.exists()):
            return max(0, wanted)
        if not answered:
            return None  # there is no gold to be had; it may come
    passed = (share.value or 0.0) >= project.calibration_bar
    return _close(membership, Calibration.PASSED if passed else Calibration.FAILED)


def _gold_of(membership: Membership) -> QuerySet[Assignment]:
    """What they were handed as gold and is gold now."""
    own = Assignment.objects.filter(annotator=membership.user_id, comparison__project=membership.project_id, is_gold=True)
    return own.filter(comparison__purpose=Purpose.GOLD)


def _close(membership: Membership, state: Calibration) -> None:
    if membership.calibration != state:
        membership.calibration = state
        membership.save(update_fields=["calibration"])


def excuse(*, membership: Membership) -> None:
    """A manager lets them work, whatever their calibration says."""
    membership.calibration = Calibration.EXCUSED
    membership.save(update_fields=["calibration"])


def place_in_calibration(assignment: Assignment, membership: Membership) -> tuple[int, int] | None:
    """(4, 10): this pair is the fourth of ten. None outside of a calibration."""
    project = membership.project
    if not (assignment.is_gold and is_calibrating(project, membership)):
        return None
    theirs = _gold_of(membership)
    before = theirs.filter(leased_at__lt=assignment.leased_at, state__in=[AssignmentState.JUDGED, AssignmentState.LEASED])
    skipped = theirs.filter(state=AssignmentState.SKIPPED).count()
    there_is = project.comparisons.filter(purpose=Purpose.GOLD).count() - skipped
    number = before.count() + 1
    return number, max(number, min(project.calibration_size, there_is))
