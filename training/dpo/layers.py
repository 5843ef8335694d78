"""The layers of Llama's family on the CPU in fewer passes over memory: the same numbers, computed by larger steps.

transformers spells a layer out in some forty small operations, each of which autograd answers with two or three. Here it is five
functions with backward passes of their own, with LoRA's adapters or without: products (products.py), and what is between them
(passes.py, attention_cpu.py). They keep what cannot be made again cheaply: what goes into a norm, and what comes out of the first
products. Under autocast each value is cast once, where its use is.

Used for packed rows alone. Plain rows go by the model's own code, and a run compares the two before its first step.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.mistral.modeling_mistral import MistralDecoderLayer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from training.dpo import passes
from training.dpo.attention import Layout
from training.dpo.attention_cpu import PackAttention, computed_in
from training.dpo.casts import cast, stacked
from training.dpo.products import product

SUMS_IN = (torch.float32, torch.float64)  # what is added up from layer to layer; in bfloat16 norms need a float32 of their own


def speed_up_layers(model: Any) -> None:
    """From now on packed rows go through those layers of `model` that are known by `FewerPasses`."""
    for layer in model.modules():
        if type(layer) in FAST and is_known(layer):
            layer.__class__ = FAST[type(layer)]


def is_known(layer: Any) -> bool:
    """Whether it looks at all that came before, gates by SiLU, and computes with nothing but weights and LoRA's adapters."""
    attention, mlp = layer.self_attn, layer.mlp
    linears = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    window = getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None))
    return all(map(_is_known, linears)) and attention.config.hidden_act == "silu" and window is None


def _is_known(linear: Any) -> bool:
    if type(linear) is nn.Linear:
        return True
    if f"{type(linear).__module__}.{type(linear).__name__}" != "peft.tuners.lora.layer.Linear":  # which takes seconds to import
        return False
    names = linear.active_adapters
    plain = type(linear.base_layer) is nn.Linear and not linear.merged and not linear.fan_in_fan_out and not linear.lora_variant
    if not plain or len(names) != 1 or names[0] not in linear.lora_A:
        return False
    return isinstance(linear.lora_dropout[names[0]], nn.Identity) and linear.lora_B[names[0]].bias is None


class FewerPasses:
    """A layer's own class with another forward pass, (1, T, D) → (1, T, D), for packs on the CPU whose sums are in float32 at
    least; all else goes its own way.
    """

    self_attn: Any
    mlp: Any
    input_layernorm: Any
    post_attention_layernorm: Any

    def forward(self, hidden_states: torch.Tensor, **given: Any) -> torch.Tensor:
        layout: Layout | None = given.get("layout")
        known = hidden_states.device.type == "cpu" and hidden_states.dtype in SUMS_IN
        if layout is None or given["attention_mask"] is not None or not known:
            return super().forward(hidden_states, **given)  # type: ignore[misc]
        compute = computed_in(hidden_states)
        with torch.autocast("cpu", enabled=False):
            return self.of_pack(hidden_states[0], layout, *(each[0] for each in given["position_embeddings"]), compute)[None]

    def of_pack(
        self, x_TD: torch.Tensor, layout: Layout, cos_TD: torch.Tensor, sin_TD: torch.Tensor, compute: torch.dtype
    ) -> torch.Tensor:
        attention, mlp = self.self_attn, self.mlp
        projections = attention.q_proj, attention.k_proj, attention.v_proj
        projected = NormedProducts.of(x_TD, self.input_layernorm, compute, *projections)
        seen = PackAttention.apply(*projected, (cos_TD, sin_TD), layout.pack.spans, attention.head_dim, attention.scaling)
        x_TD = AddedProduct.apply(x_TD, seen, compute, *_parts(attention.o_proj))
        gate_TN, up_TN = NormedProducts.of(x_TD, self.post_attention_layernorm, compute, mlp.gate_proj, mlp.up_proj)
        return AddedGated.apply(x_TD, gate_TN, up_TN, compute, *_parts(mlp.down_proj))


# Norm, attention, sum; norm, gated MLP, sum.
FAMILY = (LlamaDecoderLayer, MistralDecoderLayer, Qwen2DecoderLayer)
FAST = {layer: type(f"Fast{layer.__name__}", (FewerPasses, layer), {}) for layer in FAMILY}


