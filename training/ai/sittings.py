"""Sittings: an AI annotator judges what the queue has for it, through the functions that people's pages call."""

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from annotate.judging.judgements import MAX_RATIONALE, record_judgement
from annotate.judging.refusals import JudgementRefused
from annotate.models import Assignment, Comparison, Project
from annotate.models.assignment import AssignmentState
from annotate.models.comparison import Purpose
from annotate.models.project import AiJudgements
from annotate.models.scale import Grades
from annotate.queue.claims import claim_comparison, renew_lease, skip_comparison
from annotate.queue.lanes import claimable_by
from training import tasks
from training.ai.protocol import Decision, Protocol, Reading, decide, question, read, strength_of, uncertainty_of
from training.endpoints.chat import Question
from training.endpoints.errors import EndpointError, PromptRefused
from training.generation.filling import something_goes_first
from training.generation.speaking import Ask, speaking
from training.models import AiAnnotator, AiVerdict, Endpoint, Rubric, Sitting
from training.models.ai_annotator import Choice
from training.worker import jobs
from training.worker.seeing_through import Pulse, see_through
from training.worker.stopping import Postponed

logger = logging.getLogger(__name__)

MOST_PAIRS = 50  # of one sitting: then whatever else waits for the worker has its turn
RETRY_AFTER_FAILURE = timedelta(seconds=30)  # twice as long after each further one
LONGEST_PAUSE = timedelta(minutes=10)
FAILURES_SEEN = 6


# -- what is due ---------------------------------------------------------------------------------------------


def seat_ai_annotators() -> None:
    """The tick's part: whoever is on, has work and did not fail just now gets a sitting."""
    found = AiAnnotator.objects.filter(is_on=True, project__archived_at=None)
    for annotator in found.exclude(project__ai_judgements=AiJudgements.IGNORE).select_related("project", "user", "version"):
        if sitting_is_due(annotator):
            start_sitting(annotator)


def sitting_is_due(annotator: AiAnnotator) -> bool:
    if annotator.project.is_paused:
        return False
    if annotator.sittings.unfinished().exists() or not annotator.user.memberships.filter(project=annotator.project).exists():
        return False
    if not _work_for(annotator).exists():
        return False
    failed = list(takewhile(_was_in_vain, annotator.sittings.order_by("-pk")[:FAILURES_SEEN]))
    if not failed or (annotator.endpoint and annotator.endpoint.changed_at > failed[0].created_at):
        return True
    return timezone.now() - failed[0].finished_at > min(LONGEST_PAUSE, RETRY_AFTER_FAILURE * 2 ** (len(failed) - 1))


def _work_for(annotator: AiAnnotator) -> QuerySet[Comparison]:
    """What it holds from a sitting that was cut short, and what it could be given. Known answers alone are no work: they
    come beside it."""
    held = Assignment.objects.filter(annotator=annotator.user, state=AssignmentState.LEASED)
    given = Q(pk__in=held.values("comparison"))
    free = Q(pk__in=claimable_by(project=annotator.project, annotator=annotator.user).exclude(purpose=Purpose.GOLD).values("pk"))
    return annotator.project.comparisons.filter(given | free)


def _was_in_vain(sitting: Sitting) -> bool:
    return bool(sitting.finished_at) and not (sitting.progress or sitting.skipped)


def start_sitting(annotator: AiAnnotator) -> Sitting | None:
    """A sitting, queued. None if another clock was quicker."""
    waiting = _work_for(annotator).count()
    try:
        with transaction.atomic():
            sitting = Sitting.objects.create(project=annotator.project, annotator=annotator, total=min(MOST_PAIRS, waiting))
            tasks.sit.using(queue_name="default" if isinstance(annotator.source, Endpoint) else tasks.GPU).enqueue(sitting.pk)
    except IntegrityError:
        return None
    return sitting


# -- the job -------------------------------------------------------------------------------------------------


