"""Micro-batches side by side: in order, sums that do not go by chance, and nothing left behind when one fails."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from training.dpo.casts import cast, weights_cast_once
from training.dpo.errors import Stopped
from training.dpo.lanes import in_turn, lanes_for, side_by_side
from training.dpo.logprobs import ForwardPath, Precision, Scorer
from training.dpo.model import load_model

from .test_packing import MIXED
from .test_training import Build, Train

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_and_no_more_are_begun_than_lanes(two_threads: None) -> None:
    begun: list[int] = []
    most = threading.Semaphore(2)

    def work(part: int) -> int:
        begun.append(part)
        assert most.acquire(blocking=False), "a third one at once"
        time.sleep(0.02 * (part % 2 == 0))  # the first of two is the slower one
        assert torch.get_num_threads() == 1 and torch.is_grad_enabled()
        most.release()
        return part * part

    assert list(side_by_side(work, range(7), lanes=2)) == [n * n for n in range(7)]
    assert sorted(begun) == list(range(7)) and torch.get_num_threads() == 2
    assert list(side_by_side(lambda part: part, [], lanes=2)) == []


def test_no_gradient_is_no_gradient_in_every_lane(two_threads: None) -> None:
    with torch.no_grad():
        assert list(side_by_side(lambda part: torch.is_grad_enabled(), range(3), lanes=2)) == [False] * 3


def test_what_one_raises_comes_in_its_turn_and_ends_the_rest(two_threads: None) -> None:
    begun: list[int] = []

    def work(part: int) -> int:
        begun.append(part)
        if part == 2:
            raise MemoryError("of part 2")
        return part

    taken = []
    with pytest.raises(MemoryError, match="of part 2"):
        for result in side_by_side(work, range(100), lanes=2):
            taken.append(result)
    assert taken == [0, 1] and max(begun) <= 4 and torch.get_num_threads() == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]


@pytest.mark.parametrize("late", [0, 1, 2, 3])
def test_gradients_are_added_in_the_order_of_the_micro_batches(late: int, two_threads: None) -> None:
    """1e8 + 1 − 1e8 + 1 is 1 in float32, and 2 or 0 in other orders. The third does not touch one of the parameters."""
    everywhere, somewhere = (torch.zeros(1, requires_grad=True) for _ in range(2))
    slopes = [1e8, 1.0, -1e8, 1.0]
    with in_turn([everywhere, somewhere]) as turns:

        def work(part: int) -> None:
            time.sleep(0.05 * (part == late))
            with turns.of(part):
                ((everywhere + (somewhere if part != 2 else 0)) * slopes[part]).sum().backward()

        list(side_by_side(work, range(4), lanes=2))
    assert everywhere.grad is not None and everywhere.grad.item() == 1.0
    assert somewhere.grad is not None and somewhere.grad.item() == 1e8
    assert not everywhere._backward_hooks and not everywhere._post_accumulate_grad_hooks


def test_a_micro_batch_that_fails_holds_nobody_up(two_threads: None) -> None:
    weight = torch.zeros(1, requires_grad=True)
    with in_turn([weight]) as turns:

        def work(part: int) -> None:
            with turns.of(part):
                if part == 0:
                    time.sleep(0.05)
                    raise ValueError("no")
                weight.sum().backward()

        with pytest.raises(ValueError, match="no"):
            list(side_by_side(work, range(2), lanes=2))


def test_scores_are_the_same_side_by_side(tiny_model_dir: Path, two_threads: None) -> None:
    model, exact = load_model(tiny_model_dir, CPU), Precision(CPU, torch.float32)
    asked: list[int] = []
    one = Scorer(model, exact, ForwardPath(packed=True, budget=60)).score(MIXED)
    two = Scorer(model, exact, ForwardPath(packed=True, budget=60, lanes=2))
    assert torch.allclose(two.score(MIXED, asked.append), one, atol=1e-4)
    assert asked[0] == 0 and asked == sorted(asked) and len(asked) == len(two.micro_batches(MIXED)) > 2

    def stop(done: int) -> None:
        if done:
            raise Stopped("asked", 0)

    with pytest.raises(Stopped):
        two.score(MIXED, stop)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]


def test_runs_with_lanes_are_bit_identical_and_learn_what_others_learn(config: Build, train_here: Train) -> None:
    from safetensors.torch import load_file

    settings = [config(name, threads=threads) for name, threads in (("a", 2), ("b", 2), ("one", 1))]
    settings += [config("again", threads=2, checkpoint_activations=True)]  # layers are computed again in their lane's thread
    a, b, one, again = (load_file(train_here(each) / "model" / "model.safetensors") for each in settings)
    assert all(torch.equal(a[name], b[name]) and torch.equal(a[name], again[name]) for name in a)
    assert max((a[name] - one[name]).abs().max().item() for name in a) < 1e-4


@pytest.mark.parametrize("threads, lanes", [(1, 1), (2, 2), (5, 2)])
def test_how_many(threads: int, lanes: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    assert lanes_for(CPU) == lanes and lanes_for(torch.device("cuda")) == 1
    torch.set_num_threads(before)


def test_weights_are_cast_once_for_a_step() -> None:
    weight = torch.ones(3, requires_grad=True)
    assert cast(weight, torch.bfloat16) is not cast(weight, torch.bfloat16)
    with weights_cast_once():
        rough = cast(weight, torch.bfloat16)
        assert rough is cast(weight, torch.bfloat16) and rough.dtype == torch.bfloat16 and not rough.requires_grad
        assert cast(weight, torch.float32).data_ptr() == weight.data_ptr()
    with torch.no_grad():
        weight += 1
    with weights_cast_once():
        assert cast(weight, torch.bfloat16).tolist() == [2.0, 2.0, 2.0]
