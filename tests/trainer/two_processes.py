"""What test_distributed.py starts with torchrun: several runs one after the other, in one start of two processes.

`python -m torch.distributed.run … two_processes.py JOBS.json`: a list of {"settings", "fault", "name"}. Each process writes
how each of its runs ended to outcome-RANK.json beside JOBS.json. `--fatal CONFIG.json`: one run as from the command line,
whose second process runs out of memory at the first start and fails at the next.
"""

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from safetensors.torch import save_file

from training.dpo import attention, attention_cpu, distributed, loop
from training.dpo.__main__ import main as trainer_main
from training.dpo.config import Config
from training.dpo.errors import TrainerError
from training.dpo.events import EventLog
from training.dpo.logprobs import Scorer
from training.dpo.packing import packed_length
from training.dpo.run import run
from training.dpo.stopping import Stopper

RANK = int(os.environ["RANK"])


def keep_gradients(update: Callable = loop.update) -> None:
    """From now on the gradients of each run's first step are written to OUTPUT/gradients.safetensors."""

    def kept(run: Any, rate: float, examples: Any, step: int) -> float:
        if step == 0:
            named = {name: parameter.grad for name, parameter in run.model.named_parameters() if parameter.requires_grad}
            if gradients := distributed.gathered(named):
                save_file(gradients, Path(run.config.output) / "gradients.safetensors")
        return update(run, rate, examples, step)

    loop.update = kept


def nan_in_the_second_process(real: Callable = Scorer.logprobs) -> Callable[[], None]:
    calls = []

    def poisoned(scorer: Scorer, examples: Any) -> torch.Tensor:
        calls.extend([1] if torch.is_grad_enabled() else [])
        return real(scorer, examples) * (math.nan if RANK and torch.is_grad_enabled() and len(calls) == 5 else 1.0)

    Scorer.logprobs = poisoned
    return lambda: setattr(Scorer, "logprobs", real)


def signal_in_the_second_process(real: Callable = Stopper.check) -> Callable[[], None]:
    def check(stopper: Stopper, step: int) -> None:
        stopper.reason = "SIGTERM" if RANK and step == 3 else None
        real(stopper, step)

    Stopper.check = check
    return lambda: setattr(Stopper, "check", real)


def a_model_that_cannot_pack() -> Callable[[], None]:
    def refuse(*given: Any, **asked: Any) -> None:
        raise attention.CannotPack("not this one")

    real = attention_cpu.PackAttention.forward
    attention_cpu.PackAttention.forward = staticmethod(refuse)
    return lambda: setattr(attention_cpu.PackAttention, "forward", staticmethod(real))


def error_in_the_second_process(real: Callable = Scorer.logprobs) -> None:
    calls = []

    def fail(scorer: Scorer, examples: Any) -> torch.Tensor:
        calls.extend([1] if torch.is_grad_enabled() else [])
        if RANK and len(calls) == 3:
            raise RuntimeError("the second GPU fell off the bus")
        return real(scorer, examples)

    Scorer.logprobs = fail


def little_memory_in_the_second_process(real: Callable = Scorer.logprobs) -> None:
    def cramped(scorer: Scorer, examples: Any) -> torch.Tensor:
        several = len({id(example) for example in examples}) > 1  # not what measures the memory of one pair
        if RANK and torch.is_grad_enabled() and several and sum(packed_length(example) for example in examples) > 60:
            raise torch.OutOfMemoryError("no")
        return real(scorer, examples)

    Scorer.logprobs = cramped


FAULTS = {each.__name__: each for each in (nan_in_the_second_process, signal_in_the_second_process, a_model_that_cannot_pack)}


def run_jobs(path: Path) -> None:
    outcomes = {}
    keep_gradients()
    with distributed.joined("cpu", on_failure=print):
        for job in json.loads(path.read_text()):
            mend = FAULTS[job["fault"]]() if job["fault"] else lambda: None
            outcomes[job["name"]] = outcome_of(Config.from_dict(job["settings"]).resolved())
            mend()
    path.with_name(f"outcome-{RANK}.json").write_text(json.dumps(outcomes))


def outcome_of(config: Config) -> dict[str, Any]:
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    stopper = Stopper()
    stopper.agree = distributed.agree
    try:
        run(config, stopper, EventLog(output / "events.jsonl", silent=RANK > 0))
    except TrainerError as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"error": None}


if __name__ == "__main__":
    if sys.argv[1] == "--fatal":
        again = os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
        (error_in_the_second_process if again else little_memory_in_the_second_process)()
        sys.exit(trainer_main(["train", sys.argv[2]]))
    run_jobs(Path(sys.argv[1]))
