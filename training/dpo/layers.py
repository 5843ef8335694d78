"""The layers of Llama's family on the CPU in fewer passes over memory: the same numbers, computed by larger steps.

transformers spells a layer out in some forty small operations, each of which autograd answers with two or three. Here it is six
functions with backward passes of their own, with LoRA's adapters or without. They keep what cannot be made again cheaply: what
goes into a norm, and what comes out of the first products. Under autocast each value is cast once, where its use is.

Used for packed rows alone. Plain rows go by the model's own code, and a run compares the two before its first step.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.mistral.modeling_mistral import MistralDecoderLayer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from training.dpo.attention import Layout
from training.dpo.attention_cpu import PackAttention, computed_in
from training.dpo.casts import cast
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
        query, key, value = (each.unflatten(1, (-1, attention.head_dim)).transpose(0, 1)[None] for each in projected)
        query, key = Rotated.apply(query, cos_TD, sin_TD), Rotated.apply(key, cos_TD, sin_TD)
        seen = PackAttention.apply(query, key, value, layout.blocks, attention.scaling, compute)
        x_TD = AddedProduct.apply(x_TD, seen[0].flatten(1), compute, *_parts(attention.o_proj))
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


def _rough(parts: Sequence[Any], compute: torch.dtype) -> list[torch.Tensor | None]:
    """Weight, down and up in the arithmetic of the products: what the backward pass needs of them."""
    return [None if part is None else cast(part, compute) for part in (parts[0], parts[2], parts[3])]


def _linear(a_TD: torch.Tensor, rough: Sequence[Any], parts: Sequence[Any]) -> torch.Tensor:
    weight_ND, down_RD, up_NR = rough
    made_TN = product(a_TD, weight_ND.t())
    if parts[1] is not None:
        made_TN.add_(parts[1])
    if down_RD is not None:
        made_TN.add_(product(product(a_TD, down_RD.t()), up_NR.t()), alpha=parts[4])
    return made_TN


def _back(
    gradient_TN: torch.Tensor, a_TD: torch.Tensor, rough: Sequence[Any], scale: float, needed: Sequence[bool]
) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
    """Terms of a's gradient, in the arithmetic of the products, and the gradients of a linear layer's five parts, in float32 at
    least, where they are `needed`.
    """
    weight_ND, down_RD, up_NR = rough
    exact = torch.promote_types(gradient_TN.dtype, torch.float32)
    terms, low_TR = [product(gradient_TN, weight_ND)], None
    if down_RD is not None:
        low_TR = product(gradient_TN, up_NR).mul_(scale)
        terms.append(product(low_TR, down_RD))
    to_weight = product(gradient_TN.t(), a_TD).to(exact) if needed[0] else None
    to_bias = gradient_TN.sum(0, dtype=exact) if needed[1] else None
    to_down = product(low_TR.t(), a_TD).to(exact) if low_TR is not None and needed[2] else None
    to_up = product(gradient_TN.t(), product(a_TD, down_RD.t())).to(exact).mul_(scale) if needed[3] else None
    return terms, [to_weight, to_bias, to_down, to_up, None]


class NormedProducts(torch.autograd.Function):
    """RMSNorm (arXiv:1910.07467, equation 4), then some linear layers: (T, D), (D,) and their parts → (T, N) each.

    With r = 1 / √(mean(x²) + ε), n = r x and g the gradient of n: dx = r (g − n · mean(g ∘ n)).
    """

    @classmethod
    def of(cls, x_TD: torch.Tensor, norm: Any, compute: torch.dtype, *linears: Any) -> tuple[torch.Tensor, ...]:
        parts = [part for linear in linears for part in _parts(linear)]
        return cls.apply(x_TD, norm.weight, norm.variance_epsilon, compute, *parts)

    @staticmethod
    def forward(
        ctx: Any, x_TD: torch.Tensor, gain_D: torch.Tensor, epsilon: float, compute: torch.dtype, *given: Any
    ) -> tuple[torch.Tensor, ...]:
        rate_T1 = torch.linalg.vector_norm(x_TD, dim=1, keepdim=True).square_().div_(x_TD.shape[1]).add_(epsilon).rsqrt_()
        normed_TD = (x_TD * rate_T1).mul_(gain_D).to(compute)
        each = [given[start : start + 5] for start in range(0, len(given), 5)]
        rough = [_rough(parts, compute) for parts in each]
        ctx.compute, ctx.scales = compute, given[4::5]
        ctx.save_for_backward(x_TD, gain_D, rate_T1, *(part for parts in rough for part in parts))
        return tuple(_linear(normed_TD, *both) for both in zip(rough, each, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_TD, gain_D, rate_T1, *rough = ctx.saved_tensors
        unit_TD = x_TD * rate_T1
        normed_TD = (unit_TD * gain_D).to(ctx.compute)
        terms, to_given = [], []
        for place, (gradient, scale) in enumerate(zip(gradients, ctx.scales, strict=True)):
            needed = ctx.needs_input_grad[4 + 5 * place : 9 + 5 * place]
            more, to_parts = _back(gradient, normed_TD, rough[3 * place : 3 * place + 3], scale, needed)
            terms += more
            to_given += to_parts
        to_normed = _sum(terms)
        to_gain = (unit_TD * to_normed).sum(0) if ctx.needs_input_grad[1] else None
        to_unit = to_normed * gain_D
        mean_T1 = torch.linalg.vecdot(to_unit, unit_TD)[:, None].div_(x_TD.shape[1])
        return to_unit.addcmul_(unit_TD, mean_T1, value=-1).mul_(rate_T1), to_gain, None, None, *to_given


class Rotated(torch.autograd.Function):
    """Rotary position embedding in halves (arXiv:2104.09864, equation 34): (1, H, T, D), (T, D), (T, D) → (1, H, T, D) in
    float32 at least. With halves a and b: (a cos − b sin, b cos + a sin).
    """

    @staticmethod
    def forward(ctx: Any, heads: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor) -> torch.Tensor:
        ctx.dtype = heads.dtype
        ctx.save_for_backward(cos_TD, sin_TD)
        return _rotate(heads, cos_TD, sin_TD)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cos_TD, sin_TD = ctx.saved_tensors
        return _rotate(gradients[0], cos_TD, -sin_TD.roll(sin_TD.shape[1] // 2, dims=1)).to(ctx.dtype), None, None


class AddedProduct(torch.autograd.Function):
    """x + a linear layer of a: (T, N), (T, D) and its parts → (T, N)."""

    @staticmethod
    def forward(ctx: Any, x_TN: torch.Tensor, a_TD: torch.Tensor, compute: torch.dtype, *parts: Any) -> torch.Tensor:
        a, rough = a_TD.to(compute), _rough(parts, compute)
        ctx.dtype, ctx.scale = a_TD.dtype, parts[4]
        ctx.save_for_backward(a, *rough)
        return x_TN + _linear(a, rough, parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        a, *rough = ctx.saved_tensors
        terms, to_parts = _back(gradients[0].to(a.dtype), a, rough, ctx.scale, ctx.needs_input_grad[3:])
        return gradients[0], _sum(terms).to(ctx.dtype), None, *to_parts


class AddedGated(torch.autograd.Function):
    """x + a linear layer of silu(g) ∘ u (SwiGLU, arXiv:2002.05202, equation 6): (T, N), (T, D), (T, D) and its parts → (T, N)."""

    @staticmethod
    def forward(
        ctx: Any, x_TN: torch.Tensor, gate_TD: torch.Tensor, up_TD: torch.Tensor, compute: torch.dtype, *parts: Any
    ) -> torch.Tensor:
        rough, ctx.scale = _rough(parts, compute), parts[4]
        ctx.save_for_backward(gate_TD, up_TD, *rough)
        return x_TN + _linear(F.silu(gate_TD).mul_(up_TD), rough, parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate_TD, up_TD, *rough = ctx.saved_tensors
        open_TD = F.silu(gate_TD)
        terms, to_parts = _back(gradients[0].to(gate_TD.dtype), open_TD * up_TD, rough, ctx.scale, ctx.needs_input_grad[4:])
        to_product = terms[0] if len(terms) == 1 else _sum(terms).to(gate_TD.dtype)
        to_gate = torch.ops.aten.silu_backward(to_product * up_TD, gate_TD)
        return gradients[0], to_gate, to_product.mul_(open_TD), None, *to_parts


def _rotate(heads: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor) -> torch.Tensor:
    half = heads.shape[-1] // 2
    a, b, heads = heads[..., :half], heads[..., half:], heads.to(torch.promote_types(heads.dtype, cos_TD.dtype))
    rotated = torch.empty_like(heads, memory_format=torch.contiguous_format)
    torch.mul(a, cos_TD[:, :half], out=rotated[..., :half]).addcmul_(b, sin_TD[:, :half], value=-1)
    torch.mul(b, cos_TD[:, half:], out=rotated[..., half:]).addcmul_(a, sin_TD[:, half:])
    return rotated


def _sum(terms: list[torch.Tensor]) -> torch.Tensor:
    """In float32 at least."""
    total = terms[0].to(torch.promote_types(terms[0].dtype, torch.float32))
    for term in terms[1:]:
        total = total.add_(term)
    return total
