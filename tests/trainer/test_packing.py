"""The packed path: which token lies where, what it may see, and that it changes no number."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, MistralConfig, Qwen2Config, Qwen3Config

from training.dpo import attention_cpu, head
from training.dpo.attention import block_mask
from training.dpo.head import tiled_logprobs
from training.dpo.logprobs import AGREEMENT, ForwardPath, Precision, Scorer, attend_with, choose_path, token_logprobs
from training.dpo.model import load_model
from training.dpo.packing import Pack, fill_packs, make_pack, packed_length
from training.dpo.tokens import Example

CPU = torch.device("cpu")
PACKED, PLAIN = ForwardPath(packed=True, budget=10_000), ForwardPath(packed=False, budget=100_000)
SHORT = [
    Example(1, "a", (10, 11, 12), (20, 21, 2), (30, 2), 1.0, 0.0),
    Example(2, "b", (13, 14), (2,), (40, 41, 42, 2), 1.0, 0.0),
]


def example(number: int, prompt: int, chosen: int, rejected: int) -> Example:
    generator = torch.Generator().manual_seed(number)
    parts = [tuple(torch.randint(3, 300, (size,), generator=generator).tolist()) for size in (prompt, chosen, rejected)]
    return Example(number, number, *parts, 1.0, 0.0)


MIXED = [example(number, *sizes) for number, sizes in enumerate([(9, 5, 7), (1, 1, 30), (60, 1, 1), (3, 40, 2), (17, 8, 8)])]


@pytest.fixture
def model(tiny_model_dir: Path) -> Any:
    """Perturbed, so that nothing agrees by being the start; in float64, so that agreement means equality."""
    model = load_model(tiny_model_dir, CPU).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return exact_norms(model)


def test_where_tokens_lie() -> None:
    pack = make_pack(SHORT, CPU)
    assert pack.input_ids_T.tolist() == [10, 11, 12, 20, 21, 30, 13, 14, 40, 41, 42]
    assert pack.position_ids_T.tolist() == [0, 1, 2, 3, 4, 3, 0, 1, 2, 3, 4]
    assert pack.predictors_S.tolist() == [2, 3, 4, 2, 5, 7, 7, 8, 9, 10]
    assert pack.targets_S.tolist() == [20, 21, 2, 30, 2, 2, 40, 41, 42, 2]
    assert pack.answers_S.tolist() == [0, 0, 0, 1, 1, 2, 3, 3, 3, 3]
    assert pack.tokens == sum(packed_length(example) for example in SHORT) == 11


def test_an_answer_that_is_not_there_takes_no_place() -> None:
    alone = [replace(SHORT[0], rejected=()), replace(SHORT[1], chosen=()), SHORT[0]]
    pack = make_pack(alone, CPU)
    assert pack.input_ids_T.tolist() == [10, 11, 12, 20, 21, 13, 14, 40, 41, 42, 10, 11, 12, 20, 21, 30]
    assert pack.predictors_S.tolist() == [2, 3, 4, 6, 7, 8, 9, 12, 13, 14, 12, 15]
    assert pack.answers_S.tolist() == [0, 0, 0, 3, 3, 3, 3, 4, 4, 4, 5, 5]
    assert [packed_length(example) for example in alone] == [5, 5, 6]


def test_single_answers_score_as_in_their_pairs(model: Any) -> None:
    precision = Precision(CPU, torch.float64)
    alone = [replace(each, **{side: ()}) for each in MIXED for side in ("chosen", "rejected")]
    for path in (PACKED, PLAIN, replace(PLAIN, budget=1)):
        scores_N2, alone_N2 = Scorer(model, precision, path).score(MIXED), Scorer(model, precision, path).score(alone)
        assert torch.allclose(alone_N2[::2, 1], scores_N2[:, 1], atol=1e-4)
        assert torch.allclose(alone_N2[1::2, 0], scores_N2[:, 0], atol=1e-4)
        assert not alone_N2[::2, 0].any() and not alone_N2[1::2, 1].any()


def test_packs_are_filled_first_fit_decreasing() -> None:
    assert fill_packs([5, 3, 4, 2], 7) == [[0, 3], [2, 1]]
    assert fill_packs([5, 3, 4, 2], 1) == [[0], [2], [1], [3]]
    assert fill_packs([], 7) == []


def test_who_sees_whom() -> None:
    """The GPU's block mask and the CPU's calls against the rule, token by token."""
    pack = make_pack(SHORT, CPU)
    owner = [(0, "x")] * 3 + [(0, "w")] * 2 + [(0, "l")] + [(1, "x")] * 2 + [(1, "l")] * 3

    def may(query: int, key: int) -> bool:
        (pair, part), (other, its) = owner[query], owner[key]
        return key <= query and pair == other and its in ("x", part)

    expected = torch.tensor([[may(query, key) for key in range(11)] for query in range(11)])
    mask = block_mask(pack)
    seen = torch.tensor([[bool(mask.mask_mod(0, 0, torch.tensor(q), torch.tensor(k))) for k in range(11)] for q in range(11)])
    assert torch.equal(seen, expected)
    ours, theirs = made_heads(pack), made_heads(pack)
    by_calls = attention_cpu.attend(*ours, pack.spans, None)
    by_mask = F.scaled_dot_product_attention(*theirs, attn_mask=expected, enable_gqa=True).transpose(1, 2)
    assert torch.allclose(by_calls, by_mask, atol=1e-12)
    slope = torch.randn(by_mask.shape, dtype=torch.float64)
    by_calls.backward(slope)
    by_mask.backward(slope)
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None and other.grad is not None and torch.allclose(one.grad, other.grad, atol=1e-12)


def made_heads(pack: Pack) -> list[torch.Tensor]:
    """Four query heads and two key and value heads, laid out as a model's projections give them. The same each time."""
    torch.manual_seed(0)
    return [torch.randn(1, pack.tokens, heads, 8, dtype=torch.float64).transpose(1, 2).requires_grad_() for heads in (4, 2, 2)]


