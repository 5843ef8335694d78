"""From triples to token ids: the model's own chat template, prompt and completion encoded apart and joined as ids."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.dpo.data import Triple, raise_faults
from training.dpo.errors import DataError, ModelError

_MARK = "PREFLOOP-ANSWER"  # stands for an answer while the template's ending is looked up


@dataclass(frozen=True)
class Example:
    """One triple as token ids. Each completion ends with its end-of-turn token, unless it was truncated; nothing follows.

    Of an unpaired row `chosen` (a desirable answer) or `rejected` (an undesirable one) is empty.
    """

    line: int
    id: Any
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    weight: float
    margin: float
    chosen_truncated: bool = False
    rejected_truncated: bool = False
    tie: bool = False

    @property
    def width(self) -> int:
        """Tokens of the longer of the two rows."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    @property
    def tokens(self) -> int:
        """Tokens of both rows, the prompt in each: what a run's tokens per second count, whatever is shared."""
        return self.answers * len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def answers(self) -> int:
        """2 of a pair, 1 of an unpaired row."""
        return bool(self.chosen) + bool(self.rejected)


@dataclass(frozen=True)
class Ending:
    """How the template closes an assistant's turn: text that belongs to the answer, then the end-of-turn token."""

    text: str
    token: str
    token_id: int


@dataclass(frozen=True)
class Limits:
    """`max_row` is the model's own limit on prompt and completion together (None: no limit known)."""

    max_prompt: int
    max_completion: int
    max_row: int | None
    over_long: str


@dataclass(frozen=True)
class Tokenised:
    examples: list[Example]
    audit: dict[str, Any]


def find_ending(tokenizer: Any) -> Ending:
    """Read the end-of-turn token from the chat template. Raises ModelError when the template shows none."""
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer in {tokenizer.name_or_path} has no chat template. "
            "Use an instruct model, or put a chat_template.jinja beside its tokenizer.json."
        )
    dialogue = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": _MARK}]
    tail = tokenizer.apply_chat_template(dialogue, tokenize=False).rpartition(_MARK)[2]
    special = {tokenizer.convert_ids_to_tokens(i): i for i in {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}}
    places = [(tail.find(token), token) for token in special if token in tail]
    if places:
        start, token = min(places, key=lambda place: (place[0], -len(place[1])))
        return Ending(text=tail[:start], token=token, token_id=special[token])
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the chat template in {tokenizer.name_or_path} closes an answer with no special token and the tokenizer has "
            "no eos token, so a trained model would never stop. Set eos_token in tokenizer_config.json."
        )
    return Ending(text="", token=tokenizer.eos_token, token_id=tokenizer.eos_token_id)


def tokenise(tokenizer: Any, triples: Sequence[Triple], path: Path, limits: Limits) -> Tokenised:
    """Encode all triples and apply the stated policy to over-long ones.

    Raises DataError naming the lines whose prompt the template refuses, whose completions become the same
    tokens, or (policy "error") which are too long.
    """
    ending = find_ending(tokenizer)
    kept: list[Example] = []
    faults: list[str] = []
    outcomes: Counter[str] = Counter()
    for triple in triples:
        try:
            example, outcome = fit(encode(tokenizer, triple, ending), limits)
        except DataError as error:
            faults.append(f"{path.name} line {triple.line}: {error}")
            continue
        outcomes[outcome] += 1
        kept += [example] if example else []
    raise_faults(path, faults)
    return Tokenised(kept, audit_of(kept, ending, rows=len(triples), outcomes=outcomes))


def require_pairs(tokenised: Tokenised, path: Path, limits: Limits) -> None:
    """Raises DataError when every pair was dropped."""
    if not tokenised.examples:
        raise DataError(
            f"{path}: all {tokenised.audit['rows']} pairs are longer than {limits.max_prompt} prompt or "
            f"{limits.max_completion} answer tokens. Raise max_prompt_tokens or max_completion_tokens."
        )


