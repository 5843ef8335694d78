"""Judgements as rows, made without the queue."""

import uuid
from typing import Any

from django.utils import timezone

from annotate.models import Assignment, Comparison, Judgement, User
from annotate.queue.places import recount_places
from annotate.review.disputes import note_disputes


def judge(
    comparison: Comparison, person: User, outcome: str, *, swapped: bool = False, grades: int = 2, **fields: Any
) -> Judgement:
    """A judgement that stands, in stored order, with places and disputes brought up to date."""
    assignment = Assignment.objects.create(
        comparison=comparison, annotator=person, swapped=swapped, grades=grades, state="judged", expires_at=timezone.now()
    )
    given = fields.pop("strength", 1)
    strength = given if outcome in ("first", "second") else 0
    judgement = Judgement.objects.create(
        key=uuid.uuid4(),
        assignment=assignment,
        comparison=comparison,
        annotator=person,
        outcome=outcome,
        strength=strength,
        **fields,
    )
    recount_places([comparison.pk])
    note_disputes([comparison.pk])
    comparison.refresh_from_db()
    return judgement
