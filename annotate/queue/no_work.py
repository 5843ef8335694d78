"""Why the queue has nothing for somebody, in words, and what will change that."""

import math
from datetime import datetime

from django.db.models import Exists, OuterRef
from django.utils import timezone

from annotate.gold.calibration import is_stopped
from annotate.models import Assignment, Membership, Project, User
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import Purpose
from annotate.models.project import Role
from annotate.queue.lanes import claimable_by


def explain_no_work(*, project: Project, annotator: User) -> str:
    """In words, why `claim_comparison` has nothing for this person, and what will change that."""
    if project.memberships.filter(user=annotator, suspended_at__isnull=False).exists():
        return "Your work here is suspended, so you get no pairs. Your answers so far are kept. Ask a manager of the project."
    if project.archived_at:
        return "This project is archived: nothing is handed out any more. What was judged is kept."
    if project.is_paused:
        reason = f": “{project.pause_reason}”" if project.pause_reason else ""
        stop = "" if project.pause_reason.endswith((".", "!", "?", "…")) else "."
        return f"The work is paused{reason}{stop} It goes on as soon as a manager says so."
    membership = Membership.objects.filter(project=project, user=annotator).first()
    if membership and is_stopped(project, membership):
        return (
            "You have answered the calibration pairs; too few of the answers were what this project is looking for. Nothing "
            "more is handed out to you until a manager has looked at it. Ask them, and read the guidelines meanwhile."
        )
    comparisons = project.comparisons.exclude(purpose=Purpose.GOLD)  # which nobody may be told of, and which is never used up
    if not comparisons.exists():
        if not project.prompts.exists():
            return "This project has no prompts yet. Answers can be compared as soon as somebody imports some."
        return f"No answers have been generated yet. {_what_brings_more(project=project, annotator=annotator)}"
    if not comparisons.open().exists():
        return f"Every open comparison has been judged. {_what_brings_more(project=project, annotator=annotator)}"
    if claimable_by(project=project, annotator=annotator).exclude(purpose=Purpose.GOLD).exists():
        return "There is a comparison for you again. Reload the page."
    theirs = Assignment.objects.filter(comparison=OuterRef("pk"), annotator=annotator).exclude(state=AssignmentState.EXPIRED)
    open_ones = comparisons.open().filter(~Exists(theirs))
    reserved = open_ones.filter(handout__isnull=False).exclude(handout__people=annotator)
    left = open_ones.exclude(pk__in=reserved.values("pk"))
    count = left.count()
    if not count and reserved.exists():
        return "What is left has been given to other annotators by name. You get it if a manager releases it; new ones will come."
    if not count:
        return "You have answered every open comparison. What is left needs the judgement of others; new ones will come."
    first_end = (
        Assignment.objects.filter(comparison__in=left, state=AssignmentState.LEASED)
        .order_by("expires_at").values_list("expires_at", flat=True).first()
    )  # fmt: skip
    what = "The last open comparison is" if count == 1 else f"The last {count} open comparisons are"
    more = " New ones are on their way." if project.generations.unfinished().exists() else ""
    return (
        f"{what} with other annotators. One comes back to you if it is left unanswered, {_in_minutes(first_end)} at the "
        f"earliest.{more}"
    )


def _what_brings_more(*, project: Project, annotator: User) -> str:
    """A model writes the answers; where none serves, waiting is in vain."""
    if project.promotions.exists():
        return "New ones appear here as soon as the model has written them."
    membership = Membership.objects.filter(project=project, user=annotator).first()
    if membership and Role(membership.role).may_manage:
        add = f".venv/bin/python manage.py add_model smollm2 --project {project.slug} --serve"
        return f"No model serves this project yet, so nothing is written. Add one: {add}"
    return "No model serves this project yet, so nothing is written. Ask your manager to add one."


def _in_minutes(moment: datetime | None) -> str:
    minutes = max(1, math.ceil((moment - timezone.now()).total_seconds() / 60)) if moment else 1
    return "in a minute" if minutes == 1 else f"in {minutes} minutes"
