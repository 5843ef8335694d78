"""What a layer does between its products on the CPU, compiled: norms, gates, rotations and attention in one pass each.

torch does these in a hundred small operations a layer, each of which goes over memory and waits for Python's lock, which two
micro-batches side by side take from each other (docs/experiments.md). kernels.c is compiled when a run begins, in about two
seconds, for the processor that it runs on. Where there is no C compiler, the operations of torch compute the same, slower.
"""

import ctypes
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

from training.dpo.packing import Span

SOURCE = Path(__file__).with_suffix(".c")
TYPES = (torch.float32, torch.bfloat16)  # that products are computed in
SMALL = 1 << 16  # numbers that a second thread is not worth waking for
COMPILED_WITHIN_S = 120


@cache
def _library() -> tuple[ctypes.CDLL | None, str]:
    """What was compiled, or why nothing was."""
    command = [
        *shlex.split(os.environ.get("CC") or "cc"), "-std=gnu11", "-O3", "-fPIC", "-shared", "-ffp-contract=fast",
        "-fno-math-errno", "-fno-trapping-math", "-fno-strict-aliasing", *_for_this_processor(),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="prefloop-kernels-") as directory:
        made = Path(directory) / "kernels.so"
        try:
            done = subprocess.run(
                [*command, "-o", str(made), str(SOURCE), "-lm"], capture_output=True, text=True, timeout=COMPILED_WITHIN_S
            )
            if done.returncode:
                return None, f"not compiled ({command[0]}: {' '.join(done.stderr.split())[:300]})"
            return ctypes.CDLL(str(made)), f"compiled by {command[0]}"
        except (OSError, subprocess.SubprocessError) as error:  # no compiler, or a directory that nothing may be run from
            return None, f"not compiled ({error})"


def _for_this_processor() -> list[str]:
    if platform.machine() in ("x86_64", "AMD64"):
        return ["-march=native"]
    return ["-mcpu=native"] if platform.machine() in ("aarch64", "arm64") else []


def why() -> str:
    """Whether kernels are used, in words."""
    return _library()[1]


def have(compute: torch.dtype) -> bool:
    return compute in TYPES and _library()[0] is not None


