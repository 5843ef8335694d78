"""UltraFeedback, binarised: both sides hold the whole dialogue, with a score each.

    {"prompt": "Q", "prompt_id": "…", "chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
     "rejected": […], "messages": […], "score_chosen": 2.0, "score_rejected": 0.0}

The strength is the difference of the scores; the same score on both sides is a tie. Ours are written as the strength and 0.
"""

from collections.abc import Iterator
from typing import Any

from annotate.consensus.triples import Triple

from ..models.judgement import Outcome
from ..models.prompt import content_hash
from .rows import PreferenceRow, check_number, kept, need, split_dialogues

LOOKS_FOR = "chosen and rejected as lists of messages, with score_chosen and score_rejected or prompt_id"


def rows_of(triple: Triple) -> Iterator[dict[str, Any]]:
    chosen = [*triple.prompt, {"role": "assistant", "content": triple.chosen}]
    yield {
        "prompt": triple.prompt[-1]["content"],
        "prompt_id": content_hash(triple.prompt),
        "chosen": chosen,
        "rejected": [*triple.prompt, {"role": "assistant", "content": triple.rejected}],
        "messages": chosen,
        "score_chosen": float(triple.strength),
        "score_rejected": 0.0,
    }


def recognises(row: dict[str, Any]) -> bool:
    scored = "score_chosen" in row or "prompt_id" in row
    return scored and isinstance(row.get("chosen"), list) and isinstance(row.get("rejected"), list)


def parse(line: int, row: dict[str, Any]) -> Iterator[PreferenceRow]:
    prompt, chosen, rejected = split_dialogues(*need(row, "chosen", "rejected"), ("chosen", "rejected"))
    outcome, strength = Outcome.FIRST, 1.0
    if row.get("score_chosen") is not None and row.get("score_rejected") is not None:
        scores = [check_number(row[name], name) for name in ("score_chosen", "score_rejected")]
        strength = abs(scores[0] - scores[1])
        outcome = Outcome.FIRST if scores[0] > scores[1] else Outcome.SECOND if scores[0] < scores[1] else Outcome.TIE
    yield PreferenceRow(line, prompt, chosen, rejected, outcome, strength, kept(row, id="prompt_id"))
