"""Judging: an annotator's answer becomes a row, once, whatever the network does."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from annotate.gold.known_answers import is_told
from annotate.judging.edits import read_edit
from annotate.judging.refusals import JudgementRefused
from annotate.models import Assignment, Judgement, Membership, Project, User
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import ComparisonState
from annotate.models.judgement import Outcome
from annotate.models.kept_queries import insert
from annotate.models.project import Rationale, Role
from annotate.models.scale import Grades
from annotate.queue.claims import find_assignment, lease_again, mark_judged
from annotate.queue.dissent import ask_more_if_divided
from annotate.queue.places import lock_comparison, lock_comparison_of, recount_places
from annotate.review.disputes import note_disputes
from annotate.text.typed import storable

__all__ = [
    "CHOICES",
    "JudgementRefused",
    "change_judgement",
    "changeable_until",
    "has_answered",
    "outcome_of",
    "record_judgement",
    "take_back_last",
    "take_up_skipped",
]

# What can be chosen on the screen, and what it means when the first completion stands on the left (as A).
CHOICES = {"a": Outcome.FIRST, "b": Outcome.SECOND, "tie": Outcome.TIE, "both_bad": Outcome.BOTH_BAD}
MAX_SECONDS = 24 * 3600
MAX_RATIONALE = 10_000  # characters
SEEN = "You have seen since what others think of this pair: in review, or among the gold. So your answer stands."


def outcome_of(choice: str, *, swapped: bool) -> Outcome:
    """From the screen's sides to the stored order: "a" is `second` when the sides were swapped."""
    outcome = CHOICES[choice]
    return outcome.swapped if swapped else outcome


def record_judgement(
    *,
    annotator: User,
    assignment_id: UUID,
    key: UUID,
    choice: str,
    seconds: float | None = None,
    rationale: str = "",
    strength: int | None = None,
    flags: Sequence[str] = (),
    edited_text: str = "",
) -> Judgement:
    """Records what the annotator chose on screen ("a", "b", "tie", "both_bad"), or raises JudgementRefused.

    It may be sent any number of times: the row stored first is the answer to every request with its `key`, and to
    every other key for an assignment that is already judged. An answer that comes after its lease has run out is
    kept and marked `late`: it takes its place if that is still free, else it is one more than was required.
    `strength` is one of the scale that the pair was shown with, also when the project has another by now; it may be
    left out where there is only one. With a tie or both bad it says nothing. `flags` are of the project's list.
    `edited_text`: the chosen answer as it should be; one that changes nothing is as good as none (`annotate.judging.edits`).
    """
    _check_input(key=key, choice=choice, seconds=seconds, rationale=rationale, flags=flags)
    with transaction.atomic():
        lock_comparison_of(annotator_id=annotator.pk, assignment_id=assignment_id)
        assignment = find_assignment(annotator=annotator, assignment_id=assignment_id, key=key)
        if assignment.is_answered and (stored := _find_stored(assignment=assignment, key=key)):
            return stored
        _check_offer(assignment=assignment, choice=choice, flags=flags)
        strength = _check_strength(strength, choice=choice, grades=Grades(assignment.grades))
        _check_rationale(rationale, assignment=assignment, strength=strength)
        outcome = outcome_of(choice, swapped=assignment.swapped)
        judgement = Judgement(
            key=key,
            assignment=assignment,
            comparison=assignment.comparison,
            annotator=annotator,
            outcome=outcome,
            strength=strength,
            rationale=storable(rationale),
            flags=[flag for flag in assignment.comparison.project.flags if flag in flags],
            edited_text=read_edit(edited_text, assignment=assignment, outcome=outcome),
            seconds=None if seconds is None else min(max(float(seconds), 0.0), MAX_SECONDS),
            guidelines_id=assignment.guidelines_read,
            late=assignment.state == AssignmentState.EXPIRED or assignment.expires_at <= timezone.now(),
        )
        _insert(judgement)
        mark_judged(assignment)
        recount_places([assignment.comparison_id])
        ask_more_if_divided(comparison=assignment.comparison)  # of gold, too: it changes nothing there, in the same time
        if judgement.flags or judgement.late or assignment.comparison.judgements_required > 1:  # one alone is in no dispute
            note_disputes([assignment.comparison_id])
        return judgement