def run_sitting(sitting_id: int, *, check: Callable[[], None] = lambda: None) -> None:
    """The task: claim the sitting and see it through. Does nothing if it is not queued."""
    see_through(
        kind=Sitting,
        pk=sitting_id,
        work=lambda sitting: judge_pairs(sitting=sitting, check=check),
        advice="It is tried again later.",
    )


def judge_pairs(*, sitting: Sitting, check: Callable[[], None] = lambda: None) -> None:
    """Until it has judged its number or nothing is left. Each judgement is stored with what it rests on, at once.

    Raises Interrupted, Postponed, LostClaim, WorkFailed, and what `check` raises.
    """
    pulse = Pulse(sitting, check)
    with speaking(sitting.annotator.source, pulse) as ask:
        while sitting.progress + sitting.skipped < sitting.total:
            project = Project.objects.get(pk=sitting.project_id)
            if project.ai_judgements == AiJudgements.IGNORE or not AiAnnotator.objects.filter(
                pk=sitting.annotator_id, is_on=True
            ):
                break
            if not (leases := _claim_two(project, sitting)):
                break
            try:
                _judge(sitting, project, leases, ask)
            except EndpointError as error:
                _pay(sitting, requests=error.requests, completion_tokens=error.completion_tokens)
                raise
            if something_goes_first():
                raise Postponed
    jobs.finish(job=sitting)


def _claim_two(project: Project, sitting: Sitting) -> list[Assignment]:
    """As the compare page does: the pair on screen and the one after it. Its leases start anew."""
    user = sitting.annotator.user
    first = claim_comparison(project=project, annotator=user)
    if first is None:
        return []
    second = claim_comparison(project=project, annotator=user, beside=first)
    leases = [first, second] if second else [first]
    for lease in leases:
        renew_lease(assignment=lease)
    wanted = Assignment.objects.select_related("comparison__prompt", "comparison__first", "comparison__second")
    return list(wanted.filter(pk__in=[lease.pk for lease in leases]).order_by("leased_at", "pk"))


# -- pairs ---------------------------------------------------------------------------------------------------


@dataclass
class _Hearing:
    """One pair, in one order."""

    lease: Assignment
    swapped: bool  # against the order in which the lease shows it
    reading: Reading | None = None
    said: str | None = None  # what could not be read
    refused: str = ""

    def question(self, protocol: Protocol) -> Question:
        comparison = self.lease.comparison
        sides = [comparison.first.text, comparison.second.text]
        if self.lease.swapped != self.swapped:
            sides.reverse()
        return question(protocol, comparison.prompt.messages, *sides, said=self.said)


def _judge(sitting: Sitting, project: Project, leases: list[Assignment], ask: Ask) -> None:
    annotator = sitting.annotator
    rubric = annotator.rubric
    endpoint = annotator.source if isinstance(annotator.source, Endpoint) else None
    protocol = Protocol(
        rubric=rubric.text,
        gives_reasons=annotator.gives_reasons,
        uses_logprobs=annotator.uses_logprobs and (endpoint is None or endpoint.offers("top_logprobs")),
        allows_tie=project.allows_tie,
        temperature=annotator.temperature,
    )
    hearings = [_Hearing(lease, swapped) for lease in leases for swapped in (False, True)]
    _hear(sitting, protocol, hearings, ask)
    _hear(sitting, protocol, [each for each in hearings if each.reading is None and not each.refused], ask)
    for place, lease in enumerate(leases):
        once, back = hearings[2 * place : 2 * place + 2]
        if once.reading and back.reading:
            decision = decide(once.reading, back.reading)
            if decision.choice != "tie" or project.allows_tie:
                _record(sitting, project, rubric, lease, once.reading, back.reading, decision)
            else:
                _skip(sitting, lease, "It prefers another answer in the other order, and this project takes no tie.")
        else:
            _skip(sitting, lease, once.refused or back.refused or _unreadable(once, back))


def _unreadable(*hearings: _Hearing) -> str:
    said = next(each.said for each in hearings if each.reading is None and each.said is not None)
    return f"Its answer could not be read, asked twice: “{' '.join(said.split())[:120]}”"


