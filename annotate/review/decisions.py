"""Review: what a manager does about a comparison in dispute.

Each of these writes one `Decision`, so that who decided what, when and why stays in the record. A settlement wins over the
judgements in the consensus (`annotate.consensus.triples`) and frees the comparison's places; judgements it contradicts stay
as they are and leave the triples. All of them hold the comparison's lock.
"""

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from annotate.judging.offer import outcome_in_words
from annotate.models import Comparison, Decision, Dispute, Judgement, Project, User
from annotate.models.comparison import Purpose
from annotate.models.judgement import Outcome
from annotate.models.review import DecisionKind
from annotate.models.scale import Grades
from annotate.queue.places import lock_comparison, recount_places
from annotate.review.disputes import note_disputes
from annotate.text.typed import storable

MAX_WHY = 2000  # characters
MOST_MORE = 10  # judgements asked for at once
MOST_REQUIRED = 50


class ReviewRefused(Exception):
    """The decision cannot be taken; the text says why and what to do. `decided`: what somebody else decided before."""

    def __init__(self, message: str, decided: Decision | None = None) -> None:
        super().__init__(message)
        self.decided = decided


def reviewable(project: Project) -> QuerySet[Comparison]:
    """The comparisons that a manager may decide on: training ones that somebody has judged."""
    return project.comparisons.filter(Exists(Judgement.objects.filter(comparison=OuterRef("pk"))), purpose=Purpose.TRAIN)


@transaction.atomic
def settle_comparison(
    *, comparison_id: int, by: User, outcome: Outcome, strength: int, grades: Grades, why: str, seen: int = 0
) -> Decision:
    """Settles it: this outcome wins over whatever has been judged, until somebody takes the settlement back.

    `strength` is one of the scale `grades`, 0 for a tie or both bad. `seen` is the newest decision that stood on the page
    that was decided from: one that came since, from somebody else, is not overridden unseen. Raises ReviewRefused.
    """
    outcome, why = Outcome(outcome), _reason(why)
    if not why:
        raise ReviewRefused("Say why: it stays in the record.")
    if outcome in (Outcome.TIE, Outcome.BOTH_BAD):
        strength = 0
    elif not 1 <= strength <= grades.strengths:
        raise ReviewRefused(f"Say how much better it is: 1 to {grades.strengths}.")
    lock_comparison(comparison_id)
    standing = standing_settlement(comparison_id)
    if standing and standing.by_id == by.pk and (standing.outcome, standing.strength) == (outcome, strength):
        return standing  # sent twice
    _check_unseen(comparison_id, by=by, seen=seen)
    if standing:
        raise ReviewRefused(f"It is settled already. {in_words(standing)} Take that back first.", standing)
    decision = Decision.objects.create(
        comparison_id=comparison_id, by=by, kind=DecisionKind.SETTLED, outcome=outcome, strength=strength, grades=grades, why=why
    )
    recount_places([comparison_id])
    _set_handled(comparison_id)
    return decision


@transaction.atomic
def ask_for_more(*, comparison_id: int, by: User, more: int, why: str = "", seen: int = 0) -> Decision:
    """Opens the comparison for `more` judgements beyond those it has. It leaves the queue of disputes until they are there."""
    if not 1 <= more <= MOST_MORE:
        raise ReviewRefused(f"Ask for 1 to {MOST_MORE} more judgements at once.")
    comparison = lock_comparison(comparison_id)
    _check_unseen(comparison_id, by=by, seen=seen)
    if standing := standing_settlement(comparison_id):
        raise ReviewRefused(f"It is settled. {in_words(standing)} Take that back first.", standing)
    required = Judgement.objects.standing().for_training().filter(comparison=comparison_id).count() + more
    if required > MOST_REQUIRED:
        raise ReviewRefused(f"A comparison takes {MOST_REQUIRED} judgements at most. Settle it instead.")
    comparison.judgements_required = max(required, comparison.judgements_required)
    comparison.save(update_fields=["judgements_required"])
    recount_places([comparison_id])
    _set_handled(comparison_id)
    return Decision.objects.create(comparison_id=comparison_id, by=by, kind=DecisionKind.ASKED_MORE, more=more, why=_reason(why))


