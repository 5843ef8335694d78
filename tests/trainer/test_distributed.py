"""Two real processes on the CPU (gloo) train as one does. One start serves most tests: importing torch takes longest."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from training.dpo import distributed, loop
from training.dpo.errors import ConfigError, Stopped
from training.dpo.packing import fill_packs, spread_packs
from training.dpo.stopping import Stopper

from .conftest import ROOT, read_events, train
from .test_training import Settings, of_kind, same, weights
from .tiny import make_config, make_tiny_model

SCRIPT = Path(__file__).with_name("two_processes.py")
FIGURES = ("loss", "accuracy", "margin", "chosen_logp", "rejected_logp", "chosen_reward", "grad_norm", "learning_rate")


def torchrun(*words: str, restarts: int = 0) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", str(restarts), str(SCRIPT), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end_of(process: subprocess.Popen) -> tuple[int, str]:
    try:
        said, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, said


def untied(directory: Path) -> Path:
    """The tiny model with a head of its own."""
    make_tiny_model(directory)
    model = AutoModelForCausalLM.from_pretrained(directory)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().flip(0).clone())
    model.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> dict[str, dict[str, Any]]:
    """Settings by name, and what is broken on purpose in the two processes."""
    home = tmp_path_factory.mktemp("distributed")
    other, bare = make_tiny_model(home / "other", seed=1), untied(home / "untied")

    def job(name: str, fault: str | None = None, model: Path = tiny_model_dir, **settings: Any) -> dict[str, Any]:
        one, two = (make_config(model, home / name / number, **settings) for number in ("one", "two"))
        return {"name": name, "fault": fault, "one": one, "settings": two}

    listed = [
        job("tied", max_grad_norm=1.0, epochs=1.5, samples=3, sample_tokens=8),
        job("untied", model=bare, optimizer="rmsprop", micro_batch_tokens=40, batch_pairs=5, max_steps=3),
        job("idle", micro_batch_tokens=1000, batch_pairs=1, max_steps=2, heldout=1),
        job("reference", reference=str(other), max_steps=1, sft_epochs=None),
        job("sft", sft_epochs=0.5, max_steps=1, heldout=0),
        job("plain", fault="a_model_that_cannot_pack", max_steps=2),
        job("kto", loss="kto", beta=0.5, max_steps=3),
        job("bfloat16", compute="bfloat16", max_steps=2),
        job("nan", fault="nan_in_the_second_process"),
        job("signal", fault="signal_in_the_second_process"),
        job("resumed"),
        job("done", max_steps=1),
        job("lora", lora_rank=2, learning_rate=5e-3, max_steps=4, samples=1, sample_tokens=2),
        job("dora", lora_rank=2, learning_rate=5e-3, dora=True, max_steps=2, checkpoint_activations=True),
        job("lora resumed", lora_rank=2, learning_rate=5e-3, max_steps=4),
        job("recomputed", checkpoint_activations=True, max_steps=2),
    ]
    return {each["name"]: each for each in listed}


@pytest.fixture(scope="module")
def outcomes(jobs: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """How each run ended, as the first and the second process saw it."""
    stop_at_step(jobs["resumed"]["settings"], 3)
    stop_at_step(jobs["lora resumed"]["settings"], 2)
    train(jobs["done"]["settings"])
    path = tmp_path_factory.mktemp("outcomes") / "jobs.json"
    path.write_text(json.dumps(list(jobs.values())))
    code, said = end_of(torchrun(str(path)))
    assert code == 0, said
    return [json.loads(path.with_name(f"outcome-{rank}.json").read_text()) for rank in (0, 1)]


def stop_at_step(settings: Settings, stop_at: int) -> None:
    """A run in this process that stops there."""
    real = Stopper.check

    def check(stopper: Stopper, step: int) -> None:
        stopper.reason = "SIGTERM" if step == stop_at else None
        real(stopper, step)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Stopper, "check", check)
        train(settings)


def in_one(job: dict[str, Any]) -> Path:
    """The same run in this process, with the first step's gradients kept."""
    real = loop.update

    def update(run: loop.Run, rate: float, examples: Any, step: int) -> float:
        if step == 0:
            named = run.model.named_parameters()
            gradients.update({name: parameter.grad.clone() for name, parameter in named if parameter.requires_grad})
        return real(run, rate, examples, step)

    gradients: dict[str, torch.Tensor] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "update", update)
        output = train(job["one"])
    job["gradients"] = gradients
    return output


