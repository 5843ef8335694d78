"""Log-probabilities against a forward pass without padding, and a slow loop; what must change nothing changes nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch

from training.dpo.batches import Batch, collate, fill_padded, step_indices, steps_total
from training.dpo.logprobs import ForwardPath, Precision, Scorer, attend_with, batch_logprobs, token_logprobs
from training.dpo.model import load_model
from training.dpo.tokens import Example

CPU = torch.device("cpu")
FLOAT32 = Precision(CPU, torch.float32)
EXAMPLES = [
    Example(1, "a", (1, 50, 60), (70, 80, 2), (90, 2), 1.0, 0.0),
    Example(2, "b", (1, 51, 61, 71, 81, 91, 101, 111), (33, 2), (44, 55, 66, 77, 88, 2), 1.0, 0.0),
    Example(3, "c", (1, 52), (2,), (99, 2), 1.0, 0.0),
]


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> Any:
    return load_model(tiny_model_dir, CPU)


def unpadded(model: Any, prompt: tuple[int, ...], answer: tuple[int, ...]) -> float:
    """Token by token in Python, one row without padding."""
    attend_with(model)
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        table = model(input_ids=ids).logits[0].double().log_softmax(-1)
    return sum(table[len(prompt) + place - 1, token].item() for place, token in enumerate(answer))


@pytest.mark.parametrize("path", [ForwardPath(packed, budget) for packed in (True, False) for budget in (1, 20, 1000)])
def test_agrees_with_a_slow_unpadded_loop(model: Any, path: ForwardPath) -> None:
    scores_N2 = Scorer(model, FLOAT32, path).score(EXAMPLES)
    for example, (chosen, rejected) in zip(EXAMPLES, scores_N2.tolist(), strict=True):
        assert chosen == pytest.approx(unpadded(model, example.prompt, example.chosen), abs=1e-4 * len(example.chosen))
        assert rejected == pytest.approx(unpadded(model, example.prompt, example.rejected), abs=1e-4 * len(example.rejected))


def test_by_hand() -> None:
    assert token_logprobs(torch.tensor([[1.0, 1.0]]), torch.tensor([1])).item() == pytest.approx(-0.693147, abs=1e-6)


def test_padding_and_its_id_change_nothing(model: Any) -> None:
    batch = collate(EXAMPLES, pad_id=0, device=CPU)
    wide = Batch(*(torch.nn.functional.pad(t, (0, 7)) for t in list(vars(batch).values())[:3]), batch.tokens)
    other = collate(EXAMPLES, pad_id=2, device=CPU)
    expected = batch_logprobs(model, batch, FLOAT32)
    assert torch.allclose(batch_logprobs(model, wide, FLOAT32), expected, atol=1e-4)
    assert torch.allclose(batch_logprobs(model, other, FLOAT32), expected, atol=1e-4)


def test_the_batch_holds_exactly_the_completion_tokens() -> None:
    batch = collate(EXAMPLES, pad_id=0, device=CPU)
    scored = [row[mask].tolist() for row, mask in zip(batch.input_ids_RT, batch.completion_mask_RT, strict=True)]
    assert scored == [list(e.chosen) for e in EXAMPLES] + [list(e.rejected) for e in EXAMPLES]
    assert batch.attention_mask_RT.sum().item() == batch.tokens


def test_a_model_that_cannot_keep_part_of_its_logits_gives_the_same(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = collate(EXAMPLES, pad_id=0, device=CPU)
    expected = batch_logprobs(model, batch, FLOAT32)
    monkeypatch.setattr("training.dpo.logprobs.keeps_logits", lambda model: False)
    assert torch.allclose(batch_logprobs(model, batch, FLOAT32), expected, atol=1e-5)


def test_autocast_keeps_float32_weights_and_sums(model: Any) -> None:
    batch = collate(EXAMPLES, pad_id=0, device=CPU)
    rough = batch_logprobs(model, batch, Precision(CPU, torch.bfloat16))
    exact = batch_logprobs(model, batch, FLOAT32)
    assert rough.dtype == torch.float32 and all(p.dtype == torch.float32 for p in model.parameters())
    assert not torch.equal(rough, exact) and torch.allclose(rough, exact, atol=0.5)


def test_the_end_of_turn_embedding_gets_its_gradient(model: Any) -> None:
    """The pad token is the end of turn; with padding_idx its embedding would silently get none from the prompt."""
    assert model.config.pad_token_id == 2
    prompt_with_end = Example(1, "a", (1, 50, 2, 60), (70, 2), (90, 2), 1.0, 0.0)
    hidden = torch.nn.functional.embedding  # an untied copy, so that only the embedding's own gradient is seen
    weight = model.get_input_embeddings().weight.detach().clone().requires_grad_()
    embedded = hidden(torch.tensor([prompt_with_end.prompt]), weight, padding_idx=model.get_input_embeddings().padding_idx)
    model(inputs_embeds=embedded).logits.float().log_softmax(-1)[0, -1, 70].backward()
    model.zero_grad(set_to_none=True)
    assert weight.grad[2].abs().sum() > 0


def test_a_run_has_every_pair_once_an_epoch() -> None:
    assert steps_total(38, 8, 2.0, None) == 10 and steps_total(38, 8, 2.0, 3) == 3 and steps_total(3, 64, 0.1, None) == 1
    seen = [place for step in range(10) for place in step_indices(step, 38, 8, 2.0, None, seed=5)]
    assert sorted(seen[:38]) == sorted(seen[38:]) == list(range(38)) and seen[:38] != seen[38:]
    assert len(step_indices(9, 38, 8, 2.0, None, seed=5)) == 4
    assert step_indices(0, 38, 8, 2.0, None, seed=5) != step_indices(0, 38, 8, 2.0, None, seed=6)


def test_padded_batches_keep_to_their_budget() -> None:
    """Widths 6, 14 and 4 (longest first: 14, 6, 4); a batch of n pairs holds 2 · n · its widest."""
    assert fill_padded(EXAMPLES, 1000) == [[1, 0, 2]]
    assert fill_padded(EXAMPLES, 56) == [[1, 0], [2]]
    assert fill_padded(EXAMPLES, 24) == [[1], [0, 2]]
    assert fill_padded(EXAMPLES, 1) == [[1], [0], [2]]
