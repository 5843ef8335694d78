"""How the trainer's forward and backward pass grows: `python -m bench.trainer.scaling`, one command, on a CPU or a GPU.

Seconds and memory against the number of pairs, their length, the prompt's share of it, and the vocabulary, with a random Llama.
All cases of a series take turns in one process; medians are compared, and ratios are against the first of the series. Memory is
what is kept for the backward pass of the largest micro-batch; on a GPU also the peak, weights included.
"""

import argparse
import gc
import statistics
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import LlamaForCausalLM

from training.dpo.layers import speed_up_layers
from training.dpo.logprobs import ForwardPath, Precision, Scorer
from training.dpo.memory import kept_bytes
from training.dpo.packing import packed_length
from training.dpo.tokens import Example

from .ablation import packed, plain
from .made import SIZES, config_of

# Prompt, chosen and rejected tokens of every pair; each series changes one thing of this.
LENGTHS, PAIRS = (128, 64, 64), 8


@dataclass(frozen=True)
class Case:
    name: str
    pairs: int = PAIRS
    lengths: tuple[int, int, int] = LENGTHS
    vocabulary: int | None = None  # None: the model's own

    def examples(self) -> list[Example]:
        generator = torch.Generator().manual_seed(0)

        def tokens(length: int) -> tuple[int, ...]:
            return tuple(torch.randint(3, 500, (length,), generator=generator).tolist())

        return [Example(number, number, *map(tokens, self.lengths), 1.0, 0.0) for number in range(self.pairs)]


SERIES = {
    "pairs (128 + 64 + 64 tokens each)": [Case(f"{pairs} pairs", pairs=pairs) for pairs in (4, 8, 16, 32)],
    "length (half of it prompt)": [
        Case(f"{2 * answer} tokens a row", lengths=(answer, answer, answer)) for answer in (32, 64, 128, 256, 512)
    ],
    "the prompt's share of a row of 256 tokens": [
        Case(f"{prompt / 256:.0%} prompt", lengths=(prompt, 256 - prompt, 256 - prompt)) for prompt in (16, 64, 128, 192, 240)
    ],
    "vocabulary": [Case(f"{size:,} words", vocabulary=size) for size in (4_096, 16_384, 65_536, 131_072)],
}


def main() -> None:
    options = parse()
    precision = Precision(torch.device(options.device), getattr(torch, options.compute))
    for title, cases in SERIES.items():
        print(f"\n### {title}\n\n{table(measure(cases, precision, options), options.device == 'cuda')}", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.trainer.scaling", description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=2048, help="Tokens in memory at once.")
    parser.add_argument("--compute", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def measure(cases: list[Case], precision: Precision, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Of each case: seconds a pair packed and in plain rows, bytes kept, and the peak on a GPU."""
    models = {size: model_of(options.size, size, precision.device) for size in {case.vocabulary for case in cases}}
    rows = [{"case": case, "examples": case.examples(), "packed": [], "plain": []} for case in cases]
    for turn in range(options.rounds + 1):
        for row in rows:
            model = models[row["case"].vocabulary]
            for name, variant in (("packed", packed), ("plain", plain)):
                seconds, peak = variant(model, row["examples"], precision, options.budget)
                row[name] += [seconds / len(row["examples"])] if turn else []  # the first turn warms up
                row[f"{name} peak"] = peak
    for row in rows:
        scorer = Scorer(models[row["case"].vocabulary], precision, ForwardPath(packed=True, budget=options.budget))
        largest = max(scorer.micro_batches(row["examples"]), key=len)
        row["kept"] = kept_bytes(scorer, [row["examples"][place] for place in largest])
    del models
    gc.collect()
    return rows


def model_of(size: str, vocabulary: int | None, device: torch.device) -> Any:
    config = config_of(size, vocabulary)
    torch.manual_seed(0)
    with device:
        model = LlamaForCausalLM(config).eval()
    speed_up_layers(model)
    return model


def table(rows: list[dict[str, Any]], on_gpu: bool) -> str:
    median = partial(map, lambda times: statistics.median(times))
    first = None
    lines = [
        "| | unique tokens a pair | ms a pair | × first | ms per 1,000 unique tokens | plain rows | kept, MB"
        + (" | peak, GB, packed and plain |" if on_gpu else " |")
    ]
    lines.append("| --- " * (lines[0].count("|") - 1) + "|")
    for row in rows:
        seconds, rows_of_two = median((row["packed"], row["plain"]))
        first = first or seconds
        unique = sum(map(packed_length, row["examples"])) / len(row["examples"])
        cells = [
            row["case"].name, f"{unique:.0f}", f"{1000 * seconds:.1f}", f"{seconds / first:.2f}", f"{1e6 * seconds / unique:.0f}",
            f"× {rows_of_two / seconds:.2f}", f"{row['kept'] / 1e6:.0f}",
        ]  # fmt: skip
        cells += [f"{row['packed peak'] / 1e9:.1f} and {row['plain peak'] / 1e9:.1f}"] if on_gpu else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
