"""What each speed feature of the trainer's forward and backward pass is worth: `python -m bench.trainer.ablation`.

Variants take turns over the same pairs, medians are compared, and the fastest is held against the floor: the time that the FLOPs
of the unique tokens would take at the matrix-multiply rate measured in the same run. On a GPU it reports peak memory and MFU too;
then `--size 0.5b` and larger make random weights of a published architecture, for speed needs no trained ones.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import LlamaForCausalLM

from training.dpo import head, kernels, layers, products
from training.dpo.allocator import begin_again_with_kept_memory
from training.dpo.casts import weights_cast_once
from training.dpo.lanes import in_turn, lanes_for, side_by_side
from training.dpo.layers import speed_up_layers
from training.dpo.logprobs import ForwardPath, Precision, Scorer
from training.dpo.model import load_model, load_tokenizer
from training.dpo.packing import packed_length
from training.dpo.recompute import all_kept, recompute_layers
from training.dpo.tokens import Example

from .__main__ import choose_pairs, import_demo_model
from .made import SIZES, config_of

H200_BF16 = 989e12  # FLOP/s, dense, from the vendor's data sheet


def main() -> None:
    options = parse()
    device = torch.device(options.device)
    precision = Precision(device, getattr(torch, options.compute))
    with tempfile.TemporaryDirectory(prefix="prefloop-bench-", dir=options.scratch) as scratch:
        model, examples = demo(options, Path(scratch)) if options.size == "demo" else made(options)
        model = model.to(device)
    recompute_layers(model)
    print(f"{len(examples)} pairs, {sum(map(packed_length, examples)) / len(examples):.0f} unique tokens and "
          f"{sum(e.tokens for e in examples) / len(examples):.0f} in two rows a pair; {options.compute} on {device}")  # fmt: skip
    variants = {name: VARIANTS[name] for name in ["packed", *options.only]}
    spent: dict[str, list[float]] = {name: [] for name in variants}
    peaks: dict[str, int] = {}
    for turn in range(options.rounds + 1):
        for name, variant in variants.items():
            with contextlib.nullcontext() if variant is layers_again else all_kept(model):
                seconds, peaks[name] = variant(model, examples, precision, options.budget)
            spent[name] += [seconds / len(examples)] if turn else []  # the first turn warms up
    report(spent, peaks, model, examples, precision)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.trainer.ablation", description=__doc__)
    parser.add_argument("--size", choices=["demo", *SIZES], default="demo")
    parser.add_argument("--model", type=Path, help="Directory of the demo's model, when it is imported already.")
    parser.add_argument("--data", choices=("hh", "alpaca"), default="hh", help="For the demo's model.")
    parser.add_argument("--lengths", type=int, nargs=3, default=[200, 150, 150], help="Prompt, chosen, rejected of random pairs.")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=int, default=2048)
    parser.add_argument("--compute", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS)[1:], help="Beside “packed”.")
    return parser.parse_args()


def demo(options: argparse.Namespace, scratch: Path) -> tuple[Any, list[Example]]:
    """The demo's model and real pairs."""
    from training.dpo.data import Triple
    from training.dpo.tokens import encode, find_ending

    directory = options.model or import_demo_model(scratch)
    tokenizer = load_tokenizer(directory)
    ending = find_ending(tokenizer)
    rows = choose_pairs(options.data, options.pairs, directory)
    texts = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows]
    triples = [Triple(n, n, tuple(row["prompt"]), *pair, 1.0, 0.0) for n, (row, pair) in enumerate(zip(rows, texts, strict=True))]
    return load_model(directory, torch.device("cpu")), [encode(tokenizer, triple, ending) for triple in triples]