# A linear layer as autograd's functions take it: weight (N, D), bias (N,), LoRA's down (R, D) and up (N, R), and the scale s of
# these: y = a Wᵀ + b + s (a downᵀ) upᵀ (arXiv:2106.09685, equation 3).
Parts = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, float]


def _parts(linear: Any) -> Parts:
    base = linear if type(linear) is nn.Linear else linear.base_layer
    if base is linear or linear.disable_adapters:
        return base.weight, base.bias, None, None, 0.0
    (name,) = linear.active_adapters
    return base.weight, base.bias, linear.lora_A[name].weight, linear.lora_B[name].weight, linear.scaling[name]


def _adapter(parts: Sequence[Any], compute: torch.dtype) -> list[torch.Tensor | None]:
    """Down and up in the arithmetic of the products."""
    return [None if part is None else cast(part, compute) for part in (parts[2], parts[3])]


def _add_terms(made_TN: torch.Tensor, a_TD: torch.Tensor, adapter: Sequence[Any], parts: Sequence[Any]) -> torch.Tensor:
    """Bias and adapter of a linear layer, added in place to its product."""
    down_RD, up_NR = adapter
    if parts[1] is not None:
        made_TN.add_(parts[1])
    if down_RD is not None:
        made_TN.add_(product(product(a_TD, down_RD.t()), up_NR.t()), alpha=parts[4])
    return made_TN


def _low(gradient_TN: torch.Tensor, adapter: Sequence[Any], scale: float) -> torch.Tensor | None:
    """The gradient of a downᵀ, (T, R), where there is an adapter."""
    return None if adapter[1] is None else product(gradient_TN, adapter[1]).mul_(scale)


def _to_parts(
    gradient_TN: torch.Tensor, a_TD: torch.Tensor, adapter: Sequence[Any], low_TR: torch.Tensor | None,
    scale: float, needed: Sequence[bool], to_weight: torch.Tensor | None = None,
) -> list[torch.Tensor | None]:  # fmt: skip
    """The gradients of a linear layer's five parts, in float32 at least, where they are `needed`."""
    exact = torch.promote_types(gradient_TN.dtype, torch.float32)
    if needed[0] and to_weight is None:
        to_weight = product(gradient_TN.t(), a_TD)
    to_bias = gradient_TN.sum(0, dtype=exact) if needed[1] else None
    to_down = product(low_TR.t(), a_TD).to(exact) if low_TR is not None and needed[2] else None
    to_up = product(gradient_TN.t(), product(a_TD, adapter[0].t())).to(exact).mul_(scale) if needed[3] else None
    return [to_weight.to(exact) if to_weight is not None and needed[0] else None, to_bias, to_down, to_up, None]


