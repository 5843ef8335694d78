"""Ours: everything that is known of each judgement, one row each. Annotators are pseudonyms; `left` is what stood left."""

from collections.abc import Iterator
from typing import Any

from annotate.consensus.judged import JudgedComparison

from ..models.judgement import Outcome
from .rows import PreferenceRow, Unreadable, check_answer, check_number, check_prompt, kept, need

LOOKS_FOR = "prompt, first, second and outcome"


def rows_of(comparison: JudgedComparison) -> Iterator[dict[str, Any]]:
    for answer in comparison.answers:
        yield {
            "judgement": answer.key,
            "comparison": comparison.id,
            "purpose": comparison.purpose,
            "split": comparison.split,
            "source": comparison.source,
            "prompt": comparison.prompt,
            "first": comparison.first,
            "second": comparison.second,
            "first_model": comparison.first_model,
            "second_model": comparison.second_model,
            "outcome": answer.outcome.value,
            "strength": answer.strength,
            "grades": answer.grades,
            "annotator": answer.annotator,
            "created_at": answer.created_at.isoformat(),
            "seconds": answer.seconds,
            "left": "second" if answer.swapped else "first",
            "late": answer.late,
            "rationale": answer.rationale,
            "flags": answer.flags,
            "edited_text": answer.edited_text,
        }


def recognises(row: dict[str, Any]) -> bool:
    return {"first", "second", "outcome"} <= row.keys()


def parse(line: int, row: dict[str, Any]) -> Iterator[PreferenceRow]:
    prompt, first, second, given = need(row, "prompt", "first", "second", "outcome")
    if given not in Outcome.values:
        raise Unreadable("outcome is none of those known.", f"It is one of: {', '.join(Outcome.values)}.")
    outcome = Outcome(given)
    strength = check_number(row.get("strength"), "strength") if outcome in (Outcome.FIRST, Outcome.SECOND) else 0
    same = ("annotator", "seconds", "rationale", "flags", "edited_text", "left", "grades")
    meta = kept(row, id="judgement", model_a="first_model", model_b="second_model", **{name: name for name in same})
    first, second = check_answer(first, "first"), check_answer(second, "second")
    yield PreferenceRow(line, check_prompt(prompt), first, second, outcome, strength, meta)
