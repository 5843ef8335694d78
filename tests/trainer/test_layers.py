"""Layers in fewer passes over memory: the model's own numbers and gradients, and nothing but packs goes through them."""

import copy
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from training.dpo import attention_cpu, kernels, products
from training.dpo.attention_cpu import Block, PackAttention, blocks_of
from training.dpo.config import Config
from training.dpo.layers import AddedGated, AddedProduct, FewerPasses, NormedProducts, speed_up_layers
from training.dpo.logprobs import ForwardPath, Precision, Scorer
from training.dpo.lora import adapters_off, with_adapters
from training.dpo.packing import Span
from training.dpo.products import product

from .test_packing import MIXED, SMALL, exact_norms
from .test_training import Build

CPU = torch.device("cpu")
PACKED = ForwardPath(packed=True, budget=10_000)
FAMILIES = {
    "llama": LlamaConfig(**SMALL),
    "llama with biases": LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "mistral": MistralConfig(**SMALL, sliding_window=None),
    "qwen2": Qwen2Config(**SMALL),
}


def made(config: Any) -> Any:
    """Random, with biases and gains that are not the zeros and ones they start from."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model


def known(model: Any) -> list[FewerPasses]:
    return [module for module in model.modules() if isinstance(module, FewerPasses)]


def scores_and_gradients(model: Any, precision: Precision) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    scores_N2 = Scorer(model, precision, PACKED).logprobs(MIXED)
    torch.nn.functional.softplus(scores_N2[:, 1] - scores_N2[:, 0]).sum().backward()
    return scores_N2.detach(), torch.cat([each.grad.flatten() for each in model.parameters() if each.requires_grad])


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_models_own_numbers_and_gradients(family: str) -> None:
    model = exact_norms(made(FAMILIES[family]).double())
    own_N2, own_gradients = scores_and_gradients(model, Precision(CPU, torch.float64))
    speed_up_layers(model)
    assert len(known(model)) == SMALL["num_hidden_layers"]
    fast_N2, fast_gradients = scores_and_gradients(model, Precision(CPU, torch.float64))
    assert (fast_N2 - own_N2).abs().max() < 1e-10
    assert difference(fast_gradients, own_gradients) < 1e-10


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's own call
@pytest.mark.parametrize("targets", ["all-linear", "q_proj, down_proj"])
def test_adapters_are_known(targets: str, config: Build) -> None:
    settings = Config.from_dict(config(lora_rank=3, lora_alpha=5.0, lora_targets=targets))
    model = with_adapters(exact_norms(made(FAMILIES["llama with biases"])), settings).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, dtype=parameter.dtype)  # up starts as 0
    exact = Precision(CPU, torch.float64)
    with adapters_off(model), torch.no_grad():
        without_N2 = Scorer(model, exact, PACKED).logprobs(MIXED)
    own_N2, own_gradients = scores_and_gradients(model, exact)
    speed_up_layers(model)
    assert len(known(model)) == SMALL["num_hidden_layers"]
    fast_N2, fast_gradients = scores_and_gradients(model, exact)
    assert (fast_N2 - own_N2).abs().max() < 1e-10 and difference(fast_gradients, own_gradients) < 1e-10
    with adapters_off(model), torch.no_grad():
        assert (Scorer(model, exact, PACKED).logprobs(MIXED) - without_N2).abs().max() < 1e-10
    assert (fast_N2 - without_N2).abs().max() > 0.1


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_weight_decomposed_adapters_are_not(config: Build) -> None:
    model = with_adapters(made(FAMILIES["llama"]), Config.from_dict(config(lora_rank=3, dora=True)))
    speed_up_layers(model)
    assert not known(model)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_in_float32(family: str, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As near to the truth as the model's own code is."""
    if not compiled:
        monkeypatch.setattr(kernels, "have", lambda compute: False)
    model = made(FAMILIES[family])
    own_N2, own_gradients = scores_and_gradients(model, Precision(CPU, torch.float32))
    speed_up_layers(model)
    fast_N2, fast_gradients = scores_and_gradients(model, Precision(CPU, torch.float32))
    assert (fast_N2 - own_N2).abs().max() < 1e-3 and difference(fast_gradients, own_gradients) < 1e-5


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("family", ["llama", "llama with biases"])
def test_under_autocast_it_is_no_further_from_the_truth_than_the_models_own_code(
    family: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(kernels, "have", lambda compute: False)
    model = made(FAMILIES[family])
    true_N2, true_gradients = scores_and_gradients(model, Precision(CPU, torch.float32))
    own_N2, own_gradients = scores_and_gradients(model, Precision(CPU, torch.bfloat16))
    speed_up_layers(model)
    fast_N2, fast_gradients = scores_and_gradients(model, Precision(CPU, torch.bfloat16))
    assert fast_N2.dtype == torch.float32 and not torch.equal(fast_N2, true_N2)
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())
    assert difference(fast_N2, true_N2) < 2 * difference(own_N2, true_N2)
    assert difference(fast_gradients, true_gradients) < 2 * difference(own_gradients, true_gradients)