@transaction.atomic
def leave_as_it_is(*, comparison_id: int, by: User, why: str = "", seen: int = 0) -> Decision:
    """Takes it out of the queue of disputes; nothing else changes. A judgement that comes later may bring it back."""
    lock_comparison(comparison_id)
    _check_unseen(comparison_id, by=by, seen=seen)
    _set_handled(comparison_id)
    return Decision.objects.create(comparison_id=comparison_id, by=by, kind=DecisionKind.LEFT, why=_reason(why))


@transaction.atomic
def withdraw_judgement(*, judgement: Judgement, by: User, why: str) -> Decision:
    """The judgement counts no more, and its place is free for somebody else. Its annotator does not get the pair again."""
    why = _reason(why)
    if not why:
        raise ReviewRefused("Say why the judgement is withdrawn.")
    lock_comparison(judgement.comparison_id)
    if not Judgement.objects.standing().filter(pk=judgement.pk).update(withdrawn_at=timezone.now()):
        earlier = judgement.decisions.standing().select_related("by").first()
        raise ReviewRefused("It has been withdrawn already." + (f" {in_words(earlier)}" if earlier else ""), earlier)
    decision = Decision.objects.create(
        comparison_id=judgement.comparison_id, by=by, kind=DecisionKind.WITHDREW, judgement=judgement, why=why
    )
    recount_places([judgement.comparison_id])
    note_disputes([judgement.comparison_id])
    return decision


@transaction.atomic
def take_back_decision(*, decision: Decision, by: User) -> Decision:
    """Undoes a settlement, a withdrawal or a “left as it is”; the row stays and says who took it back and when."""
    lock_comparison(decision.comparison_id)
    decision = Decision.objects.select_related("by", "taken_back_by", "judgement").get(pk=decision.pk)
    if decision.taken_back_at:
        raise ReviewRefused(f"{decision.taken_back_by.get_full_name()} has taken it back already.", decision)
    if decision.kind == DecisionKind.ASKED_MORE:
        raise ReviewRefused("Judgements that were asked for may be under way. Settle the comparison instead.")
    if decision.kind == DecisionKind.WITHDREW:
        if Judgement.objects.standing().filter(assignment=decision.judgement.assignment_id).exists():
            raise ReviewRefused("Its annotator has judged the comparison again since: that answer stands.")
        Judgement.objects.filter(pk=decision.judgement_id).update(withdrawn_at=None)
    decision.taken_back_at, decision.taken_back_by = timezone.now(), by
    decision.save(update_fields=["taken_back_at", "taken_back_by"])
    recount_places([decision.comparison_id])
    note_disputes([decision.comparison_id])
    if decision.kind != DecisionKind.WITHDREW:
        Dispute.objects.filter(pk=decision.comparison_id).update(handled_at=None)
    return decision


def standing_settlement(comparison_id: int) -> Decision | None:
    return Decision.objects.settlements().filter(comparison=comparison_id).select_related("by").first()


def in_words(decision: Decision) -> str:
    """Who decided what, in a sentence: "Marek settled it: B slightly better (“because”)."."""
    what = {
        DecisionKind.SETTLED: "settled it",
        DecisionKind.ASKED_MORE: f"sent it for {decision.more} more",
        DecisionKind.WITHDREW: "withdrew a judgement",
        DecisionKind.LEFT: "left it as it is",
    }[DecisionKind(decision.kind)]
    if decision.kind == DecisionKind.SETTLED:
        what += f": {outcome_in_words(Outcome(decision.outcome), decision.strength, Grades(decision.grades))}"
    why = f" (“{decision.why[:200]}”)" if decision.why else ""
    return f"{decision.by.get_full_name()} {what}{why}."


def _check_unseen(comparison_id: int, *, by: User, seen: int) -> None:
    """Refuses when somebody else has decided since the page was made."""
    others = Decision.objects.standing().filter(comparison=comparison_id, pk__gt=seen).exclude(by=by)
    if newer := others.select_related("by").order_by("-pk").first():
        raise ReviewRefused(f"Somebody was quicker. {in_words(newer)} Look again before you decide.", newer)


def _set_handled(comparison_id: int) -> None:
    Dispute.objects.filter(pk=comparison_id).update(handled_at=timezone.now())


def _reason(why: str) -> str:
    why = storable(why).strip()
    if len(why) > MAX_WHY:
        raise ReviewRefused(f"Keep the reason under {MAX_WHY:,} characters.")
    return why