def _check_input(*, key: Any, choice: Any, seconds: Any, rationale: Any, flags: Any) -> None:
    if not isinstance(key, UUID):
        raise _refused_field("invalid_key", "key", "The key is a UUID that the page makes for each answer.")
    if not isinstance(choice, str) or choice not in CHOICES:
        raise _refused_field("unknown_choice", "choice", f"Choose one of: {', '.join(CHOICES)}.")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or math.isnan(seconds)):
        raise _refused_field("invalid_seconds", "seconds", "The time on task is a number of seconds, or left out.")
    if not isinstance(rationale, str) or len(rationale) > MAX_RATIONALE:
        raise _refused_field("invalid_rationale", "rationale", f"Keep the reason under {MAX_RATIONALE:,} characters.")
    if not isinstance(flags, list | tuple) or not all(isinstance(flag, str) for flag in flags):
        raise _refused_field("unknown_flag", "flags", "Flags are a list of texts.")


def _check_strength(strength: Any, *, choice: str, grades: Grades) -> int:
    """The strength to store."""
    if CHOICES[choice] not in (Outcome.FIRST, Outcome.SECOND):
        return 0
    if strength is None and grades.strengths == 1:
        return 1
    if isinstance(strength, bool) or not isinstance(strength, int) or not 1 <= strength <= grades.strengths:
        offered = ", ".join(f"{each} ({grades.words(each)})" for each in range(1, grades.strengths + 1))
        raise _refused_field("unknown_strength", "strength", f"Say how much better it is, as this pair offers it: {offered}.")
    return strength


@transaction.atomic
def change_judgement(
    *,
    annotator: User,
    assignment_id: UUID,
    key: UUID,
    choice: str,
    strength: int | None = None,
    rationale: str = "",
    flags: Sequence[str] = (),
) -> Judgement:
    """Puts another answer in the place of the annotator's own, while the project lets them, or raises JudgementRefused.

    The old row is withdrawn and stays; the new one names it in `replaces` and keeps its time on task. Sent again with the
    same `key`, or with what stands already, nothing happens. Flags that the project has dropped since are kept.
    """
    _check_input(key=key, choice=choice, seconds=None, rationale=rationale, flags=flags)
    assignment = find_assignment(annotator=annotator, assignment_id=assignment_id)
    _check_at_work(assignment)
    lock_comparison(assignment.comparison_id)
    if stored := assignment.judgements.filter(key=key).first():
        return stored
    standing = assignment.judgements.standing().first()
    if standing is None:
        raise JudgementRefused("not_judged", "No answer of yours stands here any more: it was taken back.")
    if is_told(assignment):
        raise JudgementRefused("told", "You have been told what was expected of this pair, so your answer stands.")
    if assignment.seen_at:
        raise JudgementRefused("seen", SEEN)
    if changeable_until(assignment) <= timezone.now():
        minutes = assignment.comparison.project.changeable_minutes
        raise JudgementRefused("too_late", f"An answer can be changed for {minutes} minutes. This one stands as it is.")
    project = assignment.comparison.project
    _check_offer(assignment=assignment, choice=choice, flags=[flag for flag in flags if flag not in standing.flags])
    strength = _check_strength(strength, choice=choice, grades=Grades(assignment.grades))
    _check_rationale(rationale, assignment=assignment, strength=strength)
    outcome = outcome_of(choice, swapped=assignment.swapped)
    dropped = [flag for flag in standing.flags if flag not in project.flags]
    said = {
        "outcome": outcome,
        "strength": strength,
        "rationale": storable(rationale),
        "flags": [flag for flag in project.flags if flag in flags] + dropped,
    }
    if all(getattr(standing, name) == value for name, value in said.items()):
        return standing
    standing.withdrawn_at = timezone.now()
    standing.save(update_fields=["withdrawn_at"])
    changed = Judgement(
        key=key, assignment=assignment, comparison=assignment.comparison, annotator=annotator, replaces=standing, **said,
        edited_text=standing.edited_text if outcome == standing.outcome else "", seconds=standing.seconds, late=standing.late,
        guidelines_id=assignment.guidelines_read,
    )  # fmt: skip
    _insert(changed)
    recount_places([assignment.comparison_id])
    ask_more_if_divided(comparison=assignment.comparison)
    note_disputes([assignment.comparison_id])
    return changed


