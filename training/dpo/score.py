"""`python -m training.dpo score`: log-probabilities of a triples file, and implicit rewards beside a reference."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import torch
from tqdm import tqdm

from training.dpo.data import read_triples
from training.dpo.errors import storage_error
from training.dpo.evaluate import ordered_share
from training.dpo.logprobs import TOKENS_AT_ONCE, Precision, Scorer, choose_path
from training.dpo.losses import implicit_reward
from training.dpo.model import load_model, load_tokenizer, longest_row
from training.dpo.tokens import Example, Limits, require_pairs, tokenise

SIDES = ("chosen", "rejected")


def score_file(
    triples: Path,
    model: Path,
    reference: Path | None,
    output: Path | None,
    beta: float,
    device: str,
    limits: tuple[int, int],
    over_long: str = "error",
) -> dict[str, Any]:
    """Write one JSON line per pair to `output` (None: standard output) and return the summary. Raises TrainerError.

    In float32: what is measured must not depend on the machine's arithmetic. Pairs over the limits are refused
    by line, or left out with `over_long` "drop".
    """
    tokenizer = load_tokenizer(model)
    allowed = Limits(*limits, longest_row(model), over_long=over_long)
    tokenised = tokenise(tokenizer, read_triples(triples, unpaired=True), triples, allowed)
    require_pairs(tokenised, triples, allowed)
    where = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    policy_N2 = _scores(model, tokenised.examples, where, "model")
    reference_N2 = _scores(reference, tokenised.examples, where, "reference") if reference else None
    rows = list(_rows(tokenised.examples, policy_N2, reference_N2, beta))
    _write(rows, output)
    return summary_of(rows)


def summary_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Pairs, and what share of them the model ranks as their annotators did, with its 95 % interval (Wilson).

    By implicit reward if there is a reference, else by log-probability, which favours short answers. Where rows hold single
    answers, it is the share of couples of a desirable and an undesirable one; None when there are none of one kind.
    """
    by = "implicit reward" if "chosen_reward" in rows[0] else "log-probability"
    key = "reward" if "chosen_reward" in rows[0] else "logp"
    chosen, rejected = ([row[f"{side}_{key}"] for row in rows if row[f"{side}_{key}"] is not None] for side in SIDES)
    summary: dict[str, Any] = {"pairs": len(rows), "by": by}
    if not chosen or not rejected:
        return summary | {"accuracy": None, "low": None, "high": None, "margin": None}
    margin = sum(chosen) / len(chosen) - sum(rejected) / len(rejected)
    if len(chosen) + len(rejected) < 2 * len(rows):
        share = ordered_share(torch.tensor(chosen), torch.tensor(rejected))
        low, high = hanley(share, len(chosen), len(rejected))
    else:
        share = sum(1.0 if one > two else 0.5 if one == two else 0.0 for one, two in zip(chosen, rejected, strict=True)) / len(
            rows
        )
        low, high = wilson(share, len(rows))
    return summary | {"accuracy": share, "low": low, "high": high, "margin": margin}


def hanley(share: float, first: int, second: int) -> tuple[float, float]:
    """95 % interval of the share of couples in the right order (the area under the ROC curve), from so many answers of either
    kind: Hanley and McNeil, Radiology 143 (1982), page 29. Example: 0.8 of 20 · 30 couples → 0.668 to 0.932.
    """
    both_first, both_second = share / (2 - share), 2 * share**2 / (1 + share)
    spread = share * (1 - share) + (first - 1) * (both_first - share**2) + (second - 1) * (both_second - share**2)
    half = 1.959964 * math.sqrt(max(0.0, spread) / (first * second))
    return max(0.0, share - half), min(1.0, share + half)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share. Example: 5 of 10 → 0.237 to 0.763. The pages have annotate/quality/intervals.py for
    it, which the trainer may not import, nor they the trainer's.
    """
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def _scores(directory: Path, examples: list[Example], device: torch.device, name: str) -> torch.Tensor:
    model = load_model(directory, device)
    path, _ = choose_path(model, examples, device, TOKENS_AT_ONCE[device.type])
    with tqdm(total=len(examples), desc=name, unit="pair", file=sys.stderr, disable=None) as bar:
        scorer = Scorer(model, Precision(device, torch.float32), path)
        return scorer.score(examples, lambda done: bar.update(done - bar.n))


def _rows(
    examples: list[Example], policy_N2: torch.Tensor, reference_N2: torch.Tensor | None, beta: float
) -> Iterator[dict[str, Any]]:
    for place, example in enumerate(examples):
        row = {
            "line": example.line,
            "id": example.id,
            "chosen_tokens": len(example.chosen),
            "rejected_tokens": len(example.rejected),
        }
        there = (bool(example.chosen), bool(example.rejected))
        row |= _by_side("logp", policy_N2[place], there)
        if reference_N2 is not None:
            rewards_2 = implicit_reward(policy_N2[place], reference_N2[place], beta)
            row |= _by_side("reward", rewards_2, there) | {"margin": (rewards_2[0] - rewards_2[1]).item() if all(there) else None}
        yield row


def _by_side(what: str, values_2: torch.Tensor, there: tuple[bool, bool]) -> dict[str, float | None]:
    """Of the chosen and the rejected answer; None for one that is not there."""
    return {
        f"{side}_{what}": value if is_there else None
        for side, value, is_there in zip(SIDES, values_2.tolist(), there, strict=True)
    }


def _write(rows: list[dict[str, Any]], output: Path | None) -> None:
    def put(file: TextIO) -> None:
        file.writelines(json.dumps(row) + "\n" for row in rows)

    if output is None:
        put(sys.stdout)
        return
    try:
        with output.open("w", encoding="utf-8") as file:
            put(file)
    except OSError as error:
        raise storage_error("the scores", output, error) from error


def tell(summary: dict[str, Any]) -> None:
    if summary["accuracy"] is None:
        print(f"{_counted(summary['pairs'], 'answer')}, all of one kind: there is nothing to rank", file=sys.stderr)
        return
    print(
        f"{_counted(summary['pairs'], 'pair')}; ranked as annotated by {summary['by']}: {summary['accuracy']:.1%} "
        f"({summary['low']:.1%} to {summary['high']:.1%}); mean margin {summary['margin']:+.3f}",
        file=sys.stderr,
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else noun + 's'}"