def test_frozen_weights_get_no_gradient() -> None:
    model = made(FAMILIES["llama with biases"])
    speed_up_layers(model)
    first, second = model.model.layers
    for parameter in first.parameters():
        parameter.requires_grad_(False)
    second.mlp.down_proj.weight.requires_grad_(False)
    second.self_attn.q_proj.bias.requires_grad_(False)
    Scorer(model, Precision(CPU, torch.float32), PACKED).logprobs(MIXED).sum().backward()
    assert all(parameter.grad is None for parameter in first.parameters())
    assert second.mlp.down_proj.weight.grad is None and second.self_attn.q_proj.bias.grad is None
    assert second.mlp.up_proj.weight.grad.any() and model.get_input_embeddings().weight.grad.any()


def test_what_is_not_known_stays_as_it_is() -> None:
    """Layers with a norm of queries, with a window, with something else in the place of a product, with another gate."""
    windowed = made(MistralConfig(**SMALL, sliding_window=8))
    other = made(FAMILIES["llama"])
    for layer in other.model.layers:
        layer.self_attn.q_proj = torch.nn.Sequential(layer.self_attn.q_proj)
    for model in (made(Qwen3Config(**SMALL, head_dim=8)), windowed, other, made(LlamaConfig(**SMALL, hidden_act="gelu"))):
        speed_up_layers(model)
        assert not known(model)


def test_rows_that_are_no_pack_go_by_the_models_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(FAMILIES["llama"])
    ids = torch.tensor([[5, 6, 7, 8]])
    expected, rough_N2 = model(input_ids=ids).logits, served_in_bfloat16(model)
    speed_up_layers(model)
    monkeypatch.setattr(FewerPasses, "of_pack", lambda *a: pytest.fail("not a pack"))
    assert torch.equal(model(input_ids=ids).logits, expected)
    assert torch.equal(served_in_bfloat16(model), rough_N2)
    assert model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0).shape == (1, 7)


def served_in_bfloat16(model: Any) -> torch.Tensor:
    """Scores of a pack under rounded weights, with sums in bfloat16 throughout."""
    return Scorer(copy.deepcopy(model).bfloat16(), Precision(CPU, torch.float32), PACKED).score(MIXED)


