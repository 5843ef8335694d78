"""Scoring stored pairs against the trainer's own forward pass over them: `python -m bench.trainer.scoring --pairs 1000`.

Both in one process, in turns; processor time on a CPU, so that other work on the machine counts little. The trainer's pass is
that of a step: log-probabilities that gradients could flow back from, in micro-batches, and the margin of which the loss is made.
Scoring is what `training.dpo score` and a version's page do for each of two models, without reading files and loading weights.
The aim is a ratio of 1 or less.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from training.dpo.logprobs import ForwardPath, Precision, Scorer
from training.dpo.tokens import Example

from .ablation import SIZES
from .scaling import Case, model_of


def main() -> None:
    options = parse()
    precision = Precision(torch.device(options.device), torch.float32)
    scorer = Scorer(model_of(options.size, None, precision.device), precision, ForwardPath(packed=True, budget=options.budget))
    examples = Case("", pairs=options.pairs, lengths=tuple(options.lengths)).examples()
    variants: dict[str, Callable[[], torch.Tensor]] = {
        "trainer, forward": lambda: forward_of_training(scorer, examples),
        "scoring": lambda: scorer.score(examples),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    found = {}
    for turn in range(options.rounds + 1):
        for name, run in variants.items():
            began = _clock(precision.device)
            found[name] = run()
            seconds[name] += [_clock(precision.device) - began] if turn else []  # the first turn warms up
    trainer, scoring = (statistics.median(seconds[name]) for name in variants)
    apart = (found["trainer, forward"] - found["scoring"]).abs().max().item()
    print(f"{options.pairs} pairs of {'+'.join(map(str, options.lengths))} tokens, {options.size}, medians of {options.rounds}")
    print("\n| | s | ms a pair | × the trainer's |\n| --- | --- | --- | --- |")
    for name, each in (("trainer, forward", trainer), ("scoring", scoring)):
        print(f"| {name} | {each:.2f} | {1000 * each / options.pairs:.1f} | {each / trainer:.2f} |")
    print(f"\nlog-probabilities apart by at most {apart:.1e} nats")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.trainer.scoring", description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--lengths", type=int, nargs=3, default=[128, 64, 64], help="Tokens: prompt, chosen, rejected.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=2048, help="Tokens in memory at once.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def forward_of_training(scorer: Scorer, examples: Sequence[Example]) -> torch.Tensor:
    """(N, 2), with what a backward pass would need kept for each micro-batch until the next."""
    scores_N2 = torch.zeros(len(examples), 2)
    for places in scorer.micro_batches(examples):
        logprobs_B2 = scorer.logprobs([examples[place] for place in places])
        (logprobs_B2[:, 1] - logprobs_B2[:, 0]).sum()  # the margin that a loss is made of
        scores_N2[places] = logprobs_B2.detach().float().cpu()
    return scores_N2


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


if __name__ == "__main__":
    main()
