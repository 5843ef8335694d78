"""What has been judged, as it was judged: every comparison with its standing judgements, ties and both bad included.

Triples (`annotate.consensus.triples`) are what the trainer needs; this is what an export needs that must not lose an answer.
"""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Coalesce

from annotate.consensus.exclusions import excluded_people
from annotate.consensus.triples import EVERYTHING, Chosen
from annotate.models import Judgement, Project
from annotate.models.judgement import Outcome

READ_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """One standing judgement, without the name of who gave it."""

    key: str
    annotator: str  # a pseudonym of hexadecimal digits
    outcome: Outcome
    strength: int
    swapped: bool  # the second completion stood on the left
    created_at: datetime
    grades: int = 2  # the scale it was given on
    seconds: float | None = None
    late: bool = False
    rationale: str = ""
    flags: list[str] = field(default_factory=list)
    edited_text: str = ""


@dataclass(frozen=True, slots=True)
class JudgedComparison:
    id: int
    prompt: list[dict[str, str]]
    first: str
    second: str
    first_model: str
    second_model: str
    split: str
    purpose: str
    source: str
    answers: tuple[Answer, ...]


def pseudonym(project: Project, who: int | str) -> str:
    """The same person is the same in each export of the project, and another one in other projects."""
    key = f"{project.pk}:{who}".encode()
    return hmac.new(settings.SECRET_KEY.encode(), key, sha256).hexdigest()[:12]


JUDGEMENT = {
    "key": "key",
    "annotator": "annotator_id",
    "is_ai": "annotator__is_ai",
    "outcome": "outcome",
    "strength": "strength",
    "swapped": "assignment__swapped",
    "created_at": "created_at",
    "grades": "assignment__grades",
    "seconds": "seconds",
    "late": "late",
    "rationale": "rationale",
    "flags": "flags",
    "edited_text": "edited_text",
}
COMPARISON = {
    "id": "comparison_id",
    "prompt": "comparison__prompt__messages",
    "first": "comparison__first__text",
    "second": "comparison__second__text",
    "first_model": "first_model",
    "second_model": "second_model",
    "split": "comparison__prompt__split",
    "purpose": "comparison__purpose",
    "source": "comparison__source",
}


def read_judged(*, project: Project, split: str = "", chosen: Chosen = EVERYTHING, least: int = 1) -> Iterator[JudgedComparison]:
    """Every comparison of which a judgement stands, in order; one streamed query. Without the people who are excluded.

    Of these, the judgements that are `chosen`; with a `least` strength above 1, no ties and no both bad, which have none.
    """
    judgements = Judgement.objects.standing().filter(chosen.pairs, chosen.votes, comparison__project=project)
    judgements = judgements.exclude(annotator__in=excluded_people(project))
    if least > 1:
        judgements = judgements.filter(strength__gte=least)
    if split:
        judgements = judgements.filter(comparison__prompt__split=split)
    rows = (
        judgements.annotate(
            first_model=Coalesce(F("comparison__first__version__name"), F("comparison__first__model_name")),
            second_model=Coalesce(F("comparison__second__version__name"), F("comparison__second__model_name")),
        )
        .order_by("comparison_id", "pk")
        .values_list(*JUDGEMENT.values(), *COMPARISON.values())
        .iterator(chunk_size=READ_AT_ONCE)
    )
    pseudonyms: dict[int, str] = {}
    for _, group in groupby(rows, key=itemgetter(len(JUDGEMENT))):
        same = list(group)
        answers = tuple(_answer(dict(zip(JUDGEMENT, row, strict=False)), project, pseudonyms) for row in same)
        yield JudgedComparison(**dict(zip(COMPARISON, same[0][len(JUDGEMENT) :], strict=True)), answers=answers)


def _answer(row: dict[str, Any], project: Project, pseudonyms: dict[int, str]) -> Answer:
    who, is_ai = row["annotator"], row.pop("is_ai")
    if who not in pseudonyms:
        pseudonyms[who] = ("ai-" if is_ai else "") + pseudonym(project, who)
    return Answer(**row | {"key": str(row["key"]), "annotator": pseudonyms[who], "outcome": Outcome(row["outcome"])})
