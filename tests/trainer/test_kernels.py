"""What is compiled: the numbers of torch's operations in float64, in each type and shape, and a trainer without a compiler."""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from training.dpo import kernels, passes
from training.dpo.attention_cpu import PackAttention
from training.dpo.packing import Span

from .test_training import Build, Train, of_kind

TYPES = {torch.float32: 2e-6, torch.bfloat16: 4e-3}  # what a number may be off, relative to the whole
Check = Callable[[torch.Tensor, torch.Tensor], None]


@pytest.fixture(params=TYPES, ids=str)
def compute(request: pytest.FixtureRequest) -> torch.dtype:
    assert kernels.have(request.param), kernels.why()
    torch.manual_seed(0)
    return request.param


@pytest.fixture(params=[1, 3], ids=["one thread", "three"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(kernels, "SMALL", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: request.param)
    return request.param


@pytest.fixture
def same(compute: torch.dtype) -> Check:
    def check(found: torch.Tensor, exact: torch.Tensor) -> None:
        assert found.shape == exact.shape and (found.double() - exact).norm() <= TYPES[compute] * exact.norm()

    return check


@pytest.mark.parametrize(("tokens", "width"), [(1, 1), (5, 6), (70, 32), (33, 577)])
def test_norms(tokens: int, width: int, compute: torch.dtype, same: Check, threads: int) -> None:
    x, gain, slope = torch.randn(tokens, width), torch.randn(width), torch.randn(tokens, width).to(compute)
    exact_x, exact_gain = x.double().requires_grad_(), gain.double().requires_grad_()
    exact = exact_x * (exact_x.square().mean(1, keepdim=True) + 1e-5).rsqrt() * exact_gain
    exact.backward(slope.double())
    normed, rate = passes.norm(x, gain, 1e-5, compute)
    assert normed.dtype == compute
    same(normed, exact.detach())
    to_x, to_gain = passes.norm_back(slope, x, gain, rate)
    assert to_x.dtype == to_gain.dtype == torch.float32
    if width > 1:  # of one number the gradient is 0 but for ε
        same(to_x, exact_x.grad)
    same(to_gain, exact_gain.grad)


@pytest.mark.parametrize("beside", [True, False], ids=["columns of one", "each its own"])
@pytest.mark.parametrize(("tokens", "width"), [(1, 1), (5, 6), (70, 33)])
def test_gates(tokens: int, width: int, beside: bool, compute: torch.dtype, same: Check, threads: int) -> None:
    both = (8 * torch.randn(tokens, 2 * width)).to(compute)
    gate, up = both.split(width, dim=1) if beside else (each.clone() for each in both.split(width, dim=1))
    slope = torch.randn(tokens, width).to(compute)
    exact_gate, exact_up = gate.double().requires_grad_(), up.double().requires_grad_()
    exact = torch.nn.functional.silu(exact_gate) * exact_up
    exact.backward(slope.double())
    made = passes.gated(gate, up)
    same(made, exact.detach())
    again, to_gate, to_up = passes.gated_back(slope, gate, up)
    assert torch.equal(again, made) and (passes.together([to_gate, to_up]) is not None) == beside
    same(to_gate, exact_gate.grad)
    same(to_up, exact_up.grad)


def test_gates_wide_open_and_shut() -> None:
    gate = torch.tensor([[-200.0, -90.0, -50.0, 0.0, 50.0, 90.0, 200.0]])
    made = passes.gated(gate, torch.ones_like(gate))
    assert torch.allclose(made, torch.nn.functional.silu(gate), atol=1e-30)
    assert passes.gated_back(torch.ones_like(gate), gate, torch.ones_like(gate))[1].isfinite().all()


def test_sums(compute: torch.dtype, threads: int) -> None:
    x, y = torch.randn(7, 333), torch.randn(7, 333).to(compute)
    assert torch.equal(passes.add(x, y), x + y.float())
    assert torch.equal(passes.add(x.t(), y.t()), (x + y.float()).t())


PACKS: dict[str, list[tuple[int, int, int]]] = {
    "one token": [(1, 0, 0)],
    "several": [(9, 5, 7), (1, 1, 30), (60, 1, 1), (3, 40, 2)],
    "an answer is not there": [(4, 3, 0), (5, 0, 6), (2, 0, 0)],
    "longer than a block": [(130, 70, 65)],
    "at the edges of blocks": [(32, 32, 32), (16, 16, 16), (31, 33, 1)],
}


def spans_of(sizes: Sequence[tuple[int, int, int]]) -> tuple[Span, ...]:
    starts = [sum(map(sum, sizes[:place])) for place in range(len(sizes))]
    return tuple(Span(start, *each) for start, each in zip(starts, sizes, strict=True))


@pytest.mark.parametrize("beside", [True, False], ids=["columns of one", "each its own"])
@pytest.mark.parametrize(("heads", "groups", "width"), [(4, 2, 8), (3, 1, 64), (2, 2, 6), (1, 1, 80)])
@pytest.mark.parametrize("pack", PACKS)
def test_attention(
    pack: str, heads: int, groups: int, width: int, beside: bool, compute: torch.dtype, same: Check, threads: int
) -> None:
    spans = spans_of(PACKS[pack])
    tokens = spans[-1].end
    sizes = [heads * width, groups * width, groups * width]
    columns = torch.randn(tokens, sum(sizes)).to(compute).split(sizes, dim=1)
    given = [each.requires_grad_() for each in (columns if beside else [each.clone() for each in columns])]
    exact = [each.detach().double().requires_grad_() for each in given]
    phases = torch.randn(tokens, width)  # whose halves differ, which no model's do
    slope = torch.randn(tokens, heads * width).to(compute)
    for angles in ((phases.cos(), phases.sin()), None):
        found = PackAttention.apply(*given, angles, spans, width, 0.3)
        true = PackAttention.apply(*exact, angles and tuple(each.double() for each in angles), spans, width, 0.3)
        assert found.dtype == compute
        same(found.detach(), true.detach())
        to_each = torch.autograd.grad(found, given, slope)
        for one, other in zip(to_each, torch.autograd.grad(true, exact, slope.double()), strict=True):
            if other.norm() > 1e-9:  # a single token's share is 1 whatever its query and key
                same(one, other)


def test_columns_of_something_larger(compute: torch.dtype, same: Check) -> None:
    """As models with one projection for all give them, or in another order: what comes back has rows of its own."""
    spans = spans_of(PACKS["several"])
    wide = torch.randn(spans[-1].end, 100).to(compute)
    for given in ([wide[:, 60:76], wide[:, 3:11], wide[:, 90:98]], [wide[:, ::2][:, :16], wide[:, 1::3][:, :8], wide[:, 8:16]]):
        given = [each.detach().requires_grad_() for each in given]
        exact = [each.detach().double().requires_grad_() for each in given]
        slope = torch.randn(len(wide), 16).to(compute)
        found, true = (PackAttention.apply(*each, None, spans, 8, None) for each in (given, exact))
        same(found.detach(), true.detach())
        for one, other in zip(
            torch.autograd.grad(found, given, slope), torch.autograd.grad(true, exact, slope.double()), strict=True
        ):
            same(one, other)
    for gate, up in ((wide[:, 5:9], wide[:, 60:64]), (wide[:, ::2][:, :4], wide[:, :4]), (wide[:, :4], wide[:, :4].clone())):
        same(passes.gated(gate, up), torch.nn.functional.silu(gate.double()) * up.double())
        again, _, to_up = passes.gated_back(torch.ones_like(gate), gate, up)
        same(again, torch.nn.functional.silu(gate.double()) * up.double())
        same(to_up, torch.nn.functional.silu(gate.double()))


def test_threads_change_no_bit_of_attention(compute: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = spans_of(PACKS["several"])
    given = [torch.randn(spans[-1].end, 32).to(compute) for _ in range(3)]
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(kernels.attention(given, None, spans, 8, 1.0)[0])
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_scores_that_lie_far_apart(compute: torch.dtype) -> None:
    """Shares of 0 and 1, and no overflow."""
    value = torch.randn(40, 8).to(compute)
    query, key = (torch.full((40, 8), 30.0).to(compute) for _ in range(2))
    key[1:] = -30.0
    given = [each.requires_grad_() for each in (query, key, value)]
    seen = PackAttention.apply(*given, None, (Span(0, 40, 0, 0),), 8, None)
    assert torch.equal(seen, value[:1].expand(40, -1))
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(seen.sum(), given))


@pytest.mark.parametrize("strange", [float("nan"), float("inf")])
def test_what_is_no_number_stays_so(strange: float, compute: torch.dtype) -> None:
    """A run that goes astray must be told, not trained on."""
    x = torch.ones(3, 40)
    x[1, 2] = strange
    assert passes.norm(x, torch.ones(40), 1e-5, compute)[0].isnan().any(dim=1).tolist() == [False, True, False]
    rough = x.to(compute)
    assert not passes.gated(rough, rough)[1].isfinite().all() and passes.gated(rough, rough)[0].isfinite().all()
    seen, _ = kernels.attention((rough, rough, rough), None, (Span(0, 3, 0, 0),), 8, 1.0)
    assert not seen[1].isfinite().all() and not seen[2].isfinite().all()


def test_rounded_as_torch_rounds() -> None:
    """To the nearest, of two the even one; tiny, huge and negative numbers, infinities and what is no number."""
    bits = torch.randint(-(2**31), 2**31, (4096,), generator=torch.Generator().manual_seed(0)).to(torch.int32)
    edges = torch.tensor(
        [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 3.4e38, -3.4e38, 1e-40, 0.0, -0.0, float("inf"), float("nan")]
    )
    numbers = torch.cat([bits.view(torch.float32), edges])
    normed, _ = passes.norm(torch.ones(1, len(numbers)), numbers, 0.0, torch.bfloat16)  # 1 · its gain
    assert torch.equal(normed[0].nan_to_num(nan=7.0), numbers.bfloat16().nan_to_num(nan=7.0))


@pytest.fixture
def fresh() -> Iterator[None]:
    kernels._library.cache_clear()
    yield
    kernels._library.cache_clear()


@pytest.mark.parametrize(("compiler", "told"), [("no-such-compiler", "No such file"), ("false", "not compiled (false")])
def test_without_a_compiler(compiler: str, told: str, fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", compiler)
    assert not kernels.have(torch.float32) and told in kernels.why()
    x = torch.randn(5, 6)
    normed, rate = passes.norm(x, torch.ones(6), 0.0, torch.float32)
    assert torch.allclose(normed, x * rate[:, None])


def test_a_run_without_a_compiler_says_so_and_learns_the_same(
    config: Build, train_here: Train, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = train_here(config("compiled"))
    kernels._library.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    plain = train_here(config("plain"))
    assert of_kind(compiled, "start")[0]["kernels"].startswith("compiled by ")
    [warning] = [event for event in of_kind(plain, "warning") if event["code"] == "no_kernels"]
    assert "no-such-compiler" in warning["message"] and "Install a C compiler" in warning["message"]
    assert not [event for event in of_kind(compiled, "warning") if event["code"] == "no_kernels"]
    losses = ([event["loss"] for event in of_kind(output, "step")] for output in (compiled, plain))
    assert all(abs(one - other) < 1e-5 for one, other in zip(*losses, strict=True))


def test_what_cannot_be_loaded(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary directory that nothing may be run from."""

    def refuse(path: str) -> None:
        raise OSError("failed to map segment from shared object")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not kernels.have(torch.bfloat16) and "failed to map" in kernels.why()


def test_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __getattr__(self, name: str) -> Callable[..., int]:
            return lambda *given: 1

    monkeypatch.setattr(kernels, "_library", lambda: (Full(), ""))
    with pytest.raises(MemoryError):
        passes.add(torch.ones(2, 2), torch.ones(2, 2))


def test_nothing_is_left_behind(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert kernels.have(torch.float32) and not list(tmp_path.iterdir())
