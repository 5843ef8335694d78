"""Whole runs of a tiny model in this process."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.dpo import loop
from training.dpo.config import LOSS_OPTIONS
from training.dpo.errors import (
    DataError,
    ModelError,
    NonFiniteError,
    OtherRunError,
    OutputBusyError,
    PreflightError,
    Stopped,
    StorageError,
    TrainerError,
)
from training.dpo.logprobs import Scorer
from training.dpo.optimizers import learning_rate_at
from training.dpo.packing import packed_length
from training.dpo.stopping import Stopper
from training.dpo.storage import exclusive
from training.dpo.tokens import Example

from .conftest import read_events
from .tiny import make_row, make_tiny_model, write_rows

Settings = dict[str, Any]
Build = Callable[..., Settings]
Train = Callable[[Settings], Path]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model" / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def of_kind(output: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(output) if event["event"] == kind]


def test_a_whole_run(config: Build, train_here: Train) -> None:
    settings = config(provenance={"parent_version": 7})
    output = train_here(settings)
    files = {
        str(path.relative_to(output)) for path in output.rglob("*") if path.is_file() and path.parent.name != "reference-cache"
    }
    assert files == {
        "config.json", "events.jsonl", "lock", "model/README.md", "model/chat_template.jinja", "model/config.json",
        "model/generation_config.json", "model/model.safetensors", "model/prefloop.json", "model/tokenizer.json",
        "model/tokenizer_config.json",
    }  # fmt: skip
    assert len(list((output / "reference-cache").iterdir())) == 2 and not (output / "checkpoint").exists()
    kinds = [event["event"] for event in read_events(output)]
    assert kinds == [
        "start", "audit", "checkpoint", "preflight", "heldout", "step", "step", "heldout", "checkpoint", "step", "step",
        "heldout", "checkpoint", "step", "heldout", "checkpoint", "saved", "done",
    ]  # fmt: skip
    record = json.loads((output / "model" / "prefloop.json").read_text())
    assert record["parent_version"] == 7 and record["steps"] == 5 and record["config"]["seed"] == 7
    assert record["signal"]["share"]["float32"] == 1.0 and record["data_sha256"].keys() == {"train", "heldout"}


def test_figures_of_the_events(config: Build, train_here: Train) -> None:
    output = train_here(config())
    steps, heldout = of_kind(output, "step"), of_kind(output, "heldout")
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert steps[-1]["loss"] < 0.6 and heldout[-1]["loss"] < heldout[0]["loss"]
    assert [event["step"] for event in heldout] == [0, 2, 4, 5]
    for event in steps:
        assert event["margin"] == pytest.approx(event["chosen_reward"] - event["rejected_reward"], abs=1e-5)
        assert event["steps"] == 5 and event["tokens_per_s"] > 0 and event["memory_bytes"] > 0 and event["eta_s"] >= 0
    assert [event["epoch"] for event in steps] == [0.4, 0.8, 1.2, 1.6, 2.0]


def test_the_model_loads_plainly_and_is_not_the_base(config: Build, train_here: Train, tiny_model_dir: Path) -> None:
    output = train_here(config())
    model = AutoModelForCausalLM.from_pretrained(output / "model")
    tokenizer = AutoTokenizer.from_pretrained(output / "model")
    assert model.dtype == torch.float32 and model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    assert tokenizer.chat_template and not same(weights(output), load_file(tiny_model_dir / "model.safetensors"))


def test_same_seed_same_bits_and_other_seed_other_bits(config: Build, train_here: Train) -> None:
    first, again, other = (train_here(config(name, seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert same(weights(first), weights(again)) and not same(weights(first), weights(other))


def test_accumulation_equals_one_big_batch(config: Build, train_here: Train) -> None:
    one, many = (train_here(config(f"m{size}", micro_batch_tokens=size, max_steps=2, optimizer="rmsprop")) for size in (1000, 1))
    grad_norms = [[event["grad_norm"] for event in of_kind(output, "step")] for output in (one, many)]
    assert grad_norms[0] == pytest.approx(grad_norms[1], rel=1e-3)
    assert [e["loss"] for e in of_kind(one, "step")] == pytest.approx([e["loss"] for e in of_kind(many, "step")], abs=1e-4)


def test_weights_of_pairs_count(config: Build, train_here: Train, tmp_path: Path) -> None:
    """Pairs of weight 0 leave the model as it is; a weight of 2 doubles the gradient."""
    outputs = {}
    for weight in (0.0, 1.0, 2.0):
        settings = config(f"w{weight}", max_steps=1)
        write_rows(Path(settings["train"]), [make_row(number, weight=weight) for number in range(10)])
        outputs[weight] = of_kind(train_here(settings), "step")[0]["grad_norm"]
    assert outputs[0.0] == 0.0 and outputs[2.0] == pytest.approx(2 * outputs[1.0], rel=1e-4)


@pytest.mark.parametrize("loss", [loss for loss in LOSS_OPTIONS if loss != "dpo"])
def test_every_loss_trains(loss: str, config: Build, train_here: Train) -> None:
    plain = train_here(config("dpo", max_steps=2, heldout=0))
    options = {"label_smoothing": 0.1} if loss == "robust" else {}  # without it, it is dpo
    other = train_here(config(loss, loss=loss, max_steps=2, heldout=0, **options))
    assert all(math.isfinite(event["loss"]) for event in of_kind(other, "step"))
    assert not same(weights(plain), weights(other))


def test_the_nll_term_makes_chosen_answers_likelier(config: Build, train_here: Train) -> None:
    plain, with_nll = (train_here(config(f"n{weight}", nll_weight=weight)) for weight in (0.0, 5.0))
    assert of_kind(with_nll, "step")[-1]["chosen_logp"] > of_kind(plain, "step")[-1]["chosen_logp"]


def test_ties_are_for_the_loss_that_knows_them(config: Build, train_here: Train) -> None:
    settings = config("ties", max_steps=2)
    rows = [make_row(number, tie=number % 2 == 1) for number in range(10)]
    write_rows(Path(settings["train"]), rows)
    with pytest.raises(DataError, match=r"lines 2, 4, 6, 8, 10 are ties, from which the loss dpo would learn the wrong thing"):
        train_here(settings)
    settings = config("with", max_steps=2, loss="dpo_ties", tie_width=0.5)
    write_rows(Path(settings["train"]), rows)
    assert of_kind(train_here(settings), "audit")[0]["train"]["ties"] == 5


def test_label_smoothing_reaches_the_training(config: Build, train_here: Train) -> None:
    plain, smooth = (train_here(config(f"s{eps}", label_smoothing=eps)) for eps in (0.0, 0.3))
    assert of_kind(smooth, "step")[-1]["loss"] > of_kind(plain, "step")[-1]["loss"]
    assert not same(weights(plain), weights(smooth))


def test_weights_move_at_a_small_learning_rate(config: Build, train_here: Train, tiny_model_dir: Path) -> None:
    """The faults of PITFALLS, "Precision": bfloat16 weights would lose nearly all of an update of 5e-7."""
    output = train_here(config(learning_rate=5e-7, max_steps=2))
    before, after = load_file(tiny_model_dir / "model.safetensors"), weights(output)
    moved = sum((before[name] != after[name]).sum().item() for name in before)
    assert moved > 0.8 * sum(tensor.numel() for tensor in before.values())
    saved = of_kind(output, "saved")[0]
    assert saved["signal"]["share"]["float32"] == 1.0 and saved["signal"]["share"]["bfloat16"] < 0.5
    assert saved["serve_dtype"] == "float32"
    assert of_kind(output, "warning")[0]["code"] == "bfloat16_loses_signal"


def test_large_updates_survive_bfloat16(config: Build, train_here: Train) -> None:
    assert of_kind(train_here(config(learning_rate=1e-2)), "saved")[0]["serve_dtype"] == "bfloat16"


def test_bfloat16_compute_trains_float32_weights(config: Build, train_here: Train) -> None:
    output = train_here(config(compute="bfloat16"))
    assert of_kind(output, "start")[0]["compute"] == "bfloat16"
    assert weights(output)["model.norm.weight"].dtype == torch.float32
    assert of_kind(output, "step")[-1]["loss"] < 0.6


def test_auto_compute_gives_its_reason(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.dpo.model.trains_faster_in_bfloat16", lambda device: True)
    small = of_kind(train_here(config("small", compute="auto", learning_rate=1e-6)), "start")[0]
    large = of_kind(train_here(config("large", compute="auto", learning_rate=1e-3)), "start")[0]
    assert small["compute"] == "float32" and "bfloat16 hides moves" in small["compute_reason"]
    assert large["compute"] == "bfloat16"


def test_another_reference(config: Build, train_here: Train, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", seed=1)
    output = train_here(config(reference=str(other)))
    assert of_kind(output, "preflight")[0]["reference_is_start"] is False
    assert of_kind(output, "step")[0]["loss"] != pytest.approx(math.log(2), abs=1e-3)


def test_a_complete_run_is_left_alone(config: Build, train_here: Train) -> None:
    settings = config()
    output = train_here(settings)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file() and path.name != "lock"}
    train_here(settings)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(OtherRunError, match=r"beta: 0\.1 then, 0\.2 now"):
        train_here({**settings, "beta": 0.2})
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_events_lost_after_saving_are_completed(config: Build, train_here: Train) -> None:
    settings = config()
    output = train_here(settings)
    lines = (output / "events.jsonl").read_text().splitlines(keepends=True)
    (output / "events.jsonl").write_text("".join(lines[:-2]) + lines[-2][:40])
    train_here(settings)
    assert [event["event"] for event in read_events(output)][-3:] == ["checkpoint", "saved", "done"]


def test_a_second_trainer_is_refused(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config()
    output = Path(settings["output"])
    output.mkdir()
    monkeypatch.setattr("training.dpo.storage.LOCK_WAIT_S", 0.0)
    with exclusive(output / "lock"), pytest.raises(OutputBusyError, match="another trainer is at work"):
        train_here(settings)
    assert not (output / "events.jsonl").exists()


def test_a_stale_reference_cache_is_caught(config: Build, train_here: Train) -> None:
    settings = config(max_steps=1, heldout=0)
    output = train_here(settings)
    cached = next((output / "reference-cache").iterdir())
    save_file({"logprobs": load_file(cached)["logprobs"] - 1.0}, cached)
    fresh = config("b", max_steps=1, heldout=0, reference_cache=str(cached.parent))
    with pytest.raises(
        PreflightError, match=r"rewards must be 0 and the loss 0\.6931(.|\n)*differ by 1\.67e-01 nats per token on row 'row-0'"
    ):
        train_here(fresh)
    assert of_kind(Path(fresh["output"]), "error") and not of_kind(Path(fresh["output"]), "step")


def test_a_torn_reference_cache_is_made_again(config: Build, train_here: Train) -> None:
    output = train_here(config(max_steps=1, heldout=0))
    cached = next((output / "reference-cache").iterdir())
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-7])
    train_here(config("b", max_steps=1, heldout=0, reference_cache=str(cached.parent)))
    assert cached.read_bytes() == whole


def test_non_finite_loss_names_the_rows(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config()
    real, calls = Scorer.logprobs, []

    def poisoned(scorer: Scorer, examples: Any) -> Any:
        calls.append(torch.is_grad_enabled())
        factors_N1 = torch.ones(len(examples), 1)
        factors_N1[-1] = math.nan if calls[-1] and sum(calls) == 8 else 1.0  # two for the memory
        return real(scorer, examples) * factors_N1

    monkeypatch.setattr(Scorer, "logprobs", poisoned)
    with pytest.raises(NonFiniteError, match=r"loss of step 3 is not a finite number; rows: 'row-\d' \(line \d+\)\. "):
        train_here(settings)
    output = Path(settings["output"])
    assert [path.name for path in (output / "checkpoint").iterdir()] == ["step-00000002"]
    assert read_events(output)[-1]["event"] == "error"
    monkeypatch.undo()
    assert same(weights(train_here(settings)), weights(train_here(config("unbroken"))))


def test_out_of_memory_halves_the_micro_batches_and_changes_nothing_else(
    config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"micro_batch_tokens": 400, "optimizer": "rmsprop", "max_steps": 3, "heldout": 0}
    roomy, real = train_here(config("roomy", **settings)), Scorer.logprobs

    def cramped(scorer: Scorer, examples: list[Example]) -> torch.Tensor:
        if torch.is_grad_enabled() and sum(packed_length(example) for example in examples) > 100:
            raise torch.OutOfMemoryError("no")
        return real(scorer, examples)

    monkeypatch.setattr(Scorer, "logprobs", cramped)
    output = train_here(config("cramped", **settings))
    assert [event["code"] for event in of_kind(output, "warning")][:2] == ["out_of_memory"] * 2
    assert "going on with 100 tokens at once" in of_kind(output, "warning")[1]["message"]
    losses = [[event["loss"] for event in of_kind(each, "step")] for each in (output, roomy)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_out_of_memory_with_single_tokens_is_said(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(scorer: Scorer, examples: list[Example]) -> torch.Tensor:
        if torch.is_grad_enabled():
            raise torch.OutOfMemoryError("no")
        return torch.zeros(len(examples), 2) - 1.0

    monkeypatch.setattr(Scorer, "logprobs", never)
    with pytest.raises(TrainerError, match=r"^out of memory\. Set checkpoint_activations and start again"):
        train_here(config(heldout=0))


def test_sft_first_makes_start_and_reference(config: Build, train_here: Train, tiny_model_dir: Path) -> None:
    settings = config(sft_epochs=2.0, max_steps=2)
    output = train_here(settings)
    sft = output / "sft"
    assert [event["event"] for event in read_events(sft)][-1] == "done"
    assert of_kind(sft, "step")[-1]["loss"] < of_kind(sft, "step")[0]["loss"]
    assert of_kind(output, "step")[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert [event["done"] for event in of_kind(output, "sft")] == [1, 2, 3, 4, 5]
    start, parent = load_file(sft / "model" / "model.safetensors"), load_file(tiny_model_dir / "model.safetensors")
    assert not same(start, parent) and not same(weights(output), start)
    again = weights(output)
    assert same(weights(train_here(settings)), again)


def test_sft_first_stopped_and_resumed(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = train_here(config("unbroken", sft_epochs=2.0, max_steps=2))
    settings, real = config("stopped", sft_epochs=2.0, max_steps=2), Stopper.check
    for stop_at in (3, 1):  # in SFT, then in DPO

        def check(stopper: Stopper, step: int, stop_at: int = stop_at) -> None:
            stopper.reason = "SIGTERM" if step == stop_at else None
            real(stopper, step)

        monkeypatch.setattr(Stopper, "check", check)
        with pytest.raises(Stopped):
            train_here(settings)
    monkeypatch.undo()
    assert same(weights(train_here(settings)), weights(unbroken))


def test_chosen_answers_that_fall_are_warned_of_once(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHOSEN_FALL_NATS", -1000.0)
    output = train_here(config())
    assert [event["code"] for event in of_kind(output, "warning") if event["code"] == "chosen_falls"] == ["chosen_falls"]


def test_many_dropped_pairs_are_warned_of(config: Build, train_here: Train) -> None:
    """And held-out pairs that are all too long do not keep a run from training."""
    output = train_here(config(max_prompt_tokens=20, max_steps=1))
    audit = of_kind(output, "audit")[0]
    assert audit["train"]["dropped"] > 1 and audit["heldout"]["pairs"] == 0 and not of_kind(output, "heldout")
    assert [event["code"] for event in of_kind(output, "warning")][:2] == ["many_dropped"] * 2


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda model: (model / "model.safetensors").write_bytes(b"junk"), "cannot load the model"),
        (lambda model: (model / "config.json").unlink(), "has no config.json"),
        (lambda model: (model / "chat_template.jinja").unlink(), "has no chat template"),
        (lambda model: (model / "tokenizer.json").write_text("{"), "cannot load the tokenizer"),
        (lambda model: (model / "generation_config.json").write_text('{"temperature": 0.5}'), "cannot be saved with"),
        (lambda model: drop_a_weight(model / "model.safetensors"), "do not fit its config"),
    ],
)
def test_broken_models_are_refused(
    break_it: Callable[[Path], Any], message: str, config: Build, train_here: Train, tmp_path: Path
) -> None:
    model = make_tiny_model(tmp_path / "model")
    break_it(model)
    settings = config(model=model)
    with pytest.raises(ModelError, match=message):
        train_here(settings)
    assert message in read_events(Path(settings["output"]))[-1]["message"]


def drop_a_weight(path: Path) -> None:
    tensors = load_file(path)
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


def test_bad_rows_end_in_an_error_event(config: Build, train_here: Train) -> None:
    settings = config()
    write_rows(Path(settings["heldout"]), [make_row(), make_row(rejected=[])])
    with pytest.raises(DataError, match=r'heldout\.jsonl line 2: "rejected" is empty'):
        train_here(settings)
    assert 'line 2: "rejected" is empty' in read_events(Path(settings["output"]))[-1]["message"]


def test_a_disk_too_small_is_refused_before_step_1(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = __import__("shutil").disk_usage("/")
    monkeypatch.setattr("training.dpo.preflight.shutil.disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StorageError, match="GB free; checkpoints and the model need about"):
        train_here(config())


def test_learning_rate_by_hand() -> None:
    def rates(steps: int, schedule: str) -> list[float]:
        return [learning_rate_at(step, steps, 1.0, 150, schedule) for step in range(steps)]

    assert rates(20, "constant") == pytest.approx([1 / 3, 2 / 3] + [1.0] * 18)
    assert rates(4, "linear") == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert rates(3000, "constant")[149:152] == pytest.approx([150 / 151, 1.0, 1.0])
