"""Two real runs with their curves: `python -m bench.trainer.curves alpaca` and `… hh`, on the demo's model, one epoch each.

Rows are shuffled with a fixed seed and whole prompts are held out: no instruction (dialogue's first turn, for hh) is in both
parts. Prints Markdown: held-out loss, accuracy with its 95 % interval (Wilson), margin and log-probabilities, and draws the same
with `--picture FILE`.
"""

import argparse
import itertools
import json
import random
import statistics
import tempfile
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
        events = [json.loads(line) for line in (directory / "run" / "events.jsonl").read_text().splitlines()]
        counts = [len({prompt_of(row) for row in part}) for part in (training, heldout)]
        print(f"{counts[0]} prompts trained, {counts[1]} held out\n\n{report(events)}")
        if options.picture:
            draw(events, options.picture)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.trainer.curves", description=__doc__)
    parser.add_argument("data", choices=RUNS)
    parser.add_argument("--model", type=Path, help="Directory of the demo's model, when it is imported already.")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--picture", type=Path)
    return parser.parse_args()


def prompt_of(row: dict[str, Any]) -> str:
    return row["prompt"][0]["content"]


def split(data: str, tokens: int, heldout: int, train: int, model: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """So many rows of at most `tokens` to hold out, the first in a shuffled order, and so many of other prompts to train on."""
    rows = list(hh_pairs() if data == "hh" else alpaca_pairs())
    random.Random(0).shuffle(rows)
    fit = fits(model, tokens)
    fitting = (row for row in rows if fit(row))
    held = list(itertools.islice(fitting, heldout))
    theirs = {prompt_of(row) for row in held}
    return held, list(itertools.islice((row for row in fitting if prompt_of(row) not in theirs), train))


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


def report(events: list[dict[str, Any]]) -> str:
    from training.dpo.score import wilson

    steps = [event for event in events if event["event"] == "step"]
    [saved], tokens = [event for event in events if event["event"] == "saved"], [step["tokens_per_s"] for step in steps]
    lines = [f"{statistics.median(tokens):.0f} tokens/s (median)", ""]
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


def draw(events: list[dict[str, Any]], path: Path) -> None:
    """Loss, accuracy, margin and what the answers' log-probabilities gain, step by step and held out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from training.dpo.score import wilson

    steps, heldout = ([event for event in events if event["event"] == kind] for kind in ("step", "heldout"))
    ink, accent, other, quiet = "#1f2430", "#4f46e5", "#d97706", "#9aa1b1"
    plt.rcParams.update({"font.size": 10, "axes.edgecolor": quiet, "axes.labelcolor": ink, "text.color": ink})
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), constrained_layout=True)
    at, held_at = [step["step"] for step in steps], [event["step"] for event in heldout]
    for axis, name, title in zip(
        axes, ("loss", "accuracy", "margin"), ("Loss", "Accuracy", "Margin of the rewards"), strict=False
    ):
        axis.plot(at, running_mean([step[name] for step in steps]), color=quiet, linewidth=1.5, label="training, running mean")
        axis.plot(held_at, [event[name] for event in heldout], color=accent, marker="o", linewidth=2, label="held out")
        axis.set_title(title, fontsize=10, loc="left")
    later = [event for event in heldout if event["step"]]
    bounds = [wilson(event["accuracy"], event["pairs"]) for event in later]
    axes[1].vlines([event["step"] for event in later], *zip(*bounds, strict=True), color=accent, alpha=0.5)
    axes[1].axhline(0.5, color=quiet, linestyle="--", linewidth=1)
    axes[1].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes[0].legend(frameon=False, fontsize=8)
    for side, color in (("chosen", accent), ("rejected", other)):
        gains = [event[f"{side}_logp"] - heldout[0][f"{side}_logp"] for event in heldout]
        axes[3].plot(held_at, gains, color=color, marker="o", linewidth=2, label=f"{side} answers")
    axes[3].set_title("Log-probability gained, nats (held out)", fontsize=10, loc="left")
    axes[3].legend(frameon=False, fontsize=8)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color=quiet, alpha=0.25)
        axis.set_xlabel("step")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def running_mean(values: list[float], over: int = 10) -> list[float]:
    return [statistics.mean(values[max(0, place - over + 1) : place + 1]) for place in range(len(values))]


if __name__ == "__main__":
    main()