def _hear(sitting: Sitting, protocol: Protocol, hearings: list[_Hearing], ask: Ask) -> None:
    """Ask in each order. What cannot be read is left in `said`: asked again, it is told so."""
    for place, reply in ask([each.question(protocol) for each in hearings]) if hearings else ():
        each = hearings[place]
        if isinstance(reply, PromptRefused):
            each.refused = str(reply)
            continue
        _pay(sitting, requests=reply.requests, prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
        answer = reply.answers[0] if reply.answers else None
        each.reading = read(protocol, answer) if answer else None
        each.said = answer.text if answer else ""


def _pay(sitting: Sitting, *, requests: int, completion_tokens: int, prompt_tokens: int = 0) -> None:
    source = sitting.annotator.source
    tokens = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    cost = source.cost_of(**tokens) if isinstance(source, Endpoint) else 0
    spent = {"requests": requests, "cost": cost} | tokens
    jobs.heartbeat(job=sitting, **{name: F(name) + value for name, value in spent.items()})


@transaction.atomic
def _record(
    sitting: Sitting, project: Project, rubric: Rubric, lease: Assignment, once: Reading, back: Reading, decision: Decision
) -> None:  # fmt: skip
    """The judgement, what it rests on and the progress it makes, together or not at all."""
    jobs.heartbeat(  # first: after a lost claim nothing is written
        job=sitting, progress=sitting.progress + 1, divided=F("divided") + int(decision.divided)
    )
    try:
        judgement = record_judgement(
            annotator=sitting.annotator.user,
            assignment_id=lease.pk,
            key=uuid.uuid5(lease.pk, f"sitting {sitting.pk}"),
            choice=decision.choice,
            strength=strength_of(decision, strongest=Grades(lease.grades).strengths),
            rationale=_reason(once, back, decision)[:MAX_RATIONALE],
        )
    except JudgementRefused as refused:
        logger.warning("sitting %s: %s", sitting.pk, refused)
        return
    stored, other = _choice(once.choice, lease.swapped), _choice(back.choice, not lease.swapped)
    texts = [once.said, back.said]
    if lease.swapped:
        stored, other, texts = other, stored, texts[::-1]
    p_first = decision.p_a if decision.p_a is None or not lease.swapped else 1 - decision.p_a
    AiVerdict.objects.get_or_create(
        judgement=judgement,
        defaults={
            "rubric": rubric, "sitting": sitting, "shown_first": stored, "shown_second": other, "preference": p_first,
            "answers": [text.replace("\0", "") for text in texts],
        },
    )  # fmt: skip
    if project.ai_judgements == AiJudgements.PRESORT:
        presort(comparison_id=lease.comparison_id, uncertainty=uncertainty_of(decision))


def _choice(choice: str, swapped: bool) -> Choice:
    """From the sides of one showing to the stored order."""
    if choice == "tie":
        return Choice.TIE
    return Choice.FIRST if (choice == "a") != swapped else Choice.SECOND


def _reason(once: Reading, back: Reading, decision: Decision) -> str:
    if decision.divided:
        return "In one order it preferred one answer, in the other order the other."
    certain = f" ({100 * max(decision.p_a, 1 - decision.p_a):.0f} % sure)" if decision.p_a is not None else ""
    return once.reason or f"The same in both orders{certain}."


def presort(*, comparison_id: int, uncertainty: float) -> None:
    """Within those of one generation's rank: the surer the AI is, the later people get it. Ranks are whole numbers."""
    row = Comparison.objects.select_for_update(no_key=True).values_list("priority", flat=True).get(pk=comparison_id)
    Comparison.objects.filter(pk=comparison_id).update(priority=row // 1 + 0.9 * uncertainty)


@transaction.atomic
def _skip(sitting: Sitting, lease: Assignment, reason: str) -> None:
    jobs.heartbeat(job=sitting, skipped=sitting.skipped + 1)
    skip_comparison(annotator=sitting.annotator.user, assignment_id=lease.pk, reason=reason)
