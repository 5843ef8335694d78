"""`make bench-trainer`: seconds per pair and peak memory against TRL's DPOTrainer, on the same pairs, model, batch and precision.

Each measurement is a process of its own; the contestants take turns, and medians and ratios are of the whole. TRL comes from an
environment of its own (--trl PYTHON), which `make bench-trainer` makes.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .made import SIZES, make_model, make_pairs
from .pairs import alpaca_pairs, hh_pairs, write_triples

ROOT = Path(__file__).resolve().parents[2]
BATCH, LENGTH, RATE = 4, 768, 1e-5
OURS: dict[str, dict[str, Any]] = {
    "ours, float32": {"compute": "float32"},
    "ours, bfloat16": {"compute": "bfloat16"},
    "ours, LoRA 16, float32": {"compute": "float32", "lora_rank": 16},
    "ours, LoRA 16, bfloat16": {"compute": "bfloat16", "lora_rank": 16},
}
BEST = {"gradient_checkpointing": False, "precompute_ref_log_probs": True}
THEIRS: dict[str, dict[str, Any]] = {
    "TRL, defaults in float32": {"bf16": False},
    "TRL, best in float32": {"bf16": False, **BEST},
    "TRL, defaults (bfloat16)": {"bf16": True},
    "TRL, best in bfloat16": {"bf16": True, **BEST},
    "TRL, sorted by length, float32": {"bf16": False, **BEST, "sorted": True},
    "TRL, sorted by length, bfloat16": {"bf16": True, **BEST, "sorted": True},
    "TRL, LoRA 16, best in bfloat16": {"bf16": True, **BEST, "lora_rank": 16},
    "TRL, best with Liger": {"bf16": True, **BEST, "use_liger_kernel": True},
}


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="prefloop-bench-", dir=options.scratch) as scratch:
        directory = Path(scratch)
        if options.size:
            model, rows = make_model(options.size, directory / "model"), make_pairs(options.pairs, tuple(options.lengths))
        else:
            model = options.model or import_demo_model(directory)
            rows = choose_pairs(options.data, options.pairs, model)
        train = write_triples(directory / "train.jsonl", rows)
        measured: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
        for turn in range(options.rounds):
            for name in measured:
                here = directory / f"{turn}-{options.only.index(name)}"
                found = measure(name, here, train, model, options)
                measured[name].append(found)
                print(f"  round {turn + 1}, {name}: {found['seconds_per_pair']:.2f} s/pair", file=sys.stderr, flush=True)
                shutil.rmtree(here)
    print(table(measured))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.trainer", description=__doc__)
    parser.add_argument("--trl", type=Path, help="Python of the environment that has TRL; without it, ours alone are measured.")
    parser.add_argument("--model", type=Path, help="Model directory (default: the demo's, imported).")
    parser.add_argument(
        "--size", choices=SIZES, help="In the model's place random weights of this size, and pairs of random words."
    )
    parser.add_argument(
        "--lengths", type=int, nargs=3, default=[200, 150, 150], help="Their prompt, chosen, rejected (default: 200 150 150)."
    )
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--data", choices=("hh", "alpaca"), default="hh")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="Directory for models and runs (default: the system's temporary one).")
    parser.add_argument("--only", nargs="+", choices=[*OURS, *THEIRS], help="Contestants (default: all but Liger's).")
    options = parser.parse_args()
    everybody = [name for name in [*OURS, *THEIRS] if "Liger" not in name]  # which runs on GPUs alone
    options.only = [name for name in options.only or everybody if name in OURS or options.trl]
    return options


def import_demo_model(directory: Path) -> Path:
    from training.versions.base_models import import_model

    return Path(import_model("smollm2", directory / "models").directory)


def choose_pairs(data: str, count: int, model: Path) -> list[dict[str, Any]]:
    """The first `count` pairs of which neither row is longer than LENGTH tokens, so that nobody cuts anything."""
    from training.dpo.data import Triple
    from training.dpo.model import load_tokenizer
    from training.dpo.tokens import encode, find_ending

    tokenizer = load_tokenizer(model)
    ending = find_ending(tokenizer)
    chosen: list[dict[str, Any]] = []
    for row in hh_pairs() if data == "hh" else alpaca_pairs():
        texts = (row[key][0]["content"] for key in ("chosen", "rejected"))
        example = encode(tokenizer, Triple(0, row["id"], tuple(row["prompt"]), *texts, 1.0, 0.0), ending)
        if example.width <= LENGTH:
            chosen.append(row)
        if len(chosen) == count:
            return chosen
    raise SystemExit(f"the file has only {len(chosen)} such pairs")


def measure(name: str, directory: Path, train: Path, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    directory.mkdir()
    length = 2 * sum(options.lengths) if options.size else LENGTH  # which nothing is longer than
    settings: dict[str, Any] = {"model": str(model), "train": str(train), "batch_pairs": options.batch, "learning_rate": RATE}
    if name in OURS:
        settings |= {
            "output": str(directory / "run"), "optimizer": "adamw", "epochs": 2, "warmup_steps": 0, "max_grad_norm": 1.0,
            "max_prompt_tokens": length, "max_completion_tokens": length, "checkpoint_every": 0, "samples": 0, **OURS[name],
        }  # fmt: skip
        command = [sys.executable, "-m", "bench.trainer.ours"]
    else:
        settings |= {"max_length": length, "trl": THEIRS[name]}
        command = [str(options.trl), str(ROOT / "bench" / "trainer" / "theirs.py")]
    file = directory / "settings.json"
    file.write_text(json.dumps(settings))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([*command, str(file)], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def table(measured: dict[str, list[dict[str, Any]]]) -> str:
    def median(name: str, figure: str) -> float:
        return statistics.median(each[figure] for each in measured[name])

    first = next(iter(measured))
    lines = [f"| | s/pair, median of {len(measured[first])} | × {first} | peak memory | first losses |", "| --- " * 5 + "|"]
    for name, runs in measured.items():
        seconds, peak = median(name, "seconds_per_pair"), median(name, "peak_bytes")
        ratio = seconds / median(first, "seconds_per_pair")
        losses = ", ".join(f"{loss:.4f}" for loss in runs[0]["losses"][:3])
        lines.append(f"| {name} | {seconds:.2f} | {ratio:.2f} | {peak / 1e9:.1f} GB | {losses} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
