"""AlpacaEval's annotations: two models' answers to one instruction, and which of them its judge preferred.

    {"instruction": "Q", "output_1": "A", "output_2": "B", "generator_1": "…", "generator_2": "…", "preference": 2,
     "annotator": "…"}

`preference` is 1 or 2; 1.5, or 0 in older files, is a tie. A weighted judge gives a number in between: the nearer answer won.
"""

from collections.abc import Iterator
from typing import Any

from ..models.judgement import Outcome
from .rows import PreferenceRow, Unreadable, check_answer, check_number, check_prompt, kept, need

LOOKS_FOR = "instruction, output_1, output_2 and preference"


def recognises(row: dict[str, Any]) -> bool:
    return "output_1" in row and "output_2" in row


def parse(line: int, row: dict[str, Any]) -> Iterator[PreferenceRow]:
    instruction, a, b, given = need(row, "instruction", "output_1", "output_2", "preference")
    preference = check_number(given, "preference") or 1.5
    if not 1 <= preference <= 2:
        raise Unreadable("preference is not between 1 and 2.", "1 is the first answer, 2 the second, 1.5 a tie.")
    outcome = Outcome.TIE if preference == 1.5 else Outcome.FIRST if preference < 1.5 else Outcome.SECOND
    meta = kept(row, model_a="generator_1", model_b="generator_2", annotator="annotator")
    strength = 0 if outcome is Outcome.TIE else 1
    yield PreferenceRow(
        line,
        check_prompt(instruction, "instruction"),
        check_answer(a, "output_1"),
        check_answer(b, "output_2"),
        outcome,
        strength,
        meta,
    )