def _check_at_work(assignment: Assignment) -> None:
    project = assignment.comparison.project
    if project.memberships.filter(user=assignment.annotator_id, suspended_at__isnull=False).exists():
        raise JudgementRefused("suspended", "Your work here is suspended: what you have answered stands as it is.")


def changeable_until(assignment: Assignment) -> datetime:
    """Counted from the first answer that was given to the pair: changing it does not win more time."""
    first = assignment.judgements.order_by("created_at").values_list("created_at", flat=True).first()
    return first + timedelta(minutes=assignment.comparison.project.changeable_minutes)


@transaction.atomic
def take_up_skipped(*, annotator: User, assignment_id: UUID) -> Assignment:
    """Leases a pair that the annotator has skipped to them again, as the next to be shown; JudgementRefused if that is over."""
    assignment = find_assignment(annotator=annotator, assignment_id=assignment_id)
    _check_at_work(assignment)
    comparison = lock_comparison(assignment.comparison_id)
    assignment.refresh_from_db(fields=["state", "seen_at"])
    if assignment.state == AssignmentState.LEASED:
        return assignment
    _check_blind(assignment)
    if assignment.state != AssignmentState.SKIPPED:
        raise JudgementRefused("judged", "This pair is not among those you have skipped any more.")
    if assignment.comparison.project.is_paused or assignment.comparison.project.archived_at:
        raise JudgementRefused("paused", "Nothing is handed out here just now. It can be taken up again when work goes on.")
    if comparison.state != ComparisonState.OPEN or comparison.free_places < 1:
        raise JudgementRefused("taken", "Others have judged this pair, or have it now: there is no place left in it.")
    assignment.skipped_at, assignment.skip_reason = None, ""
    lease_again(assignment=assignment)
    recount_places([assignment.comparison_id])
    return assignment


def needs_rationale(*, project: Project, grades: Grades, strength: int) -> bool:
    """Whether an answer this strong wants a reason: of a scale of two grades, each choice of a side."""
    return project.rationale == Rationale.STRONG and strength == grades.strengths


def _check_rationale(rationale: str, *, assignment: Assignment, strength: int) -> None:
    grades = Grades(assignment.grades)
    if needs_rationale(project=assignment.comparison.project, grades=grades, strength=strength) and not rationale.strip():
        raise _refused_field("rationale_needed", "rationale", f"Say in a few words why it is {grades.words(strength)}.")


def _refused_field(code: str, field: str, message: str) -> JudgementRefused:
    return JudgementRefused(code, message, {field: [message]})


def _find_stored(*, assignment: Assignment, key: UUID) -> Judgement | None:
    """The row that already answers this request: by its key (withdrawn or not), else the assignment's standing one."""
    found = list(Judgement.objects.filter(Q(key=key) | Q(assignment=assignment, withdrawn_at=None)))
    for judgement in found:
        if judgement.key == key:
            if judgement.assignment_id != assignment.pk:
                raise _key_reused()
            return judgement
    return found[0] if found else None


def _key_reused() -> JudgementRefused:
    return _refused_field("key_reused", "key", "This key belongs to another judgement. Reload the page and answer again.")


def _check_blind(assignment: Assignment) -> None:
    if assignment.seen_at:
        message = "You have seen in review, or among the gold, what is thought of this pair, so you do not judge it any more."
        raise JudgementRefused("seen", message)


