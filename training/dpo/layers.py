"""The layers of Llama's family on the CPU in fewer passes over memory: the same numbers, computed by larger steps.

transformers spells a layer out in some forty small operations, each of which autograd answers with two or three. Here it is six
functions with backward passes of their own, which keep what cannot be made again cheaply: what goes into a norm, and what comes
out of the first products. Under autocast each value is cast once, where its use is.

Used for packed rows alone. Plain rows go by the model's own code, and a run compares the two before its first step.
"""

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


def speed_up_layers(model: Any) -> None:
    """From now on packed rows go through those layers of `model` that are known by `FewerPasses`."""
    for layer in model.modules():
        if type(layer) in FAST and is_plain(layer):
            layer.__class__ = FAST[type(layer)]


def is_plain(layer: Any) -> bool:
    """Whether it looks at all that came before, gates by SiLU, and computes with nothing but its own weights (no adapters)."""
    attention, mlp = layer.self_attn, layer.mlp
    linears = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    window = getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None))
    return all(type(linear) is nn.Linear for linear in linears) and attention.config.hidden_act == "silu" and window is None


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
        known = hidden_states.device.type == "cpu" and hidden_states.dtype in (torch.float32, torch.float64)
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
        projected = _normed_products(x_TD, self.input_layernorm, compute, *projections)
        query, key, value = (each.unflatten(1, (-1, attention.head_dim)).transpose(0, 1)[None] for each in projected)
        query, key = Rotated.apply(query, cos_TD, sin_TD), Rotated.apply(key, cos_TD, sin_TD)
        seen = PackAttention.apply(query, key, value, layout.blocks, attention.scaling, compute)
        x_TD = AddedProduct.apply(x_TD, seen[0].flatten(1), attention.o_proj.weight, attention.o_proj.bias, compute)
        gate_TN, up_TN = _normed_products(x_TD, self.post_attention_layernorm, compute, mlp.gate_proj, mlp.up_proj)
        return AddedGated.apply(x_TD, gate_TN, up_TN, mlp.down_proj.weight, mlp.down_proj.bias, compute)


# Norm, attention, sum; norm, gated MLP, sum.
FAMILY = (LlamaDecoderLayer, MistralDecoderLayer, Qwen2DecoderLayer)
FAST = {layer: type(f"Fast{layer.__name__}", (FewerPasses, layer), {}) for layer in FAMILY}


def _normed_products(x_TD: torch.Tensor, norm: Any, compute: torch.dtype, *linears: nn.Linear) -> tuple[torch.Tensor, ...]:
    parts = [part for linear in linears for part in (linear.weight, linear.bias)]
    return NormedProducts.apply(x_TD, norm.weight, norm.variance_epsilon, compute, *parts)


