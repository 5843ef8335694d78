"""LoRA: what is trained, what is kept, and that the saved version is the trained one."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file

from training.dpo.errors import ModelError, Stopped
from training.dpo.logprobs import ForwardPath, Precision, Scorer
from training.dpo.model import load_model
from training.dpo.stopping import Stopper
from training.dpo.tokens import Example

from .test_training import Build, Train, of_kind, same, weights

LORA = {"lora_rank": 4, "learning_rate": 5e-3}
EXAMPLES = [Example(1, "a", (5, 6, 7), (8, 9, 2), (10, 2), 1.0, 0.0)]


def scores(model: Any) -> torch.Tensor:
    return Scorer(model, Precision(torch.device("cpu"), torch.float32), ForwardPath(packed=False, budget=1000)).score(EXAMPLES)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's own call
def test_it_learns_and_is_saved_merged_and_as_an_adapter(tiny_model_dir: Path, config: Build, train_here: Train) -> None:
    output = train_here(config(**LORA, epochs=4.0))
    steps = of_kind(output, "step")
    assert steps[0]["loss"] == pytest.approx(0.6931, abs=1e-3) and steps[-1]["loss"] < 0.6
    assert "packed" in of_kind(output, "start")[0]["path_reason"]
    whole = load_model(output / "model", torch.device("cpu"))
    parent = load_model(tiny_model_dir, torch.device("cpu"))
    adapted = peft.PeftModel.from_pretrained(parent, output / "model" / "adapter").eval()
    assert torch.allclose(scores(whole), scores(adapted), atol=1e-4)
    assert not torch.allclose(scores(whole), scores(load_model(tiny_model_dir, torch.device("cpu"))), atol=1e-2)
    assert of_kind(output, "saved")[0]["signal"]["share"]["float32"] > 0.999


def test_embeddings_and_norms_are_the_parents(tiny_model_dir: Path, config: Build, train_here: Train) -> None:
    trained, parent = weights(train_here(config(**LORA, max_steps=2))), load_file(tiny_model_dir / "model.safetensors")
    changed = {name for name in parent if not torch.equal(trained[name], parent[name])}
    assert changed == {name for name in parent if name.endswith("_proj.weight")}


def test_only_named_layers(tiny_model_dir: Path, config: Build, train_here: Train) -> None:
    trained = weights(train_here(config(**LORA, max_steps=2, lora_targets="q_proj, v_proj")))
    parent = load_file(tiny_model_dir / "model.safetensors")
    changed = {name.split(".")[-2] for name in parent if not torch.equal(trained[name], parent[name])}
    assert changed == {"q_proj", "v_proj"}
    with pytest.raises(ModelError, match=r"lora_targets: Target modules .*nothing"):
        train_here(config("unknown", **LORA, lora_targets="nothing"))


def test_a_stopped_run_resumes_with_the_same_weights_from_a_small_checkpoint(
    config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = train_here(config("unbroken", **LORA))
    settings, real = config("stopped", **LORA), Stopper.check

    def check(stopper: Stopper, step: int) -> None:
        stopper.reason = "SIGTERM" if step == 3 else None
        real(stopper, step)

    monkeypatch.setattr(Stopper, "check", check)
    with pytest.raises(Stopped):
        train_here(settings)
    monkeypatch.undo()
    [checkpoint] = (Path(settings["output"]) / "checkpoint").iterdir()
    assert all("lora_" in name for name in load_file(checkpoint / "model.safetensors"))
    assert same(weights(train_here(settings)), weights(unbroken))


@pytest.mark.parametrize("settings", [LORA, {}])
def test_a_lora_version_is_a_parent_like_any_other(settings: dict[str, Any], config: Build, train_here: Train) -> None:
    first = train_here(config("first", **LORA))
    second = train_here(config("second", model=str(first / "model"), **settings))
    assert of_kind(second, "step")[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert not same(weights(first), weights(second))


def test_dora(config: Build, train_here: Train) -> None:
    plain, dora = (train_here(config(f"d{dora}", **LORA, dora=dora, max_steps=3)) for dora in (False, True))
    assert of_kind(dora, "saved")[0]["signal"]["share"]["float32"] > 0.999
    assert not same(weights(plain), weights(dora))


def test_less_is_trained(config: Build, train_here: Train) -> None:
    whole, adapters = train_here(config("whole", max_steps=1)), train_here(config("lora", **LORA, max_steps=1))
    counts = [of_kind(output, "preflight")[0]["trained_parameters"] for output in (whole, adapters)]
    assert counts[1] < counts[0] / 3