def test_attention_under_autocast_is_in_one_arithmetic() -> None:
    """Query and key may come in float32 (from a norm of their own) where the value is in bfloat16 already."""
    pack = make_pack(MIXED, CPU)
    query, key, value = made_heads(pack)
    exact = attention_cpu.attend(query, key, value, pack.spans, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = attention_cpu.attend(query.float(), key.float(), value.bfloat16(), pack.spans, None)
    assert rough.dtype == torch.bfloat16 and torch.allclose(rough.double(), exact, atol=0.02)


def test_packed_equals_plain_to_the_last_digits(model: Any) -> None:
    exact = Precision(CPU, torch.float64)
    packed = Scorer(model, exact, PACKED).logprobs(MIXED)
    plain = slow_logprobs(model, MIXED)
    assert packed.dtype == torch.float64 and (packed - plain).abs().max() < 1e-10


def test_gradients_are_the_same(model: Any) -> None:
    exact = Precision(CPU, torch.float64)
    weights_N2 = torch.tensor([[1.0, -2.0], [0.5, 0.3], [-1.0, 1.0], [2.0, 0.1], [0.0, -0.7]], dtype=torch.float64)
    gradients = []
    for scores in (Scorer(model, exact, PACKED).logprobs(MIXED), slow_logprobs(model, MIXED)):
        model.zero_grad(set_to_none=True)
        (scores * weights_N2).sum().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert (gradients[0] - gradients[1]).norm() < 1e-6 * gradients[1].norm()  # the norms' own arithmetic is float32


def test_other_pairs_in_the_pack_change_nothing(model: Any) -> None:
    exact = Precision(CPU, torch.float64)
    together = Scorer(model, exact, PACKED).score(MIXED)
    alone = torch.cat([Scorer(model, exact, PACKED).score([each]) for each in MIXED])
    assert torch.allclose(together, alone, atol=1e-5)


def slow_logprobs(model: Any, examples: list[Example]) -> torch.Tensor:
    """Row by row, without padding, mask or tricks."""
    attend_with(model)
    rows = []
    for example in examples:
        for answer in (example.chosen, example.rejected):
            table = model(input_ids=torch.tensor([example.prompt + answer])).logits[0].log_softmax(-1)
            places = torch.arange(len(answer)) + len(example.prompt) - 1
            rows.append(table[places, torch.tensor(answer)].sum())
    return torch.stack(rows).view(-1, 2)


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_tiled_head_against_the_whole(with_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "TILE", 3)
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 11, bias=with_bias, dtype=torch.float64)
    hidden = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 11, (8,))
    bias = [layer.bias] if with_bias else []

    def scores(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return head.TiledLogprobs.apply(hidden, weight, bias, targets, torch.float64)

    assert torch.autograd.gradcheck(scores, (hidden, layer.weight, *bias))
    frozen = [each.detach() for each in (layer.weight, *bias)]
    assert torch.autograd.gradcheck(lambda hidden: scores(hidden, *frozen), (hidden,))
    whole = layer(hidden).log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    assert torch.allclose(tiled_logprobs(layer, hidden, targets, torch.float64), whole, atol=1e-12)


def test_the_heads_sum_over_the_vocabulary_is_in_float32() -> None:
    """In bfloat16 the sum over 60,000 equal logits would be far off log(60,000)."""
    layer = torch.nn.Linear(2, 60_000, bias=False)
    torch.nn.init.zeros_(layer.weight)
    found = tiled_logprobs(layer, torch.ones(1, 2), torch.tensor([7]), torch.bfloat16)
    assert found.dtype == torch.float32 and found.item() == pytest.approx(-11.0021, abs=1e-3)
    assert token_logprobs(torch.zeros(1, 60_000), torch.tensor([7])).item() == pytest.approx(found.item(), abs=1e-3)


SMALL = dict(
    vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=512,
)  # fmt: skip


def exact_norms(model: Any) -> Any:
    """The norms of Llama's family in the arithmetic of what they are given; as they come, they compute in float32 in any case."""

    def norm(module: Any, hidden: torch.Tensor) -> torch.Tensor:
        return module.weight * hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + module.variance_epsilon)

    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(norm, module)
    return model


