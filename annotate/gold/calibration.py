"""Calibration: somebody new is given known answers first, and how many of them were right decides how they go on.

What became of it is written into the membership once, under its lock, by the claim that finds it over.
"""

from annotate.gold.known_answers import count_right
from annotate.models import Assignment, Judgement, Membership, Project
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import Purpose
from annotate.models.project import Calibration, Role
from annotate.queue.lanes import claimable_by


def is_calibrating(project: Project, membership: Membership) -> bool:
    """Whether what became of it is still open. Only annotators are asked."""
    return bool(project.calibration_size) and membership.role == Role.ANNOTATOR and not membership.calibration


def is_stopped(project: Project, membership: Membership) -> bool:
    return bool(project.calibration_size) and project.calibration_stops and membership.calibration == Calibration.FAILED


def update_calibration(*, project: Project, membership: Membership) -> int | None:
    """How many known answers they are still to be handed (0: those that are on their screen come first); None when it is over.

    The caller holds the membership's lock. Who has judged for training before is not new. Where there is less gold than is
    asked for, all that there is will do.
    """
    of_theirs = Assignment.objects.filter(annotator=membership.user_id, comparison__project=project)
    judged = Judgement.objects.filter(annotator=membership.user_id, comparison__project=project)
    states = list(of_theirs.filter(is_gold=True).values_list("state", flat=True))
    answered, held = states.count(AssignmentState.JUDGED), states.count(AssignmentState.LEASED)
    if judged.for_training().exists():
        return _close(membership, Calibration.NOT_NEEDED)
    if answered < project.calibration_size:
        left = claimable_by(project=project, annotator=membership.user).filter(purpose=Purpose.GOLD)
        wanted = project.calibration_size - answered - held
        if held or (wanted > 0 and left.exists()):
            return max(0, wanted)
        if not answered:
            return None  # there is no gold to be had; it may come
    share = count_right(project=project, annotator=membership.user, first=project.calibration_size)
    passed = (share.value or 0.0) >= project.calibration_bar
    return _close(membership, Calibration.PASSED if passed else Calibration.FAILED)


def _close(membership: Membership, state: Calibration) -> None:
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
    theirs = Assignment.objects.filter(annotator=membership.user_id, comparison__project=project, is_gold=True)
    before = theirs.filter(leased_at__lt=assignment.leased_at, state__in=[AssignmentState.JUDGED, AssignmentState.LEASED])
    skipped = theirs.filter(state=AssignmentState.SKIPPED).count()
    there_is = project.comparisons.filter(purpose=Purpose.GOLD).count() - skipped
    number = before.count() + 1
    return number, max(number, min(project.calibration_size, there_is))