def _check_offer(*, assignment: Assignment, choice: str, flags: Sequence[str]) -> None:
    _check_blind(assignment)
    if assignment.state == AssignmentState.SKIPPED:
        raise JudgementRefused("skipped", "You have skipped this comparison. Go back to the queue for the next one.")
    project = assignment.comparison.project
    if (choice == "tie" and not project.allows_tie) or (choice == "both_bad" and not project.allows_both_bad):
        raise _refused_field("not_offered", "choice", f"This project does not offer “{CHOICES[choice].label}”. Choose a side.")
    if unknown := sorted(set(flags) - set(project.flags)):
        offered = f"Its flags are: {', '.join(project.flags)}." if project.flags else "It has no flags."
        message = f"“{unknown[0][:100]}” is not, or no longer, a flag of this project. {offered}"
        raise _refused_field("unknown_flag", "flags", message)


def _insert(judgement: Judgement) -> None:
    """The key is unique in the database: two requests that send one key for two assignments cannot both win."""
    if not insert(judgement):
        raise _key_reused()


@transaction.atomic
def take_back_last(*, project: Project, annotator: User) -> Assignment | None:
    """Takes back the annotator's latest answer, be it a judgement or a skip: leases its assignment to them again.

    Sides as before. A judgement's row stays, with `withdrawn_at`. None when there is nothing to undo, or they may no
    longer judge. Asked again, it goes one further back. Raises JudgementRefused when others have taken a skip's place.
    """
    membership = Membership.objects.select_for_update(no_key=True).filter(project=project, user=annotator).first()
    if membership is None or membership.suspended_at or not Role(membership.role).may_judge:
        return None
    judgements, skips = _own_answers(project=project, annotator=annotator)
    judgement = judgements.select_related("assignment__comparison__project").order_by("-created_at", "-pk").first()
    skipped = skips.select_related("comparison__project").order_by("-skipped_at").first()
    if skipped and (judgement is None or skipped.skipped_at > judgement.created_at):
        free_places = lock_comparison(skipped.comparison_id).free_places
        skipped.refresh_from_db(fields=["state", "seen_at"])
        _check_blind(skipped)
        if skipped.state != AssignmentState.SKIPPED:
            raise _changed_meanwhile()
        if free_places < 1:  # unlike a judgement, a skip gave its place away
            raise JudgementRefused("taken", "Somebody else has the pair you skipped: the skip cannot be taken back any more.")
        skipped.skipped_at, skipped.skip_reason = None, ""
        assignment = lease_again(assignment=skipped)
    elif judgement:
        lock_comparison(judgement.comparison_id)
        judgement.assignment.refresh_from_db(fields=["state", "seen_at"])
        if is_told(judgement.assignment):
            raise JudgementRefused("told", "You have been told what was expected of your last pair, so that answer stands.")
        if judgement.assignment.seen_at:
            raise JudgementRefused("seen", SEEN)
        if not Judgement.objects.standing().filter(pk=judgement.pk).update(withdrawn_at=timezone.now()):
            raise _changed_meanwhile()
        assignment = lease_again(assignment=judgement.assignment)
    else:
        return None
    recount_places([assignment.comparison_id])
    if judgement:
        note_disputes([assignment.comparison_id])
    return assignment


def _changed_meanwhile() -> JudgementRefused:
    """Another tab of theirs, or a manager, was quicker by a moment: what they would take back now is not what they saw."""
    return JudgementRefused("changed", "Your last answer has just been changed or withdrawn. Look at it, then undo again.")


def has_answered(*, project: Project, annotator: User) -> bool:
    """Whether there is a judgement or a skip of theirs that `take_back_last` may take back."""
    return any(answers.exists() for answers in _own_answers(project=project, annotator=annotator))


def _own_answers(*, project: Project, annotator: User) -> tuple[QuerySet[Judgement], QuerySet[Assignment]]:
    """Their judgements that stand, and what they have skipped."""
    skipped = Assignment.objects.filter(state=AssignmentState.SKIPPED, skipped_at__isnull=False)
    own = {"annotator": annotator, "comparison__project": project}
    return Judgement.objects.standing().filter(**own), skipped.filter(**own)