def made(options: argparse.Namespace) -> tuple[Any, list[Example]]:
    """Random weights of a published shape, and random tokens whose lengths spread around those asked for."""
    config = config_of(options.size)
    torch.manual_seed(0)
    with torch.device(options.device):
        model = LlamaForCausalLM(config).eval()
    speed_up_layers(model)
    generator = torch.Generator().manual_seed(0)

    def tokens(mean: int) -> tuple[int, ...]:
        length = int(torch.randint(max(2, mean // 2), 3 * mean // 2 + 2, (1,), generator=generator))
        return tuple(torch.randint(3, config.vocab_size, (length,), generator=generator).tolist())

    return model, [Example(n, n, *map(tokens, options.lengths), 1.0, 0.0) for n in range(options.pairs)]


def pass_over(model: Any, examples: list[Example], precision: Precision, path: ForwardPath) -> tuple[float, int]:
    """Forward and backward over all pairs: seconds, and on a GPU the peak memory. On one CPU thread they are seconds of the
    processor's time, which other work on the machine does not stretch.
    """
    cuda = precision.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    scorer = Scorer(model, precision, path)
    parts = scorer.micro_batches(examples)
    clock = time.process_time if not cuda and torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    with in_turn(list(model.parameters()) if path.lanes > 1 else []) as turns, weights_cast_once():

        def work(number: int) -> None:
            with turns.of(number):
                scores_B2 = scorer.logprobs([examples[place] for place in parts[number]])
                torch.nn.functional.softplus(scores_B2[:, 1] - scores_B2[:, 0]).sum().backward()

        list(side_by_side(work, range(len(parts)), path.lanes))
    if cuda:
        torch.cuda.synchronize()
    spent = clock() - began
    model.zero_grad(set_to_none=True)
    return spent, torch.cuda.max_memory_allocated() if cuda else 0


def packed(model: Any, examples: list[Example], precision: Precision, budget: int) -> tuple[float, int]:
    lanes = lanes_for(precision.device)
    return pass_over(model, examples, precision, ForwardPath(packed=True, budget=budget, lanes=lanes))


def one_at_once(model: Any, examples: list[Example], precision: Precision, budget: int) -> tuple[float, int]:
    """Packed, with threads that share each operation in the place of a micro-batch for each."""
    return pass_over(model, examples, precision, ForwardPath(packed=True, budget=budget))


def own_layers(model: Any, examples: list[Example], precision: Precision, budget: int) -> tuple[float, int]:
    """Packed, by the layers as transformers spells them out."""
    with patch.object(layers, "SUMS_IN", ()):
        return packed(model, examples, precision, budget)


def not_compiled(model: Any, examples: list[Example], precision: Precision, budget: int) -> tuple[float, int]:
    """Packed, with torch's operations between the products."""
    with patch.object(kernels, "have", lambda compute: False):
        return packed(model, examples, precision, budget)


def without_onednn(model: Any, examples: list[Example], precision: Precision, budget: int) -> tuple[float, int]:
    """Packed, with float32 products by the library that torch takes for them."""
    with patch.object(products, "_by_onednn", lambda factor: False):
        return packed(model, examples, precision, budget)


def plain(model: Any, examples: list[Example], precision: Precision, budget: int) -> tuple[float, int]:
    return pass_over(model, examples, precision, ForwardPath(packed=False, budget=budget))


def without_sharing(model: Any, examples: list[Example], precision: Precision, budget: int) -> tuple[float, int]:
    """Packed, but the prompt once for each answer: each pair becomes two single answers."""
    alone = [Example(e.line, e.id, e.prompt, answer, (), 1.0, 0.0) for e in examples for answer in (e.chosen, e.rejected)]
    return packed(model, alone, precision, budget)


def without_tiles(model: Any, examples: list[Example], precision: Precision, budget: int) -> tuple[float, int]:
    """Packed, with the head's logits of a whole pack at once."""
    with patch.object(head, "TILE", 1 << 30):
        return packed(model, examples, precision, budget)


def layers_again(model: Any, examples: list[Example], precision: Precision, budget: int) -> tuple[float, int]:
    """Packed, with activation checkpointing: this variant alone is not run within `all_kept`."""
    return packed(model, examples, precision, budget)


def one_pair_at_once(model: Any, examples: list[Example], precision: Precision, budget: int) -> tuple[float, int]:
    return packed(model, examples, precision, 1)


VARIANTS: dict[str, Callable[..., tuple[float, int]]] = {
    "packed": packed,
    "… one micro-batch at once": one_at_once,
    "… layers as transformers has them": own_layers,
    "… nothing compiled": not_compiled,
    "… float32 products by MKL": without_onednn,
    "… without prefix sharing": without_sharing,
    "… without tiles in the head": without_tiles,
    "… one pair at a time": one_pair_at_once,
    "… layers computed again": layers_again,
    "plain padded rows": plain,
}


def flops_per_pair(model: Any, examples: list[Example]) -> float:
    """Multiply-adds counted as two, forward and twice that backward: weights × unique tokens, the head × scored tokens, and
    attention's products over the keys that are seen. Nothing is counted for making the head's logits again.
    """
    head_size = model.get_output_embeddings().weight.numel()
    body = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name and "lm_head" not in name)
    layers, width = model.config.num_hidden_layers, model.config.hidden_size
    total = 0.0
    for e in examples:
        prompt, chosen, rejected = len(e.prompt), len(e.chosen) - 1, len(e.rejected) - 1
        seen = (prompt + chosen) ** 2 / 2 + rejected * prompt + rejected**2 / 2
        total += 6 * body * packed_length(e) + 6 * head_size * (len(e.chosen) + len(e.rejected)) + 12 * layers * width * seen
    return total / len(examples)


def matrix_rate(precision: Precision) -> float:
    """FLOP/s of a large product in the arithmetic of the run."""
    size = 8192 if precision.device.type == "cuda" else 1536
    left, right = (torch.randn(size, size, device=precision.device).to(precision.compute) for _ in range(2))
    rates = []
    for _ in range(7):
        began = time.perf_counter()
        products.product(left, right)
        if precision.device.type == "cuda":
            torch.cuda.synchronize()
        rates.append(2 * size**3 / (time.perf_counter() - began))
    return statistics.median(rates)


def report(
    spent: dict[str, list[float]], peaks: dict[str, int], model: Any, examples: list[Example], precision: Precision
) -> None:
    medians = {name: statistics.median(times) for name, times in spent.items()}
    for name, seconds in medians.items():
        peak = f", peak {peaks[name] / 1e9:.1f} GB" if peaks[name] else ""
        print(f"  {name:<34} {seconds:8.4f} s/pair, × {seconds / medians['packed']:.2f}{peak}")
    needed, rate = flops_per_pair(model, examples), matrix_rate(precision)
    print(f"floor: {needed / 1e9:.0f} GFLOP a pair at the measured {rate / 1e9:.0f} GFLOP/s = {needed / rate:.4f} s/pair; "
          f"packed reaches {needed / rate / medians['packed']:.0%} of it")  # fmt: skip
    if precision.device.type == "cuda":
        tokens = sum(e.tokens for e in examples) / len(examples)
        mfu = needed / medians["packed"] / H200_BF16
        print(json.dumps({"tokens_per_s": round(tokens / medians["packed"]), "mfu_of_h200": round(mfu, 3)}))


if __name__ == "__main__":
    begin_again_with_kept_memory()  # as the trainer does
    main()