class NormedProducts(torch.autograd.Function):
    """RMSNorm, then some linear layers: (T, D), (D,) and their parts → (T, N) each."""

    @classmethod
    def of(cls, x_TD: torch.Tensor, norm: Any, compute: torch.dtype, *linears: Any) -> tuple[torch.Tensor, ...]:
        parts = [part for linear in linears for part in _parts(linear)]
        return cls.apply(x_TD, norm.weight, norm.variance_epsilon, compute, *parts)

    @staticmethod
    def forward(
        ctx: Any, x_TD: torch.Tensor, gain_D: torch.Tensor, epsilon: float, compute: torch.dtype, *given: Any
    ) -> tuple[torch.Tensor, ...]:
        normed_TD, rate_T = passes.norm(x_TD, gain_D, epsilon, compute)
        each = [given[start : start + 5] for start in range(0, len(given), 5)]
        stacks, adapters = stacked([parts[0] for parts in each], compute), [_adapter(parts, compute) for parts in each]
        made = [product(normed_TD, stack.t()) for stack in stacks]
        columns = made if len(made) == len(each) else made[0].split([len(parts[0]) for parts in each], dim=1)
        ctx.epsilon, ctx.compute, ctx.scales, ctx.stacks = epsilon, compute, given[4::5], len(stacks)
        ctx.save_for_backward(x_TD, gain_D, rate_T, *stacks, *(part for adapter in adapters for part in adapter))
        return tuple(_add_terms(column, normed_TD, *both) for column, *both in zip(columns, adapters, each, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_TD, gain_D, rate_T, *rest = ctx.saved_tensors
        stacks, adapters = rest[: ctx.stacks], [rest[start : start + 2] for start in range(ctx.stacks, len(rest), 2)]
        needed = [ctx.needs_input_grad[start : start + 5] for start in range(4, len(ctx.needs_input_grad), 5)]
        normed_TD, _ = passes.norm(x_TD, gain_D, ctx.epsilon, ctx.compute)
        slopes = list(gradients)
        if len(stacks) < len(gradients):
            whole = passes.together(gradients)
            slopes = [torch.cat(gradients, dim=1) if whole is None else whole]
        terms = [product(slope, stack) for slope, stack in zip(slopes, stacks, strict=True)]
        lows = [_low(*each) for each in zip(gradients, adapters, ctx.scales, strict=True)]
        terms += [product(low, adapter[0]) for low, adapter in zip(lows, adapters, strict=True) if low is not None]
        to_weights: Sequence[torch.Tensor | None] = [None] * len(gradients)
        if len(stacks) < len(gradients) and any(each[0] for each in needed):
            to_weights = product(slopes[0].t(), normed_TD).split([gradient.shape[1] for gradient in gradients])
        to_given = [
            part
            for gradient, adapter, low, scale, wanted, to_weight in zip(
                gradients, adapters, lows, ctx.scales, needed, to_weights, strict=True
            )
            for part in _to_parts(gradient, normed_TD, adapter, low, scale, wanted, to_weight)
        ]
        to_x, to_gain = passes.norm_back(_sum(terms), x_TD, gain_D, rate_T)
        return to_x, to_gain.to(gain_D.dtype) if ctx.needs_input_grad[1] else None, None, None, *to_given


class AddedProduct(torch.autograd.Function):
    """x + a linear layer of a: (T, N), (T, D) and its parts → (T, N)."""

    @staticmethod
    def forward(ctx: Any, x_TN: torch.Tensor, a_TD: torch.Tensor, compute: torch.dtype, *parts: Any) -> torch.Tensor:
        weight, adapter = cast(parts[0], compute), _adapter(parts, compute)
        ctx.scale = parts[4]
        ctx.save_for_backward(a_TD, weight, *adapter)
        return passes.add(x_TN, _add_terms(product(a_TD, weight.t()), a_TD, adapter, parts))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        a_TD, weight, *adapter = ctx.saved_tensors
        slope = gradients[0].to(a_TD.dtype)
        low = _low(slope, adapter, ctx.scale)
        to_parts = _to_parts(slope, a_TD, adapter, low, ctx.scale, ctx.needs_input_grad[3:])
        return gradients[0], _back(slope, weight, low, adapter), None, *to_parts


class AddedGated(torch.autograd.Function):
    """x + a linear layer of silu(g) ∘ u: (T, N), (T, D), (T, D) and its parts → (T, N)."""

    @staticmethod
    def forward(
        ctx: Any, x_TN: torch.Tensor, gate_TD: torch.Tensor, up_TD: torch.Tensor, compute: torch.dtype, *parts: Any
    ) -> torch.Tensor:
        weight, adapter = cast(parts[0], compute), _adapter(parts, compute)
        ctx.scale = parts[4]
        ctx.save_for_backward(gate_TD, up_TD, weight, *adapter)
        open_TD = passes.gated(gate_TD, up_TD)
        return passes.add(x_TN, _add_terms(product(open_TD, weight.t()), open_TD, adapter, parts))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate_TD, up_TD, weight, *adapter = ctx.saved_tensors
        slope = gradients[0].to(gate_TD.dtype)
        low = _low(slope, adapter, ctx.scale)
        open_TD, to_gate, to_up = passes.gated_back(_back(slope, weight, low, adapter), gate_TD, up_TD)
        to_parts = _to_parts(slope, open_TD, adapter, low, ctx.scale, ctx.needs_input_grad[4:])
        return gradients[0], to_gate, to_up, None, *to_parts


def _back(slope_TN: torch.Tensor, weight: torch.Tensor, low_TR: torch.Tensor | None, adapter: Sequence[Any]) -> torch.Tensor:
    """The gradient of a linear layer's input, in the arithmetic of the products."""
    terms = [product(slope_TN, weight)] + ([] if low_TR is None else [product(low_TR, adapter[0])])
    return _sum(terms).to(slope_TN.dtype)


def _sum(terms: list[torch.Tensor]) -> torch.Tensor:
    """In float32 at least; one term is its own sum."""
    if len(terms) == 1:
        return terms[0]
    total = terms[0].to(torch.promote_types(terms[0].dtype, torch.float32))
    for term in terms[1:]:
        total = total.add_(term)
    return total
