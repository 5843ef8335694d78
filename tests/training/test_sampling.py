"""Sampling: the same completion whoever stands beside it, and the log-probability it really has."""

import math
import shutil
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from training.generation import sampling
from training.generation.sampling import Request, choose_tokens, keep_top_p, sample, score

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def policy(tiny_model) -> sampling.Policy:
    return sampling.load_policy(tiny_model)


def requests(count: int = 7, **changes) -> list[Request]:
    """Prompts of different lengths, so that a batch has padding and rows end at different times."""
    return [
        Request(
            [{"role": "user", "content": "Why is the sky blue? " * (1 + n % 3) + str(n)}],
            **{"seed": n, "max_new_tokens": 6 + 5 * n} | changes,
        )
        for n in range(count)
    ]


def test_alone_in_a_batch_and_in_another_order_it_is_the_same(policy) -> None:
    asked = requests()
    together = sample(policy.model, policy.tokenizer, asked)
    alone = [sample(policy.model, policy.tokenizer, [request])[0] for request in asked]
    backwards = sample(policy.model, policy.tokenizer, asked[::-1], batch_size=3)[::-1]
    assert [s.token_ids for s in together] == [s.token_ids for s in alone] == [s.token_ids for s in backwards]
    assert [s.logprob for s in together] == pytest.approx([s.logprob for s in alone], abs=1e-4)
    assert len({s.token_ids for s in together}) == len(asked)


def test_another_seed_gives_another_completion(policy) -> None:
    first, second = (sample(policy.model, policy.tokenizer, requests(1, seed=seed, max_new_tokens=20))[0] for seed in (1, 2))
    assert first.token_ids != second.token_ids


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.7, "top_p": 0.8}, {"temperature": 0.0}])
def test_the_logprob_is_that_of_the_model_itself(policy, changes) -> None:
    """Whatever was done to draw the tokens: teacher-forced, in one plain forward each."""
    asked = requests(**changes)
    for request, got in zip(asked, sample(policy.model, policy.tokenizer, asked), strict=True):
        prompt = sampling.encode_prompt(policy.tokenizer, request.messages)
        with torch.inference_mode():
            logits = policy.model(torch.tensor([[*prompt, *got.token_ids]])).logits[0, len(prompt) - 1 : -1].float()
        expected = logits.log_softmax(-1).gather(1, torch.tensor(got.token_ids)[:, None]).sum().item()
        assert got.logprob == pytest.approx(expected, abs=1e-4)
        assert score(policy.model, [(prompt, got.token_ids)])[0] == pytest.approx(expected, abs=1e-4)


def test_scores_come_in_the_order_of_the_pairs(policy) -> None:
    pairs = [([5, 6, 7][: 1 + n % 3], list(range(10, 12 + n))) for n in range(7)]
    assert score(policy.model, pairs, batch_size=3) == pytest.approx([score(policy.model, [pair])[0] for pair in pairs], abs=1e-4)


def test_greedy_takes_the_likeliest_token_and_needs_no_seed(policy) -> None:
    one, other = (sample(policy.model, policy.tokenizer, requests(3, temperature=0.0, seed=s)) for s in (1, 2))
    assert [s.token_ids for s in one] == [s.token_ids for s in other]


def test_it_ends_at_the_end_of_turn_or_at_the_limit(policy) -> None:
    answers = sample(policy.model, policy.tokenizer, requests(32, max_new_tokens=60))
    end = policy.tokenizer.eos_token_id
    ended = [a for a in answers if a.finish_reason == "stop"]
    cut = [a for a in answers if a.finish_reason == "length"]
    assert ended and cut and len(ended) + len(cut) == 32
    assert all(a.token_ids[-1] == end and end not in a.token_ids[:-1] for a in ended)
    assert all(a.token_count == 60 and end not in a.token_ids for a in cut)
    assert not any("<|im_end|>" in a.text for a in answers)


def test_a_prompt_that_is_too_long_says_so_and_stops_nothing(policy) -> None:
    long = Request([{"role": "user", "content": "word " * 600}])
    first, refused, last = sample(policy.model, policy.tokenizer, [*requests(1), long, *requests(1)])
    assert "512" in refused.error and "Shorten" in refused.error and not refused.token_ids
    assert first == last and not first.error


def test_an_answer_never_grows_past_the_context(policy) -> None:
    words = "w" * 480
    room = 512 - len(sampling.encode_prompt(policy.tokenizer, [{"role": "user", "content": words}]))
    assert 0 < room < 60
    answers = sample(policy.model, policy.tokenizer, [Request([{"role": "user", "content": words}], seed=s) for s in range(4)])
    assert max(a.token_count for a in answers) <= room


def test_a_template_that_refuses_a_prompt_says_so(policy, monkeypatch) -> None:
    monkeypatch.setattr(policy.tokenizer, "chat_template", "{{ raise_exception('System role not supported') }}")
    (refused,) = sample(policy.model, policy.tokenizer, requests(1))
    assert "System role not supported" in refused.error


def test_an_answer_holds_nothing_that_no_database_takes(policy, monkeypatch) -> None:
    monkeypatch.setattr(policy.tokenizer, "decode", lambda *args, **options: "a\0b")
    assert sample(policy.model, policy.tokenizer, requests(1))[0].text == "ab"


def test_draws_follow_the_distribution() -> None:
    """20,000 draws from (0.6, 0.3, 0.1): each share within four standard errors."""
    probs = torch.tensor([0.6, 0.3, 0.1])
    rows = 20_000
    generators = [torch.Generator().manual_seed(seed) for seed in range(rows)]
    drawn = choose_tokens(probs.log().expand(rows, 3).clone(), [Request([])] * rows, generators)
    shares = torch.bincount(drawn, minlength=3) / rows
    for share, p in zip(shares.tolist(), probs.tolist(), strict=True):
        assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / rows)


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    probs = torch.tensor([[0.2, 0.5, 0.3]] * 3)
    kept = keep_top_p(probs, torch.tensor([0.5, 0.7, 1.0]))
    assert kept.tolist() == [pytest.approx(row) for row in ([0, 0.5, 0], [0, 0.5, 0.3], [0.2, 0.5, 0.3])]


def test_two_models_are_kept_in_memory_at_most(tmp_path: Path, tiny_model, monkeypatch) -> None:
    monkeypatch.setattr(sampling, "_loaded", OrderedDict())
    one, two, three = (shutil.copytree(tiny_model, tmp_path / name) for name in ("one", "two", "three"))
    first = sampling.load_policy(one)
    assert sampling.load_policy(one) is first
    sampling.load_policy(two)
    assert sampling.load_policy(one) is first
    sampling.load_policy(three)  # two was used longest ago
    assert sampling.load_policy(one) is first and len(sampling._loaded) == 2
    sampling.forget_policies()
    assert not sampling._loaded


def test_precision_is_chosen_with_a_reason(monkeypatch) -> None:
    monkeypatch.setattr(sampling, "has_bfloat16", lambda device: False)
    cpu = torch.device("cpu")
    assert sampling.choose_dtype("bfloat16", cpu)[0] == "float32"
    monkeypatch.setattr(sampling, "has_bfloat16", lambda device: True)
    assert sampling.choose_dtype("bfloat16", cpu)[0] == "bfloat16"
    assert sampling.choose_dtype("float32", cpu)[0] == "float32"


def test_a_directory_without_a_model_is_a_clear_error(tmp_path) -> None:
    with pytest.raises(sampling.ModelError, match=r"config\.json"):
        sampling.load_policy(tmp_path)