def made(config: Any) -> Any:
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


@pytest.mark.parametrize(
    "config", [Qwen2Config(**SMALL), Qwen3Config(**SMALL, head_dim=8), MistralConfig(**SMALL, sliding_window=None)]
)
def test_families_that_take_packed_rows(config: Any) -> None:
    path, reason = choose_path(made(config), MIXED, CPU, 100)
    assert path == ForwardPath(packed=True, budget=100) and "agrees" in reason


def test_a_sliding_window_takes_the_plain_path() -> None:
    path, reason = choose_path(made(MistralConfig(**SMALL, sliding_window=8)), MIXED, CPU, 100)
    assert not path.packed and "sliding_window" in reason


def test_a_model_that_gives_other_numbers_takes_the_plain_path(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = attention_cpu.PackAttention.apply
    monkeypatch.setattr(attention_cpu.PackAttention, "apply", lambda *a: real(*a) * 1.001)
    path, reason = choose_path(model.float(), MIXED, CPU, 100)
    assert not path.packed and "differ by" in reason
    assert AGREEMENT == 1e-4


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_gives_the_same(model: Any) -> None:
    """What a GPU runs, here without compiling."""
    from torch.nn.attention.flex_attention import flex_attention

    pack = make_pack(MIXED, CPU)
    query, key, value = (each.detach().float() for each in made_heads(pack))
    by_pair = attention_cpu.attend(query, key, value, pack.spans, None)
    by_blocks = flex_attention(query, key, value, block_mask=block_mask(pack), enable_gqa=True)
    assert torch.allclose(by_pair.transpose(1, 2), by_blocks, atol=1e-5)