def test_each_function_has_the_gradient_of_what_it_computes() -> None:
    torch.manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    compute = torch.float64
    x, gain, first, second = random(5, 6), random(6), random(4, 6), random(3, 6)
    biases = random(4), random(3)
    check = torch.autograd.gradcheck
    plain, adapted = (first, biases[0], None, None), (second, None, random(2, 6), random(3, 2))

    def normed(*given: Any) -> Any:
        return NormedProducts.apply(*given[:2], 1e-5, compute, *given[2:6], 0.0, *given[6:], 0.7)

    assert check(normed, (x, gain, *plain, *adapted))
    last = random(6, 4), random(6), random(2, 4), random(6, 2)
    for parts in (last, (*last[:2], None, None)):
        assert check(lambda *given: AddedProduct.apply(*given[:2], compute, *given[2:], 0.7), (x, random(5, 4), *parts))
        gated = x, random(5, 4), random(5, 4)
        assert check(lambda *given: AddedGated.apply(*given[:3], compute, *given[3:], 0.7), (*gated, *parts))
    angles = torch.randn(7, 8, dtype=torch.float64)  # whose halves differ, which no model's do
    heads = random(7, 32), random(7, 16), random(7, 16)
    rest = (Span(0, 3, 2, 2),), 8, None
    assert check(lambda *given: PackAttention.apply(*given, (angles.cos(), angles.sin()), *rest), heads)
    assert check(lambda *given: PackAttention.apply(*given, None, *rest), heads)


def test_blocks_of_a_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    assert blocks_of((Span(0, 3, 2, 2), Span(7, 1, 1, 0))) == [
        Block(slice(0, 5), (slice(0, 5),)),
        Block(slice(5, 7), (slice(0, 3), slice(5, 7))),
        Block(slice(7, 9), (slice(7, 9),)),
    ]
    monkeypatch.setattr(attention_cpu, "BLOCK", 2)
    assert blocks_of.__wrapped__((Span(0, 3, 1, 3),)) == [
        Block(slice(0, 2), (slice(0, 2),)),
        Block(slice(2, 4), (slice(0, 4),)),
        Block(slice(4, 6), (slice(0, 3), slice(4, 6))),
        Block(slice(6, 7), (slice(0, 3), slice(4, 7))),
    ]


def blocks_of_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_cpu, "BLOCK", size)
    attention_cpu._later.cache_clear()
    attention_cpu.blocks_of.cache_clear()


def test_long_rows_in_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(lambda: blocks_of_size(256, monkeypatch))
    model = exact_norms(made(FAMILIES["llama"]).double())
    speed_up_layers(model)
    blocks_of_size(4, monkeypatch)
    cut_N2, cut_gradients = scores_and_gradients(model, Precision(CPU, torch.float64))
    blocks_of_size(256, monkeypatch)
    whole_N2, whole_gradients = scores_and_gradients(model, Precision(CPU, torch.float64))
    assert (cut_N2 - whole_N2).abs().max() < 1e-10 and difference(cut_gradients, whole_gradients) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_products_of_any_views(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    wide, tall = torch.randn(20, 12).to(dtype), torch.randn(12, 14).to(dtype)
    close = {"atol": 1e-5 if dtype != torch.bfloat16 else 0.1, "rtol": 1e-5 if dtype != torch.bfloat16 else 0.02}
    gaps = [(wide[::2], tall), (wide[:, ::2], tall[::2]), (wide[:1], tall[:, :1])]
    for left, right in [(wide, tall), (tall.t(), wide.t()), *gaps]:
        expected = left.double() @ right.double()
        found = product(left, right)
        assert found.dtype == dtype and torch.allclose(found.double(), expected, **close)
    batch = torch.stack([wide, wide.flip(0)])
    both = products.products(batch, tall.expand(2, -1, -1))
    assert torch.allclose(both[1].double(), batch[1].double() @ tall.double(), **close)


def test_a_version_that_is_loaded_to_be_trained_has_fast_layers(tiny_model_dir: Path) -> None:
    from training.dpo.model import load_model

    assert len(known(load_model(tiny_model_dir, CPU))) == 2


def test_a_model_that_is_no_longer_used_is_gone_at_once(tiny_model_dir: Path) -> None:
    """Not when Python next looks for cycles: after a run several versions are loaded one after the other."""
    from training.dpo.model import load_model

    gc.disable()
    try:
        weights = weakref.ref(load_model(tiny_model_dir, CPU).model.layers[0].mlp.up_proj.weight)
        assert weights() is None
    finally:
        gc.enable()
