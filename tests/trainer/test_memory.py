"""What is said of the memory before a run starts is what the run then takes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.dpo import memory
from training.dpo.allocator import is_glibc
from training.dpo.config import Config
from training.dpo.errors import PreflightError
from training.dpo.logprobs import ForwardPath, Precision, Scorer
from training.dpo.run import load_start
from training.dpo.tokens import Example

from .conftest import ROOT
from .test_training import Build, Train, of_kind
from .tiny import make_config, make_row, tiny_tokenizer, write_rows

CPU = torch.device("cpu")
# Prints the most memory a whole run took, without what torch and transformers take by being imported. Not getrusage's maximum: a
# child that was made with vfork begins with its parent's.
MEASURED = """
from training.dpo.allocator import begin_again_with_kept_memory
begin_again_with_kept_memory()
import json, resource, sys
import training.dpo.run as runs, training.dpo.console
from pathlib import Path
from transformers import LlamaForCausalLM
from training.dpo.config import Config
from training.dpo.events import EventLog
from training.dpo.stopping import Stopper
config = Config.from_dict(json.load(open(sys.argv[1]))).resolved()
Path(config.output).mkdir()
held = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
runs.run(config, Stopper(), EventLog(Path(config.output) / "events.jsonl"))
most = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(most.split()[1]) * 1024 - held)
"""


def make_mid_size(directory: Path) -> Path:
    """A random Llama of 23 million weights."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=4096, hidden_size=512, intermediate_size=1344, num_hidden_layers=7, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
        pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def long_row(number: int) -> dict[str, Any]:
    text = " ".join(str(place * 7919 % 9973) for place in range(50))
    return make_row(
        number,
        chosen=[{"role": "assistant", "content": text + f" {number}"}],
        rejected=[{"role": "assistant", "content": text[::-1] + f" {number}"}],
    )


@pytest.mark.parametrize("checkpointed, threads", [(False, 1), (True, 1), (False, 2)])
def test_the_estimate_is_what_the_run_takes(tmp_path: Path, checkpointed: bool, threads: int) -> None:
    """Within a fifth where nothing else runs; a quarter is allowed here, for the C library keeps what it likes."""
    settings = make_config(
        make_mid_size(tmp_path / "mid"), tmp_path, heldout=0, max_steps=2, batch_pairs=6 if checkpointed else 3,
        micro_batch_tokens=1800 if checkpointed else 900, checkpoint_activations=checkpointed, threads=threads,
    )  # fmt: skip
    write_rows(Path(settings["train"]), [long_row(number) for number in range(6)])
    (tmp_path / "config.json").write_text(json.dumps(settings))
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "config.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=True)
    assert of_kind(Path(settings["output"]), "start")[0]["lanes"] == threads
    told = of_kind(Path(settings["output"]), "start")[0]["memory_estimate_bytes"]
    measured = int(said.stdout.split()[-1])
    assert told["weights"] == told["gradients"] == told["optimizer"] / 2
    assert (told["activations"] > told["weights"]) is not checkpointed
    print(f"estimated {told['peak'] / 1e6:.0f} MB, measured {measured / 1e6:.0f} MB")
    assert (told["peak"] - told["libraries"]) / measured == pytest.approx(1.0, abs=0.25), (told, measured)


def test_it_is_in_the_start_event(config: Build, train_here: Train) -> None:
    told = of_kind(train_here(config(max_steps=1)), "start")[0]["memory_estimate_bytes"]
    assert (
        set(told) == {"peak", "libraries", "weights", "gradients", "optimizer", "activations", "head"}
        and told["peak"] > told["weights"]
    )


def test_adapters_need_less(config: Build) -> None:
    examples = [Example(1, "a", (5, 6, 7), (8, 9, 2), (10, 2), 1.0, 0.0)]

    def foreseen(**more: Any) -> memory.Memory:
        settings = Config.from_dict(config(**more))
        scorer = Scorer(load_start(settings, CPU), Precision(CPU, torch.float32), ForwardPath(packed=False, budget=100))
        return memory.foresee(settings, scorer, examples)

    whole, lora = foreseen(), foreseen(lora_rank=2)
    assert lora.gradients < whole.gradients / 3 and lora.optimizer == 2 * lora.gradients
    assert lora.weights == whole.weights + lora.gradients


def test_what_cannot_fit_is_refused_in_words(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1_000_000)
    with pytest.raises(
        PreflightError,
        match=r"even one pair at a time needs about .* and cpu has 0\.0 GB for it\. Set checkpoint_activations or lora",
    ):
        train_here(config())
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    assert of_kind(train_here(config("unknown", max_steps=1)), "done")


def test_what_is_free_is_known() -> None:
    free = memory.free_bytes(torch.device("cpu"))
    assert free is None or free > 100_000_000


GIVEN_BACK = """
from training.dpo.allocator import begin_again_with_kept_memory, give_back_above, resident_bytes
begin_again_with_kept_memory()
import torch
many = [torch.ones(1_000_000) for _ in range(100)]
last = many.pop()
del many
held = resident_bytes()
give_back_above(None)
give_back_above(held + 2**20)
kept = resident_bytes()
give_back_above(held - 2**20)
print(held - kept, held - resident_bytes())
"""
FAULTS = """
from training.dpo.allocator import begin_again_with_kept_memory
{begin}
import resource, torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(40_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([faults() for _ in range(5)][-1])  # by where the first ones lie, a second place may be needed
"""


@pytest.mark.skipif(not is_glibc(), reason="of glibc's allocator")
def test_above_a_limit_what_is_free_goes_back() -> None:
    """Of 100 blocks of 4 MB the last lives on, so they are no end of a heap that could be cut off."""
    command = [sys.executable, "-c", GIVEN_BACK]
    before, after = map(int, subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())
    assert before < 10e6 and 300e6 < after < 450e6


def test_a_run_has_a_limit_from_what_was_foreseen(config, train_here, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int | None] = []
    monkeypatch.setattr("training.dpo.loop.give_back_above", limits.append)
    monkeypatch.setattr("training.dpo.run.resident_bytes", lambda: 5_000_000)
    output = train_here(config(max_steps=2))
    foreseen = of_kind(output, "start")[0]["memory_estimate_bytes"]["peak"]
    assert limits == [round(1.2 * foreseen)] * 2 and foreseen > 5_000_000


@pytest.mark.skipif(not is_glibc(), reason="of glibc's allocator")
def test_memory_that_is_freed_is_taken_again_without_clearing_it() -> None:
    """160 MB are 39,063 pages."""

    def faults(begin: str) -> int:
        command = [sys.executable, "-c", FAULTS.format(begin=begin)]
        environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
        return int(subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout)

    assert faults("begin_again_with_kept_memory()") < 300 < faults("")
