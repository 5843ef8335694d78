"""KTO on data: single answers, its reference point, and that a run is what the equation says."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from training.dpo.batches import step_indices
from training.dpo.data import read_triples
from training.dpo.errors import DataError, Stopped
from training.dpo.evaluate import Objective, metrics, ordered_share
from training.dpo.losses import Scores, kto_rows
from training.dpo.mismatched import mismatched, reference_point
from training.dpo.model import load_tokenizer
from training.dpo.stopping import Stopper
from training.dpo.tokens import Example, Limits, tokenise

from .test_score import slow_logprob
from .test_training import Build, Settings, Train, of_kind, same, weights
from .tiny import make_row, make_tiny_model, write_rows

KTO = {"loss": "kto", "beta": 0.5}


def single(number: int, **overrides: Any) -> dict[str, Any]:
    """One answer with its label: of every third row undesirable."""
    row, liked = make_row(number), number % 3 != 0
    return {
        "id": row["id"],
        "prompt": row["prompt"],
        "completion": row["chosen" if liked else "rejected"],
        "label": liked,
    } | overrides


def with_rows(settings: Settings, rows: list[dict[str, Any]], heldout: list[dict[str, Any]] | None = None) -> Settings:
    write_rows(Path(settings["train"]), rows)
    if heldout:
        write_rows(Path(settings["heldout"]), heldout)
    return settings


MIXED = [single(0), single(1), make_row(2), single(3), single(4), single(5, weight=2.0), make_row(6), single(7)]


def example(prompt: int, chosen: int = 1, rejected: int = 1) -> Example:
    """Answers whose tokens tell whose they are."""
    return Example(1, prompt, (prompt,) * 3, (10 * prompt + 1,) * chosen, (10 * prompt + 2,) * rejected, 1.0, 0.0)


def test_each_prompt_gets_the_answers_of_the_next_other_prompt() -> None:
    rows = [example(1), example(1), example(2, rejected=0), example(3), example(3)]
    found = [(each.prompt[0], each.chosen, each.rejected) for each in mismatched(rows)]
    assert found == [(1, (21,), ()), (1, (21,), ()), (2, (31,), (32,)), (3, (11,), (12,)), (3, (11,), (12,))]
    borrowed = mismatched(rows[:2], others=rows[2:])
    assert [each.chosen for each in borrowed] == [(21,), (21,)]
    assert [len(each.chosen) for each in mismatched([example(1), example(2, chosen=9)], max_row=5)] == [2, 1]
    with pytest.raises(DataError, match="all rows have the same prompt"):
        mismatched(rows[:2])


def test_the_reference_point_by_hand() -> None:
    policy_B2, reference_B2 = torch.tensor([[-1.0, -9.0], [-5.0, -2.0]]), torch.tensor([[-2.0, -7.0], [-5.0, -6.0]])
    assert reference_point(policy_B2, reference_B2, [example(1), example(2, chosen=0)]) == pytest.approx((1 - 2 + 4) / 3)
    assert reference_point(reference_B2, policy_B2, [example(1), example(2, chosen=0)]) == 0.0


def test_rows_by_hand() -> None:
    policy_B2, reference_B2 = torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.zeros(2, 2)
    scores = Scores.of(policy_B2, reference_B2, [example(1), example(1, rejected=0)])
    assert kto_rows(scores, beta=1.0).tolist() == pytest.approx([1.0, 0.2689], abs=1e-4)
    scores = Scores.of(policy_B2, reference_B2, [example(1), example(1, rejected=0)], 1.0)
    assert kto_rows(scores, beta=1.0, desirable_weight=3.0).tolist() == pytest.approx([2.0, 1.5], abs=1e-4)


def test_accuracy_over_couples() -> None:
    assert ordered_share(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0])) == 0.625
    assert ordered_share(torch.tensor([1.0]), torch.tensor([])) == 0.5
    liked, disliked = example(1, rejected=0), example(2, chosen=0)
    policy_N2 = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    figures = metrics(policy_N2, torch.zeros(3, 2), [liked, disliked, liked], Objective("kto", options={"beta": 0.1}))
    assert (figures["accuracy"], figures["chosen_logp"], figures["rejected_logp"]) == (0.5, 2.0, 2.0)
    assert figures["margin"] == pytest.approx(0.0)
    figures = metrics(policy_N2[:1], torch.zeros(1, 2), [liked], Objective("kto", options={"beta": 0.1}))
    assert (figures["margin"], figures["rejected_reward"], figures["accuracy"]) == (None, None, 0.5)


def test_steps_are_what_the_equation_says(config: Build, train_here: Train, tiny_model_dir: Path) -> None:
    """Loss and z of the second step, computed again row by row from the weights that the first step has made."""
    settings = {**KTO, "batch_pairs": 5, "heldout": 0, "desirable_weight": 1.5, "nll_weight": 0.1}
    one = train_here(with_rows(config("one", **settings, max_steps=1), MIXED))
    two = train_here(with_rows(config("two", **settings, max_steps=2), MIXED))
    loss = of_kind(two, "step")[1]["loss"]
    path = Path(config("again", **settings)["train"])
    write_rows(path, MIXED)
    limits = Limits(512, 512, None, "error")
    examples = tokenise(load_tokenizer(tiny_model_dir), read_triples(path, unpaired=True), path, limits).examples

    def ratio(prompt: tuple[int, ...], answer: tuple[int, ...]) -> float:
        return slow_logprob(one / "model", prompt, answer) - slow_logprob(tiny_model_dir, prompt, answer)

    batch = step_indices(1, len(examples), 5, 1.0, 2, seed=7)
    others = [examples[(place + 1) % len(examples)] for place in batch]  # all prompts differ
    prompts = [examples[place].prompt for place in batch]
    far = [ratio(prompt, y) for prompt, other in zip(prompts, others, strict=True) for y in (other.chosen, other.rejected) if y]
    z, total, answers = max(0.0, sum(far) / len(far)), 0.0, 0
    for row in (examples[place] for place in batch):
        for liked, answer in ((True, row.chosen), (False, row.rejected)):
            if not answer:
                continue
            answers += 1
            gain = 0.5 * (ratio(row.prompt, answer) - z) * (1 if liked else -1)
            total += row.weight * (1.5 if liked else 1.0) / (1 + torch.tensor(gain).exp().item())
            total += row.weight * 0.1 * -slow_logprob(one / "model", row.prompt, answer) / len(answer) if liked else 0.0
    assert answers > 5 and loss == pytest.approx(total / answers, abs=1e-4)


def test_the_start_is_known_and_accumulation_changes_nothing(config: Build, train_here: Train) -> None:
    runs = [
        train_here(
            with_rows(config(f"m{size}", **KTO, micro_batch_tokens=size, max_steps=3, optimizer="rmsprop"), MIXED, MIXED[:3])
        )
        for size in (1000, 1)
    ]
    assert of_kind(runs[0], "preflight")[0]["figures"]["loss"] == pytest.approx(0.5, abs=1e-4)
    assert of_kind(runs[0], "audit")[0]["train"]["unpaired"] == 6
    assert len(list((runs[0] / "reference-cache").iterdir())) == 4  # rows and mismatched pairs, of both files
    for key in ("loss", "grad_norm", "accuracy"):
        one, many = ([event[key] for event in of_kind(output, "step")] for output in runs)
        assert one == pytest.approx(many, rel=1e-3)
    heldout = of_kind(runs[0], "heldout")
    assert heldout[0]["loss"] == pytest.approx(0.5, abs=1e-4) and heldout[-1]["loss"] < 0.5


def test_pairs_and_their_answers_apart_are_the_same_batch(config: Build, train_here: Train) -> None:
    """One step over all rows: the mean is over answers, however they are paired."""
    pairs = [make_row(number) for number in range(4)]
    apart = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in pairs
        for side in ("chosen", "rejected")
    ]
    together = train_here(with_rows(config("pairs", **KTO, heldout=0, batch_pairs=4, max_steps=1), pairs))
    alone = train_here(with_rows(config("apart", **KTO, heldout=0, batch_pairs=8, max_steps=1), apart))
    first, second = of_kind(together, "step")[0], of_kind(alone, "step")[0]
    assert first["grad_norm"] == pytest.approx(second["grad_norm"], rel=1e-4)
    assert first["chosen_logp"] == pytest.approx(second["chosen_logp"], rel=1e-5)


def test_it_learns_from_single_answers_on_either_path(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [single(number) for number in range(12)]
    packed = train_here(with_rows(config("packed", **KTO, epochs=3.0, heldout=0), rows))
    monkeypatch.setattr("training.dpo.logprobs.AGREEMENT", -1.0)
    plain = train_here(with_rows(config("plain", **KTO, epochs=3.0, heldout=0), rows))
    assert of_kind(plain, "start")[0]["path_reason"].startswith("plain: ")
    losses = [[event["loss"] for event in of_kind(output, "step")] for output in (packed, plain)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3) and losses[0][-1] < 0.4


def test_stopped_and_resumed(config: Build, train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = train_here(with_rows(config("unbroken", **KTO, max_steps=4), MIXED, MIXED[:3]))
    settings, real, calls = with_rows(config("stopped", **KTO, max_steps=4), MIXED, MIXED[:3]), Stopper.check, []

    def check(stopper: Stopper, step: int) -> None:
        calls.append(step)
        stopper.reason = "SIGTERM" if step == 2 and calls.count(2) == 3 else None  # in the pass that finds z, or next to it
        real(stopper, step)

    monkeypatch.setattr(Stopper, "check", check)
    with pytest.raises(Stopped):
        train_here(settings)
    monkeypatch.undo()
    assert same(weights(train_here(settings)), weights(unbroken))


def test_answers_of_one_kind_only(config: Build, train_here: Train) -> None:
    output = train_here(with_rows(config(**KTO, heldout=0), [single(number, label=True) for number in range(6)]))
    assert {event["margin"] for event in of_kind(output, "step")} == {None} and of_kind(output, "done")
    assert "by Kahneman-Tversky Optimization" in (output / "model" / "README.md").read_text()


def test_one_prompt_is_refused_and_so_are_single_answers_elsewhere(config: Build, train_here: Train) -> None:
    prompt = make_row()["prompt"]
    with pytest.raises(DataError, match=r"train\.jsonl: all rows have the same prompt"):
        train_here(with_rows(config("same", **KTO, heldout=0), [single(number, prompt=prompt) for number in range(4)]))
    with pytest.raises(DataError, match=r"train\.jsonl line 1: it has one answer with a label and no pair"):
        train_here(with_rows(config("dpo"), MIXED))


def test_sft_first_learns_from_the_desirable_answers(config: Build, train_here: Train, tiny_model_dir: Path) -> None:
    output = train_here(with_rows(config(**KTO, sft_epochs=1.0, heldout=0, max_steps=1), MIXED))
    audit = of_kind(output / "sft", "audit")[0]["train"]
    assert (audit["pairs"], audit["left_out"]) == (6, 2)
    assert of_kind(output, "step")[0]["loss"] == pytest.approx(0.5, abs=0.2)
    assert not same(weights(output / "sft"), load_file(tiny_model_dir / "model.safetensors"))
    with pytest.raises(DataError, match="no row has a desirable answer"):
        train_here(with_rows(config("none", loss="sft", heldout=0), [single(0), single(3)]))


def test_a_model_of_its_own_as_reference(config: Build, train_here: Train, tmp_path: Path) -> None:
    """Then neither loss nor z is known at the start."""
    other = make_tiny_model(tmp_path / "other", seed=1)
    output = train_here(with_rows(config(**KTO, reference=str(other), heldout=0, max_steps=1), MIXED))
    assert of_kind(output, "step")[0]["loss"] != pytest.approx(0.5, abs=1e-3)