def norm(x_TD: torch.Tensor, gain_D: torch.Tensor, epsilon: float, compute: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """RMSNorm (arXiv:1910.07467, equation 4): (T, D) float32, (D,) → (T, D) in `compute`, and r = 1 / √(mean(x²) + ε), (T,)."""
    x_TD, gain_D = x_TD.contiguous(), gain_D.detach().float().contiguous()
    normed_TD, rate_T = torch.empty_like(x_TD, dtype=compute), x_TD.new_empty(len(x_TD))

    def work(first: int, last: int) -> None:
        _call(
            "norm_forward", last - first, x_TD.shape[1], _at(x_TD, first), _at(gain_D), ctypes.c_float(epsilon),
            _at(rate_T, first), _at(normed_TD, first), _half(compute),
        )  # fmt: skip

    _spread(work, x_TD)
    return normed_TD, rate_T


def norm_back(
    gradient_TD: torch.Tensor, x_TD: torch.Tensor, gain_D: torch.Tensor, rate_T: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of x, (T, D) float32, and of the gain, (D,) float32.

    With n = r x and g the gradient of n: dx = r (g − n · mean(g ∘ n)).
    """
    x_TD, gain_D, gradient_TD = x_TD.contiguous(), gain_D.detach().float().contiguous(), gradient_TD.contiguous()
    to_x_TD = torch.empty_like(x_TD)

    def work(first: int, last: int) -> torch.Tensor:
        to_gain_D = torch.zeros_like(gain_D)
        _call(
            "norm_backward", last - first, x_TD.shape[1], _at(x_TD, first), _at(gain_D), _at(rate_T, first),
            _at(gradient_TD, first), _half(gradient_TD.dtype), _at(to_x_TD, first), _at(to_gain_D),
        )  # fmt: skip
        return to_gain_D

    parts = _spread(work, x_TD)
    return to_x_TD, parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def add(x_TD: torch.Tensor, y_TD: torch.Tensor) -> torch.Tensor:
    """x + y, (T, D) float32 and (T, D) → (T, D) float32."""
    x_TD, y_TD = x_TD.contiguous(), y_TD.contiguous()
    sum_TD = torch.empty_like(x_TD)

    def work(first: int, last: int) -> None:
        _call("add", (last - first) * x_TD.shape[1], _at(x_TD, first), _at(y_TD, first), _half(y_TD.dtype), _at(sum_TD, first))

    _spread(work, x_TD)
    return sum_TD


def gated(gate_TN: torch.Tensor, up_TN: torch.Tensor) -> torch.Tensor:
    """silu(gate) ∘ up (arXiv:2002.05202, equation 6). The two may be columns of one tensor."""
    return _gated(gate_TN, up_TN, None, ())


def gated_back(
    gradient_TN: torch.Tensor, gate_TN: torch.Tensor, up_TN: torch.Tensor, to_both: Sequence[torch.Tensor]
) -> torch.Tensor:
    """silu(gate) ∘ up again; `to_both`, which may be columns of one tensor, get the gradients of gate and up."""
    return _gated(gate_TN, up_TN, gradient_TN.to(gate_TN.dtype).contiguous(), to_both)


def _gated(
    gate_TN: torch.Tensor, up_TN: torch.Tensor, gradient_TN: torch.Tensor | None, to_both: Sequence[torch.Tensor]
) -> torch.Tensor:
    if gate_TN.stride() != up_TN.stride() or gate_TN.stride(1) != 1:
        gate_TN, up_TN = gate_TN.contiguous(), up_TN.contiguous()
    made_TN = torch.empty(gate_TN.shape, dtype=gate_TN.dtype)

    def work(first: int, last: int) -> None:
        if gradient_TN is None:
            slopes: Sequence[Any] = None, None, None, 0
        else:
            slopes = *(_at(each, first) for each in (gradient_TN, *to_both)), to_both[0].stride(0)
        _call(
            "gated", last - first, gate_TN.shape[1], _at(gate_TN, first), _at(up_TN, first), gate_TN.stride(0),
            _at(made_TN, first), *slopes, _half(gate_TN.dtype),
        )  # fmt: skip

    _spread(work, gate_TN)
    return made_TN


Angles = tuple[torch.Tensor, ...]  # cosines and sines of what each token is rotated by, (T, D) each


class Pack(ctypes.Structure):
    """As in kernels.c; what it points to must be kept alive."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("heads", "groups", "width", "pairs")),
        *((name, ctypes.c_void_p) for name in ("spans", "query", "key", "value")),
        ("apart", ctypes.c_int64 * 3),
        ("to_apart", ctypes.c_int64 * 3),
        *((name, ctypes.c_void_p) for name in ("cos", "sin")),
        ("scale", ctypes.c_float),
        ("half", ctypes.c_int32),
    ]


def attention(
    projected: Sequence[torch.Tensor], angles: Angles | None, spans: Sequence[Span], width: int, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries (T, H · D), keys and values (T, K · D) of a pack, in one type; rotation, scores, softmax and sums are in float32 →
    (T, H · D) as the queries are, and log Σ exp of the scores, (T, H) float32.
    """
    query = projected[0]
    pack, kept = _pack(projected, angles, spans, width, scale, projected)
    made_TD, log_sum_TH = (
        torch.empty(query.shape, dtype=query.dtype),
        query.new_empty(len(query), pack.heads, dtype=torch.float32),
    )

    def work(first: int, last: int) -> None:
        _call("attention_forward", ctypes.byref(pack), first, last, _at(made_TD), _at(log_sum_TH))

    _spread_items(work, pack)
    del kept
    return made_TD, log_sum_TH


def attention_back(
    gradient_TD: torch.Tensor, projected: Sequence[torch.Tensor], angles: Angles | None, spans: Sequence[Span], width: int,
    scale: float, log_sum_TH: torch.Tensor, to_projected: Sequence[torch.Tensor],
) -> None:  # fmt: skip
    """`to_projected`, which may be columns of one tensor, get the gradients of `projected`."""
    gradient_TD = gradient_TD.to(projected[0].dtype).contiguous()
    pack, kept = _pack(projected, angles, spans, width, scale, to_projected)

    def work(first: int, last: int) -> None:
        _call("attention_backward", ctypes.byref(pack), first, last, _at(gradient_TD), _at(log_sum_TH), *map(_at, to_projected))

    _spread_items(work, pack)
    del kept


def _pack(
    projected: Sequence[torch.Tensor], angles: Angles | None, spans: Sequence[Span], width: int, scale: float,
    to_projected: Sequence[torch.Tensor],
) -> tuple[Pack, Any]:  # fmt: skip
    """With what it points to."""
    projected = [each if each.stride(1) == 1 else each.contiguous() for each in projected]
    angles = tuple(each.float().contiguous() for each in angles or ())
    spans_P4 = torch.tensor([[span.start, span.prompt, span.chosen, span.rejected] for span in spans])
    heads, groups = (each.shape[1] // width for each in projected[:2])
    apart, to_apart = ((ctypes.c_int64 * 3)(*(each.stride(0) for each in three)) for three in (projected, to_projected))
    pointers = [_at(each) for each in (spans_P4, *projected)]
    turned = [_at(each) for each in angles] or [None, None]
    half = _half(projected[0].dtype)
    pack = Pack(heads, groups, width, len(spans), *pointers, apart, to_apart, *turned, scale, half)
    return pack, (projected, angles, spans_P4)


def _call(name: str, *given: Any) -> None:
    library, _ = _library()
    assert library is not None
    if getattr(library, name)(*(ctypes.c_int64(each) if isinstance(each, int) else each for each in given)):
        raise MemoryError("out of memory within a layer")


def _at(tensor: torch.Tensor, row: int = 0) -> ctypes.c_void_p:
    """Where a row of it begins."""
    return ctypes.c_void_p(tensor.data_ptr() + row * tensor.stride(0) * tensor.element_size())


def _half(dtype: torch.dtype) -> ctypes.c_int:
    return ctypes.c_int(dtype == torch.bfloat16)


def _spread(work: Callable[[int, int], Any], rows: torch.Tensor) -> list[Any]:
    """work(first, last) for stretches of rows, one for each thread."""
    return _in_parts(work, len(rows), torch.get_num_threads() if rows.numel() > SMALL else 1)


def _spread_items(work: Callable[[int, int], Any], pack: Pack) -> None:
    _in_parts(work, pack.pairs * pack.groups, torch.get_num_threads())


def _in_parts(work: Callable[[int, int], Any], count: int, threads: int) -> list[Any]:
    parts = min(threads, count)
    if parts == 1:
        return [work(0, count)]
    edges = [count * part // parts for part in range(parts + 1)]
    return list(_threads().map(work, edges[:-1], edges[1:]))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="kernels")