def encode(tokenizer: Any, triple: Triple, ending: Ending) -> Example:
    """Token ids of one triple, uncut. The newline that ChatML writes after the end-of-turn token is left out."""
    try:
        text = tokenizer.apply_chat_template(list(triple.prompt), tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of the model's maker: it raises what it likes
        raise DataError(f"the model's chat template refuses the prompt ({error}). Change the row or the model.") from error
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    chosen = completion_ids(tokenizer, triple.chosen, ending, truncated=triple.chosen_truncated) if triple.chosen else ()
    rejected = completion_ids(tokenizer, triple.rejected, ending, truncated=triple.rejected_truncated) if triple.rejected else ()
    if chosen == rejected:
        raise DataError('"chosen" and "rejected" become the same tokens. Delete the row or export again.')
    return Example(
        line=triple.line,
        id=triple.id,
        prompt=tuple(prompt),
        chosen=chosen,
        rejected=rejected,
        weight=triple.weight,
        margin=triple.margin,
        chosen_truncated=triple.chosen_truncated,
        rejected_truncated=triple.rejected_truncated,
        tie=triple.tie,
    )


def completion_ids(tokenizer: Any, answer: str, ending: Ending, *, truncated: bool = False) -> tuple[int, ...]:
    """Ids of an answer and its end-of-turn token; a truncated answer has none, or the model would learn to stop
    in mid-sentence. Text that looks like a special token stays text.
    """
    text = answer if truncated else answer + ending.text
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return tuple(ids) if truncated else (*ids, ending.token_id)


def fit(example: Example, limits: Limits) -> tuple[Example | None, str]:
    """The example within the limits, or None, and what was done: "kept", "truncated" or "dropped"."""
    answer = max(len(example.chosen), len(example.rejected))
    room = min(limits.max_prompt, limits.max_row - answer if limits.max_row else limits.max_prompt)
    if answer <= limits.max_completion and len(example.prompt) <= room:
        return example, "kept"
    if limits.over_long == "error":
        raise DataError(
            f"too long: {len(example.prompt)} prompt and {answer} answer tokens, allowed are {max(room, 0)} and "
            f'{limits.max_completion}. Shorten the row, raise the limits, or set over_long to "drop".'
        )
    if limits.over_long == "truncate_prompt" and answer <= limits.max_completion and room > 0:
        cut = {**example.__dict__, "prompt": example.prompt[-room:]}
        return Example(**cut), "truncated"
    return None, "dropped"


def audit_of(examples: Sequence[Example], ending: Ending, rows: int, outcomes: Counter[str]) -> dict[str, Any]:
    """Counts and lengths for the audit event. `without_end_of_turn` lists lines and must be empty; truncated answers,
    which have none on purpose, are counted in `answers_cut`.
    """
    without = [example.line for example in examples if not _ends_as_it_should(example, ending.token_id)]
    return {
        "rows": rows,
        "pairs": len(examples),
        "ties": sum(example.tie for example in examples),
        "unpaired": sum(example.answers == 1 for example in examples),
        "dropped": outcomes["dropped"],
        "truncated": outcomes["truncated"],
        "end_of_turn": ending.token,
        "end_of_turn_id": ending.token_id,
        "without_end_of_turn": without,
        "answers_cut": sum(example.chosen_truncated + example.rejected_truncated for example in examples),
        "prompt_tokens": _spread([len(e.prompt) for e in examples]),
        "chosen_tokens": _spread([len(e.chosen) for e in examples if e.chosen]),
        "rejected_tokens": _spread([len(e.rejected) for e in examples if e.rejected]),
    }


def _ends_as_it_should(example: Example, end_of_turn: int) -> bool:
    """The end-of-turn token stands once, last, in a whole answer and nowhere in one that is truncated or not there."""
    for ids, truncated in ((example.chosen, example.chosen_truncated), (example.rejected, example.rejected_truncated)):
        places = [place for place, token in enumerate(ids) if token == end_of_turn]
        if places != ([] if truncated or not ids else [len(ids) - 1]):
            return False
    return True


def examples_sha256(examples: Sequence[Example]) -> str:
    """Hash of everything a run takes from the data: ids, weights, margins, ties, and their order."""
    rows = [(e.prompt, e.chosen, e.rejected, e.weight, e.margin, e.tie) for e in examples]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _spread(lengths: list[int]) -> dict[str, float]:
    if not lengths:
        return {"min": 0, "mean": 0.0, "max": 0, "total": 0}
    return {"min": min(lengths), "mean": round(sum(lengths) / len(lengths), 1), "max": max(lengths), "total": sum(lengths)}