def assert_close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], tolerance: float) -> None:
    assert first.keys() == second.keys()
    worst = {name: (first[name] - second[name]).abs().max().item() for name in first}
    assert max(worst.values()) <= tolerance, worst


@pytest.mark.parametrize(
    "name", ["tied", "untied", "idle", "reference", "sft", "plain", "kto", "bfloat16", "lora", "dora", "recomputed"]
)
def test_two_processes_train_as_one(name: str, jobs: dict[str, Any], outcomes: list[dict[str, Any]]) -> None:
    """Losses, gradients, norms (clipped in "tied"), evaluation and final weights; processes without a pack in "idle"."""
    job = jobs[name]
    assert outcomes[0][name] == outcomes[1][name] == {"error": None}
    one, two = in_one(job), Path(job["settings"]["output"])
    rough = 1e-2 if name == "bfloat16" else 2e-5
    assert [event["event"] for event in read_events(two)] == [event["event"] for event in read_events(one)]
    for ours, theirs in zip(of_kind(two, "step"), of_kind(one, "step"), strict=True):
        assert [ours[key] for key in FIGURES] == pytest.approx([theirs[key] for key in FIGURES], rel=10 * rough, abs=rough)
    for ours, theirs in zip(of_kind(two, "samples"), of_kind(one, "samples"), strict=True):
        assert ours["samples"] == theirs["samples"]
    for ours, theirs in zip(of_kind(two, "heldout"), of_kind(one, "heldout"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=rough)
    if name not in ("sft", "bfloat16"):  # of SFT the gradients are its own run's
        scale = max(gradient.abs().max().item() for gradient in job["gradients"].values())
        assert_close(load_file(two / "gradients.safetensors"), job["gradients"], 1e-5 * scale)
        assert_close(weights(two), weights(one), 1e-5)
    assert {path.name for path in (two / "model").iterdir()} == {path.name for path in (one / "model").iterdir()}


def test_plain_rows_were_told(jobs: dict[str, Any], outcomes: list[dict[str, Any]]) -> None:
    output = Path(jobs["plain"]["settings"]["output"])
    assert "does not take packed rows (not this one)" in of_kind(output, "start")[0]["path_reason"]


def test_nan_in_one_process_is_refused_by_all(jobs: dict[str, Any], outcomes: list[dict[str, Any]]) -> None:
    assert outcomes[0]["nan"] == outcomes[1]["nan"] and outcomes[0]["nan"]["error"] == "NonFiniteError"
    assert "rows: 'row-" in outcomes[0]["nan"]["message"]
    output = Path(jobs["nan"]["settings"]["output"])
    assert read_events(output)[-1]["message"] == outcomes[0]["nan"]["message"]
    assert len(list((output / "checkpoint").iterdir())) == 1 and not (output / "model").exists()


def test_a_signal_to_one_stops_all_and_one_process_goes_on(jobs: dict[str, Any], outcomes: list[dict[str, Any]]) -> None:
    assert outcomes[0]["signal"] == outcomes[1]["signal"] and outcomes[0]["signal"]["error"] == "Stopped"
    settings = jobs["signal"]["settings"]
    stopped = read_events(Path(settings["output"]))[-1]
    assert (stopped["event"], stopped["step"], stopped["reason"]) == ("stopped", 3, "SIGTERM")
    assert [path.name for path in (Path(settings["output"]) / "checkpoint").iterdir()] == ["step-00000003"]
    assert_close(weights(train(settings)), weights(train(jobs["signal"]["one"])), 1e-5)


@pytest.mark.parametrize(("name", "step"), [("resumed", 3), ("lora resumed", 2)])
def test_two_processes_go_on_where_one_stopped(
    name: str, step: int, jobs: dict[str, Any], outcomes: list[dict[str, Any]]
) -> None:
    output = Path(jobs[name]["settings"]["output"])
    assert outcomes[0][name] == {"error": None}
    assert [event["step"] for event in of_kind(output, "resumed")] == [step]
    assert_close(weights(output), weights(train(jobs[name]["one"])), 1e-5)


def test_adapters_of_two_processes_are_saved_as_those_of_one(jobs: dict[str, Any], outcomes: list[dict[str, Any]]) -> None:
    one, two = train(jobs["lora"]["one"]), Path(jobs["lora"]["settings"]["output"])
    adapters = [load_file(output / "model" / "adapter" / "adapter_model.safetensors") for output in (two, one)]
    assert_close(*adapters, 1e-5)
    changed = load_file(Path(jobs["lora"]["settings"]["model"]) / "model.safetensors")
    assert not same(weights(two), changed) and of_kind(two, "step")[0]["loss"] == pytest.approx(0.6931, abs=1e-3)


def test_a_complete_run_is_left_alone(jobs: dict[str, Any], outcomes: list[dict[str, Any]]) -> None:
    assert outcomes[0]["done"] == outcomes[1]["done"] == {"error": None}
    assert same(weights(Path(jobs["done"]["settings"]["output"])), weights(train(jobs["done"]["one"])))


def test_out_of_memory_starts_all_again_with_less_and_an_error_ends_all(tiny_model_dir: Path, tmp_path: Path) -> None:
    """The first start ends because the second process has no memory; torchrun starts again; then the second one fails for good.

    One process goes on from there, and the result is that of a run with enough memory.
    """
    one, two = (make_config(tiny_model_dir, tmp_path / n, micro_batch_tokens=200, max_steps=4) for n in ("one", "two"))
    output = Path(two["output"])
    (tmp_path / "config.json").write_text(json.dumps(two))
    began = time.monotonic()
    code, said = end_of(torchrun("--fatal", str(tmp_path / "config.json"), restarts=1))
    assert code != 0 and time.monotonic() - began < 110
    first, last = of_kind(output, "error")
    assert (
        first["message"].startswith("process 1: out of memory") and "tokens at once" in of_kind(output, "warning")[0]["message"]
    )
    assert "process 1: unexpected RuntimeError: the second GPU fell off the bus" in last["message"]
    assert f"error: {last['message']}" in said
    assert_close(weights(train(two)), weights(train(one)), 1e-5)
    assert not (output / "memory.json").exists() and len(of_kind(output, "resumed")) == 2


def test_packs_are_spread_evenly() -> None:
    assert spread_packs([5, 3, 4, 2], 14, 2) == [[0, 3], [2, 1]]
    assert spread_packs([5, 3, 4, 2], 7, 2) == spread_packs([5, 3, 4, 2], 7, 1) == [[0, 3], [2, 1]]
    assert spread_packs([9], 14, 2) == [[0]]
    assert spread_packs([4, 3, 3, 3], 10, 2) == [[0, 3], [1, 2]]  # 7 and 6, not 10 and 3
    assert spread_packs([4, 4, 4], 4, 2) == [[0], [1], [2]]  # a fourth would be empty
    assert spread_packs([5, 5, 4, 4, 4], 12, 2) == fill_packs([5, 5, 4, 4, 4], 12)  # 13 and 9 would be too many for one
    for budget in range(1, 40):
        packs = spread_packs([7, 3, 3, 9, 1, 4, 4], budget, 4)
        assert sorted(place for pack in packs for place in pack) == list(range(7))


def test_alone_nothing_is_shared_out() -> None:
    assert distributed.share(["a", "b", "c"]) == ["a", "b", "c"] and distributed.count() == 1 and distributed.is_first()
    assert distributed.by_first(lambda: Path("x")) == Path("x") and distributed.agree("SIGTERM") == "SIGTERM"


def test_processes_without_torchrun_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="Start several processes with torchrun"), distributed.joined("cpu", print):
        pass
