"""Answers during a run: what the model says greedily, and nothing of the training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.dpo import samples
from training.dpo.console import LINES
from training.dpo.errors import Stopped
from training.dpo.stopping import Stopper

from .test_training import Build, Train, of_kind, same, weights
from .tiny import make_row, write_rows

SHOWN = {"samples": 3, "sample_tokens": 12}


def test_they_are_what_the_model_answers_greedily(config: Build, train_here: Train, tiny_model_dir: Path) -> None:
    output = train_here(config(**SHOWN, max_steps=5))
    told = of_kind(output, "samples")
    assert [event["step"] for event in told] == [0, 2, 5] and {event["of"] for event in told} == {"heldout"}
    for event, directory in ((told[0], tiny_model_dir), (told[-1], output / "model")):
        model, tokenizer = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(tiny_model_dir)
        for number, sample in enumerate(event["samples"]):
            assert sample["prompt"] == make_row(100 + number)["prompt"] and sample["id"] == f"row-{100 + number}"
            asked = tokenizer.apply_chat_template(
                sample["prompt"], add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            made = model.generate(**asked, max_new_tokens=12, do_sample=False)[0, asked["input_ids"].shape[1] :].tolist()
            assert sample["answer"] == tokenizer.decode(made, skip_special_tokens=True)
            assert sample["tokens"] == len(made) and sample["ended"] == (made[-1] == 2)
    assert told[0]["samples"] != told[-1]["samples"] and len(told[0]["samples"]) == 3


def test_they_change_no_weight(config: Build, train_here: Train) -> None:
    runs = [train_here(config(f"s{count}", samples=count, samples_every=1, sample_tokens=5)) for count in (0, 3)]
    assert same(*map(weights, runs)) and not of_kind(runs[0], "samples")
    assert [event["step"] for event in of_kind(runs[1], "samples")] == [0, 1, 2, 3, 4, 5]
    figures = [[(event["loss"], event["grad_norm"]) for event in of_kind(output, "step")] for output in runs]
    assert figures[0] == figures[1]


class Scripted(torch.nn.Module):
    """After token n it says n + 1."""

    def __init__(self) -> None:
        super().__init__()
        self.config = type("Config", (), {"_attn_implementation": "sdpa", "get_text_config": lambda self: self})()
        self.config.max_position_embeddings = 9
        self.asked: list[Any] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor, **rest: Any) -> Any:
        self.asked.append((input_ids.tolist(), attention_mask.tolist(), position_ids.tolist()))
        return type("Out", (), {"logits": torch.nn.functional.one_hot(input_ids + 1, 30), "past_key_values": None})()


def test_ends_limits_and_places_by_hand() -> None:
    """The first answer ends at token 7, the second goes on to the limit; the shorter prompt is padded on the left."""
    model, calls = Scripted(), []
    rows = samples.greedy(model, [(4, 5), (11, 12, 13)], 4, 7, torch.device("cpu"), lambda: calls.append(1))
    assert rows == [[6, 7], [14, 15, 16, 17]] and len(calls) == 4
    assert model.asked[0] == ([[0, 4, 5], [11, 12, 13]], [[0, 1, 1], [1, 1, 1]], [[0, 0, 1], [0, 1, 2]])
    assert model.asked[1] == ([[6], [14]], [[0, 1, 1, 1], [1, 1, 1, 1]], [[2], [3]])
    assert samples.greedy(Scripted(), [(4, 5)], 9, 7, torch.device("cpu"), lambda: None) == [[6, 7]]
    assert len(samples.greedy(Scripted(), [(11, 12, 13)], 99, 7, torch.device("cpu"), lambda: None)[0]) == 6  # the model's limit


def test_without_held_out_rows_different_prompts_of_the_training_rows(config: Build, train_here: Train) -> None:
    settings = config(**SHOWN, heldout=0, max_steps=1)
    rows = [make_row(0), make_row(1, prompt=make_row(0)["prompt"]), make_row(2)]
    write_rows(Path(settings["train"]), rows)
    [start, end] = of_kind(train_here(settings), "samples")
    assert (start["of"], [sample["line"] for sample in start["samples"]]) == ("train", [1, 3])
    assert "of 2 answers end by themselves within 12 tokens" in LINES["samples"](end)


@pytest.mark.parametrize("moment", [2, 9, 30])
def test_stopped_and_resumed(moment: int, config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within an answer, too: each step's samples are told once."""
    unbroken = train_here(config("unbroken", **SHOWN, max_steps=4))
    settings, real, calls = config("stopped", **SHOWN, max_steps=4), Stopper.check, []

    def check(stopper: Stopper, step: int) -> None:
        calls.append(step)
        stopper.reason = "SIGTERM" if len(calls) == moment + 4 else None
        real(stopper, step)

    monkeypatch.setattr(Stopper, "check", check)
    with pytest.raises(Stopped):
        train_here(settings)
    monkeypatch.undo()
    output = train_here(settings)
    assert same(weights(output), weights(unbroken))
    told = [[(event["step"], event["samples"]) for event in of_kind(each, "samples")] for each in (output, unbroken)]
    assert told[0] == told[1]


def test_a_model_that_cannot_answer_is_trained_all_the_same(
    config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train_here(config("plain"))
    monkeypatch.setattr(samples, "greedy", lambda *given: 1 / 0)
    output = train_here(config("cannot", **SHOWN))
    [warning] = of_kind(output, "warning")
    assert warning["code"] == "no_samples" and "ZeroDivisionError" in warning["message"]
    assert same(weights(output), weights(plain))
