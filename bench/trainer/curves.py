"""Two real runs with their curves: `python -m bench.trainer.curves alpaca` and `… hh`, on the demo's model, one epoch each.

Prompts are shuffled with a fixed seed and whole prompts are held out, so no instruction (dialogue's first turn, for hh) is in
both parts. Prints Markdown: held-out loss, accuracy with its 95 % interval (Wilson), margin and log-probabilities.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.dpo.allocator import begin_again_with_kept_memory

from .__main__ import import_demo_model
from .pairs import alpaca_pairs, hh_pairs, write_triples

HELD_OUT = 200
RUNS = {
    "alpaca": {"pairs": 500, "tokens": 256, "settings": {"heldout_every": 21}},
    "hh": {"pairs": 1_200, "tokens": 768, "settings": {"heldout_every": 75, "compute": "bfloat16"}},
}
STEPS_A_LINE = 25
FIGURES = ("loss", "accuracy", "margin", "chosen_reward", "rejected_reward")


def main() -> None:
    options = parse()
    begin_again_with_kept_memory()
    from training.dpo.__main__ import main as train

    with tempfile.TemporaryDirectory(prefix="prefloop-bench-", dir=options.scratch) as scratch:
        directory = Path(scratch)
        model = options.model or import_demo_model(directory)
        wanted = RUNS[options.data]
        heldout, training = split(options.data, wanted["tokens"], HELD_OUT, wanted["pairs"], model)
        settings = {
            "preset": "small", "model": str(model), "output": str(directory / "run"), "epochs": 1, "samples": 0,
            "train": str(write_triples(directory / "train.jsonl", training)),
            "heldout": str(write_triples(directory / "heldout.jsonl", heldout)),
            "max_prompt_tokens": wanted["tokens"], "max_completion_tokens": wanted["tokens"], **wanted["settings"],
        }  # fmt: skip
        (directory / "config.json").write_text(json.dumps(settings))
        if code := train([str(directory / "config.json")]):
            raise SystemExit(code)
        lines = (directory / "run" / "events.jsonl").read_text().splitlines()
        print(report([json.loads(line) for line in lines], len({prompt_of(row) for row in training})))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.trainer.curves", description=__doc__)
    parser.add_argument("data", choices=RUNS)
    parser.add_argument("--model", type=Path, help="Directory of the demo's model, when it is imported already.")
    parser.add_argument("--scratch", type=Path)
    return parser.parse_args()


def prompt_of(row: dict[str, Any]) -> str:
    return row["prompt"][0]["content"]


def split(data: str, tokens: int, heldout: int, train: int, model: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """So many rows of at most `tokens`; what is over of the last held-out prompt is in neither part."""
    by_prompt: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in hh_pairs() if data == "hh" else alpaca_pairs():
        by_prompt[prompt_of(row)].append(row)
    prompts = sorted(by_prompt)
    random.Random(0).shuffle(prompts)
    fitting = fits(model, tokens)
    parts: list[list[dict[str, Any]]] = [[], []]
    for prompt in prompts:
        part, size = (parts[0], heldout) if len(parts[0]) < heldout else (parts[1], train)
        part += [row for row in by_prompt[prompt] if fitting(row)][: size - len(part)]
        if len(parts[1]) == train:
            break
    return parts[0], parts[1]


def fits(model: Path, tokens: int) -> Callable[[dict[str, Any]], bool]:
    """Whether neither row of a pair is longer."""
    from training.dpo.data import Triple
    from training.dpo.model import load_tokenizer
    from training.dpo.tokens import encode, find_ending

    tokenizer = load_tokenizer(model)
    ending = find_ending(tokenizer)

    def fit(row: dict[str, Any]) -> bool:
        texts = (row[key][0]["content"] for key in ("chosen", "rejected"))
        return encode(tokenizer, Triple(0, row["id"], tuple(row["prompt"]), *texts, 1.0, 0.0), ending).width <= tokens

    return fit


def report(events: list[dict[str, Any]], prompts: int) -> str:
    from training.dpo.score import wilson

    steps = [event for event in events if event["event"] == "step"]
    [saved], tokens = [event for event in events if event["event"] == "saved"], [step["tokens_per_s"] for step in steps]
    lines = [f"{prompts} prompts trained, {statistics.median(tokens):.0f} tokens/s (median)", ""]
    lines += ["| held out, step | loss | accuracy (95 %, Wilson) | margin | chosen, rejected, nats |", "| --- " * 5 + "|"]
    for event in events:
        if event["event"] == "heldout":
            share, count = event["accuracy"], event["pairs"]
            low, high = wilson(share, count)
            told = f"{share:.1%} ({low:.0%} to {high:.0%})" if event["step"] else "–"
            lines.append(
                f"| {event['step']} | {event['loss']:.3f} | {told} | {event['margin']:.2f} | "
                f"{event['chosen_logp']:.1f}, {event['rejected_logp']:.1f} |"
            )
    lines += ["", "| steps | training loss (mean) | accuracy | margin | chosen, rejected reward |", "| --- " * 5 + "|"]
    for start in range(0, len(steps), STEPS_A_LINE):
        part = steps[start : start + STEPS_A_LINE]
        mean = {name: statistics.mean(step[name] for step in part) for name in FIGURES}
        lines.append(
            f"| {part[0]['step']}–{part[-1]['step']} | {mean['loss']:.3f} | {mean['accuracy']:.0%} | {mean['margin']:.2f} | "
            f"{mean['chosen_reward']:.2f}, {mean['rejected_reward']:.2f} |"
        )
    return "\n".join([*lines, "", f"signal kept: {saved['signal']['share']}, served in {saved['serve_dtype']}"])


if __name__ == "__main__":
    main()