class NormedProducts(torch.autograd.Function):
    """RMSNorm (arXiv:1910.07467, equation 4), then one product for each of some weights: (T, D), (D,), weights (N, D) and biases
    (N,) or None in turn → (T, N) each.

    With r = 1 / √(mean(x²) + ε), n = r x and g the gradient of n: dx = r (g − n · mean(g ∘ n)).
    """

    @staticmethod
    def forward(
        ctx: Any, x_TD: torch.Tensor, gain_D: torch.Tensor, epsilon: float, compute: torch.dtype, *parts: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        rate_T1 = torch.linalg.vector_norm(x_TD, dim=1, keepdim=True).square_().div_(x_TD.shape[1]).add_(epsilon).rsqrt_()
        normed_TD = (x_TD * rate_T1).mul_(gain_D).to(compute)
        weights = [cast(weight, compute) for weight in parts[::2] if weight is not None]
        ctx.compute, ctx.dtypes = compute, [weight.dtype for weight in parts[::2] if weight is not None]
        ctx.save_for_backward(x_TD, gain_D, rate_T1, *weights)
        return tuple(_linear(normed_TD, weight, bias) for weight, bias in zip(weights, parts[1::2], strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_TD, gain_D, rate_T1, *weights = ctx.saved_tensors
        unit_TD = x_TD * rate_T1
        normed_TD = (unit_TD * gain_D).to(ctx.compute)
        to_normed = _sum([product(gradient, weight) for gradient, weight in zip(gradients, weights, strict=True)])
        to_parts: list[torch.Tensor | None] = []
        for place, gradient in enumerate(gradients):
            needs_weight, needs_bias = ctx.needs_input_grad[4 + 2 * place : 6 + 2 * place]
            to_parts.append(product(gradient.t(), normed_TD).to(ctx.dtypes[place]) if needs_weight else None)
            to_parts.append(gradient.sum(0, dtype=ctx.dtypes[place]) if needs_bias else None)
        to_gain = (unit_TD * to_normed).sum(0) if ctx.needs_input_grad[1] else None
        to_unit = to_normed * gain_D
        mean_T1 = torch.linalg.vecdot(to_unit, unit_TD)[:, None].div_(x_TD.shape[1])
        return to_unit.addcmul_(unit_TD, mean_T1, value=-1).mul_(rate_T1), to_gain, None, None, *to_parts


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
    """x + a Wᵀ + b: (T, D), (T, N), (D, N), (D,) or None → (T, D)."""

    @staticmethod
    def forward(
        ctx: Any, x_TD: torch.Tensor, a_TN: torch.Tensor, weight_DN: torch.Tensor, bias_D: torch.Tensor | None,
        compute: torch.dtype,
    ) -> torch.Tensor:  # fmt: skip
        ctx.dtypes = a_TN.dtype, weight_DN.dtype
        a, weight = a_TN.to(compute), cast(weight_DN, compute)
        ctx.save_for_backward(a, weight)
        return x_TD + _linear(a, weight, bias_D)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        a, weight = ctx.saved_tensors
        gradient = gradients[0].to(a.dtype)
        to_weight = product(gradient.t(), a).to(ctx.dtypes[1]) if ctx.needs_input_grad[2] else None
        to_bias = gradients[0].sum(0) if ctx.needs_input_grad[3] else None
        return gradients[0], product(gradient, weight).to(ctx.dtypes[0]), to_weight, to_bias, None


class AddedGated(torch.autograd.Function):
    """x + (silu(g) ∘ u) Wᵀ + b (SwiGLU, arXiv:2002.05202, equation 6): (T, D), (T, N), (T, N), (D, N), (D,) or None → (T, D)."""

    @staticmethod
    def forward(
        ctx: Any, x_TD: torch.Tensor, gate_TN: torch.Tensor, up_TN: torch.Tensor, weight_DN: torch.Tensor,
        bias_D: torch.Tensor | None, compute: torch.dtype,
    ) -> torch.Tensor:  # fmt: skip
        weight, ctx.dtype = cast(weight_DN, compute), weight_DN.dtype
        ctx.save_for_backward(gate_TN, up_TN, weight)
        return x_TD + _linear(F.silu(gate_TN).mul_(up_TN), weight, bias_D)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate_TN, up_TN, weight = ctx.saved_tensors
        gradient, open_TN = gradients[0].to(weight.dtype), F.silu(gate_TN)
        to_product = product(gradient, weight)
        to_gate = torch.ops.aten.silu_backward(to_product * up_TN, gate_TN)
        to_up = to_product.mul_(open_TN)
        to_weight = product(gradient.t(), open_TN.mul_(up_TN)).to(ctx.dtype) if ctx.needs_input_grad[3] else None
        to_bias = gradients[0].sum(0) if ctx.needs_input_grad[4] else None
        return gradients[0], to_gate, to_up, to_weight, to_bias, None


def _linear(a_TN: torch.Tensor, weight_DN: torch.Tensor, bias_D: torch.Tensor | None) -> torch.Tensor:
    made_TD = product(a_TN, weight_DN.t())
    return made_TD if bias_D is None else made_TD.add_(bias_D)


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
