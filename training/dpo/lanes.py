"""Micro-batches side by side: on a CPU two threads have one each, in the place of two that share each operation.

A small model's step is thousands of operations, and most are too small for two: handing one out takes as long as computing it.
Measured, two threads that share operations are 1.15 to 1.2 times as fast as one, two that do not 1.5 to 1.8 times
(docs/experiments.md).

Sums do not go by chance: each parameter's gradients are added in the order of the micro-batches, whoever has them first.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from training.dpo import distributed

Part, Result = TypeVar("Part"), TypeVar("Result")
MOST = 2  # each has activations and a head's gradient of its own, and measured is no other number


def lanes_for(device: torch.device) -> int:
    """How many micro-batches at once: one where processes share the work already, on a GPU, and on a single thread."""
    return MOST if device.type == "cpu" and distributed.count() == 1 and torch.get_num_threads() >= MOST else 1


def side_by_side(work: Callable[[Part], Result], parts: Iterable[Part], lanes: int) -> Generator[Result, None, None]:
    """work(part) for each part, in their order; at most `lanes` of them are begun and not yet taken.

    What a part raises comes when it is its turn; those behind it are ended first.
    """
    if lanes == 1:
        yield from map(work, parts)
        return
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()

    def enter() -> None:
        torch.set_num_threads(max(1, threads // lanes))
        torch.set_grad_enabled(grad)  # it is each thread's own

    begun: deque[Future[Result]] = deque()
    try:
        with ThreadPoolExecutor(lanes, thread_name_prefix="lane", initializer=enter) as pool:
            try:
                for part in parts:
                    begun.append(pool.submit(work, part))
                    if len(begun) == lanes:
                        yield begun.popleft().result()
                while begun:
                    yield begun.popleft().result()
            finally:
                for future in begun:
                    future.cancel()
    finally:
        torch.set_num_threads(threads)  # MKL has one number for all threads


class Turns:
    """Whose turn it is to add to a parameter's gradient: micro-batch 3 waits until 0, 1 and 2 have, or are over."""

    def __init__(self) -> None:
        self._here = threading.local()
        self._changed = threading.Condition()
        self._over: set[int] = set()
        self._added: dict[int, set[int]] = {}  # id of a parameter → micro-batches

    @contextmanager
    def of(self, number: int) -> Iterator[None]:
        """Within the block this thread's gradients are those of micro-batch `number`."""
        self._here.number = number
        try:
            yield
        finally:
            with self._changed:
                self._over.add(number)
                self._changed.notify_all()

    def wait(self, parameter: torch.Tensor) -> None:
        before, added = range(self._here.number), self._added.setdefault(id(parameter), set())
        with self._changed:
            self._changed.wait_for(lambda: all(number in self._over or number in added for number in before))

    def add(self, parameter: torch.Tensor) -> None:
        with self._changed:
            self._added.setdefault(id(parameter), set()).add(self._here.number)
            self._changed.notify_all()


@contextmanager
def in_turn(parameters: Sequence[torch.Tensor]) -> Iterator[Turns]:
    """Within the block backward passes of several threads add to these parameters' gradients in turn."""
    turns = Turns()

    def waits_for(parameter: torch.Tensor) -> Callable[[torch.Tensor], None]:
        return lambda gradient: turns.wait(parameter)

    hooks = [parameter.register_hook(waits_for(parameter)) for parameter in parameters if parameter.requires_grad]
    hooks += [each.register_post_accumulate_grad_hook(turns.add) for each in parameters if each.requires_grad]
    try:
        yield turns
    finally:
        for hook in hooks:
            hook.remove()
