"""Activation checkpointing: the same numbers from less that is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from training.dpo import memory
from training.dpo.config import Config
from training.dpo.errors import ModelError, Stopped
from training.dpo.logprobs import ForwardPath, Precision, Scorer
from training.dpo.model import load_model
from training.dpo.recompute import all_kept, is_recomputed, recompute_layers
from training.dpo.stopping import Stopper

from .test_packing import MIXED
from .test_training import Build, Train, of_kind, same, weights

CPU = torch.device("cpu")


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2}, {"compute": "bfloat16"}, {"loss": "kto"}])
def test_a_run_ends_with_the_same_weights(settings: dict[str, Any], config: Build, train_here: Train) -> None:
    kept, again = (train_here(config(f"c{on}", **settings, max_steps=3, checkpoint_activations=on)) for on in (False, True))
    assert same(weights(kept), weights(again))
    assert [event["loss"] for event in of_kind(kept, "step")] == [event["loss"] for event in of_kind(again, "step")]


def gradients(scorer: Scorer) -> dict[str, torch.Tensor]:
    scorer.model.zero_grad()
    scorer.logprobs(MIXED).square().sum().backward()
    return {name: parameter.grad.clone() for name, parameter in scorer.model.named_parameters()}


@pytest.mark.parametrize("packed", [True, False])
def test_less_is_kept_and_gradients_are_the_same(packed: bool, tiny_model_dir: Path) -> None:
    scorer = Scorer(load_model(tiny_model_dir, CPU), Precision(CPU, torch.float32), ForwardPath(packed, budget=1000))
    before, all_of_it = gradients(scorer), memory.kept_bytes(scorer, MIXED)
    recompute_layers(scorer.model)
    assert is_recomputed(scorer.model) and not scorer.model.training
    assert memory.kept_bytes(scorer, MIXED) < all_of_it / 3
    assert same(gradients(scorer), before)
    with all_kept(scorer.model):
        assert memory.kept_bytes(scorer, MIXED) == all_of_it
    assert memory.kept_bytes(scorer, MIXED) < all_of_it / 3


def test_dropout_stays_off() -> None:
    config = MistralConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        attention_dropout=0.5, sliding_window=None,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    scorer = Scorer(model, Precision(CPU, torch.float32), ForwardPath(packed=False, budget=1000))
    before = scorer.logprobs(MIXED)
    recompute_layers(model)
    assert torch.equal(scorer.logprobs(MIXED), before)


def test_the_estimate_is_smaller(config: Build, tiny_model_dir: Path) -> None:
    kept, again = (load_model(tiny_model_dir, CPU) for _ in range(2))
    recompute_layers(again)
    told = [
        memory.foresee(
            Config.from_dict(config()), Scorer(model, Precision(CPU, torch.float32), ForwardPath(packed=True, budget=400)), MIXED
        )
        for model in (kept, again)
    ]
    assert told[1].activations < told[0].activations / 3 and told[1].layer > told[0].layer and told[1].peak < told[0].peak


def test_a_run_may_go_on_with_it(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken, real = train_here(config("unbroken", max_steps=4)), Stopper.check

    def check(stopper: Stopper, step: int) -> None:
        stopper.reason = "SIGTERM" if step == 2 else None
        real(stopper, step)

    settings = config("stopped", max_steps=4)
    monkeypatch.setattr(Stopper, "check", check)
    with pytest.raises(Stopped):
        train_here(settings)
    monkeypatch.undo()
    assert same(weights(train_here(settings | {"checkpoint_activations": True})), weights(unbroken))


def test_layers_that_are_not_known_are_refused() -> None:
    with pytest.raises(ModelError, match="checkpoint_activations: the layers of Linear cannot be computed apart"):
        recompute_layers(torch.nn.Linear(2, 2))
