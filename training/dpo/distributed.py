"""More than one process: `torchrun --nproc-per-node 2 -m training.dpo train CONFIG.json`. With one, nothing here does anything.

Weights, gradients and optimizer state are sharded over the processes (FSDP2, `fully_shard`), and each takes its share of a
step's micro-batches. All go the same way through the program; what is written, the first one writes alone (`by_first`).
gloo carries what lies in main memory, NCCL what lies on GPUs. Processes share a file system: all read the same paths.
"""

import itertools
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import MethodType
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from training.dpo.errors import ConfigError, OtherProcessError, TrainerError
from training.dpo.stopping import REASONS

TIMEOUT = timedelta(minutes=10)  # that one process may be ahead of another; waiting for the first one's files has no limit
LOOK_S = 0.5  # between looks for a failure elsewhere
GRACE_S = 3.0  # in which a process that waits for a failed one may end by itself
FAREWELL_S = 10.0  # in which the first process may write down why another one failed

Tensors = dict[str, torch.Tensor]
T = TypeVar("T")


@dataclass
class Processes:
    """This process among its fellows."""

    rank: int
    count: int
    store: Any  # keys and values that all see
    mesh: Any
    turns: Iterator[int] = field(default_factory=itertools.count)
    ending: threading.Event = field(default_factory=threading.Event)


_here: Processes | None = None


def count() -> int:
    return _here.count if _here else 1


def on_this_host() -> int:
    """Processes that share this machine's memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if _here else 1


def is_first() -> bool:
    return _here is None or _here.rank == 0


@contextmanager
def joined(device: str, on_failure: Callable[[TrainerError], None]) -> Iterator[None]:
    """Be one of the processes that torchrun has started, until the end of the block. `device`: the config's.

    An error in one process ends all. Where the first one cannot notice by itself, because it waits for the failed one,
    it calls `on_failure` and ends. Raises ConfigError when there are fewer GPUs than processes on this host.
    """
    global _here
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    _here = here = _join(device)
    threading.Thread(target=_watch, args=(here, here.store.clone(), on_failure), daemon=True).start()
    try:
        yield
        dist.barrier()
        here.ending.set()
        dist.destroy_process_group()
    except BaseException as error:
        _publish(here, error)
        raise
    finally:
        here.ending.set()
        _here = None


def by_first(work: Callable[[], T]) -> T:
    """The first process does `work`; all get its result, which must be of JSON's types. The others wait for it."""
    if _here is None:
        return work()
    key = f"by first/{next(_here.turns)}"
    if _here.rank == 0:
        result = work()
        _here.store.set(key, json.dumps(result))
        return result
    while not _here.store.check([key]):
        if failed := failure():
            raise failed
        time.sleep(0.02)
    return json.loads(_here.store.get(key))


def share(parts: Sequence[T]) -> list[T | None]:
    """This process's part of `parts`, None where another has one more: each layer's weights are gathered by all at once,
    so all must go through the model equally often.

    Example: 3 parts, 2 processes → the first gets parts 0 and 2, the second part 1 and None.
    """
    rank, processes = (_here.rank, _here.count) if _here else (0, 1)
    rounds = math.ceil(len(parts) / processes)
    return [parts[place] if place < len(parts) else None for place in range(rank, rounds * processes, processes)]


def total(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over all processes of a tensor in main memory."""
    if _here:
        dist.all_reduce(tensor)
    return tensor


def agree(reason: str | None) -> str | None:
    """The reason to stop that any process has. To be called by all at the same place."""
    if _here is None:
        return reason
    number = torch.tensor(REASONS.index(reason) + 1 if reason in REASONS else 1 if reason else 0)
    dist.all_reduce(number, op=dist.ReduceOp.MAX)
    return REASONS[int(number) - 1] if number else None


def shard(model: Any, device: torch.device) -> Any:
    """`model`, whole and in main memory, put on `device`; of several processes each keeps its part of every weight.

    A layer is whole only while it computes; embedding and head (one tensor, where they are tied) while the model does.
    Gradients are summed over the processes, as a loss that is divided by the pairs of the whole step needs them.
    """
    if _here is None:
        return model.to(device)
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method  # takes a second to import

    for layer in getattr(model.get_decoder(), "layers", []):
        fully_shard(layer, mesh=_here.mesh, reshard_after_forward=True)
    fully_shard(model, mesh=_here.mesh, reshard_after_forward=True)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    model.run_within = MethodType(_run_within, model)
    register_fsdp_forward_method(model, "run_within")
    return model


def within(model: Any, work: Callable[..., torch.Tensor], *given: Any) -> torch.Tensor:
    """work(model, *given) as a forward pass of `model`: its embedding and head are whole in it, and get their gradients."""
    return model.run_within(work, *given) if _here else work(model, *given)


def recover(model: Any) -> None:
    """After an error in a forward pass: weights are parted again."""
    if _here:
        model.reset_iter_state()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A sharded tensor put together, in all processes."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def gathered(tensors: Tensors) -> Tensors:
    """`tensors` put together one by one in the first process's main memory; nothing in the others."""
    if _here is None:
        return tensors
    kept = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if _here.rank == 0:
            kept[name] = full.cpu()
    return kept


def parted(full: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`full` on the device of `like`, and sharded as it is: no process needs another for it."""
    moved = full.to(like.device)
    if _here is None:
        return moved
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)


def failure() -> OtherProcessError | None:
    """What another process has ended of, if one has."""
    return _failure(_here, _here.store) if _here else None


def failure_soon() -> OtherProcessError | None:
    """As `failure`, a moment later: connections may break before the reason is known."""
    for _ in range(round(GRACE_S / 0.1) if _here else 0):
        if failed := failure():
            return failed
        time.sleep(0.1)
    return None


def _join(device: str) -> Processes:
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if on_gpu and local >= torch.cuda.device_count():
        raise ConfigError(
            f"{local + 1} processes or more on this host, and {torch.cuda.device_count()} GPUs: each process needs its own. "
            'Lower --nproc-per-node, or set device to "cpu".'
        )
    if on_gpu:
        torch.cuda.set_device(local)
    try:
        store, rank, processes = next(iter(dist.rendezvous("env://")))
    except ValueError as error:
        raise ConfigError(f"WORLD_SIZE is set, but {error}. Start several processes with torchrun.") from error
    from torch.distributed.device_mesh import init_device_mesh

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # keys of an attempt that failed are not ours
    own = dist.PrefixStore(f"prefloop/{attempt}", store)
    group = dist.PrefixStore(f"group/{attempt}", store)
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, store=group, rank=rank, world_size=processes, timeout=TIMEOUT)
    return Processes(rank, processes, own, init_device_mesh("cuda" if on_gpu else "cpu", (processes,)))


def _run_within(model: Any, work: Callable[..., torch.Tensor], *given: Any) -> torch.Tensor:
    return work(model, *given)


def _publish(here: Processes, error: BaseException) -> None:
    """Tell the others what ended this process; then give the first one time to write it down."""
    code = 1
    if isinstance(error, TrainerError):
        code, error.known_to_first = error.exit_code, True
    if isinstance(error, OtherProcessError):
        return
    told = {"message": str(error), "code": code, "rank": here.rank, "halvings": getattr(error, "halvings", None)}
    try:
        here.store.compare_set("failure", "", json.dumps(told))
        if here.rank == 0:
            here.store.set("first ended", "1")
        deadline = time.monotonic() + FAREWELL_S
        while here.rank and not here.store.check(["first ended"]) and time.monotonic() < deadline:
            time.sleep(0.05)
    except RuntimeError:  # the store ended with the process that held it
        return


def _failure(here: Processes, store: Any) -> OtherProcessError | None:
    if not store.check(["failure"]):
        return None
    told = json.loads(store.get("failure"))
    return None if told["rank"] == here.rank else OtherProcessError(**told)


def _watch(here: Processes, store: Any, on_failure: Callable[[TrainerError], None]) -> None:
    """In a thread: end this process when another has failed and this one waits for it in vain."""
    while not here.ending.wait(LOOK_S):
        try:
            failed = _failure(here, store)
        except RuntimeError as error:  # the store is gone, and with it the process or torchrun that held it
            failed = OtherProcessError(f"torchrun or the first process ended ({error})", code=1, rank=0)
        if failed is None or here.ending.wait(GRACE_S):
            continue
        if here.rank == 0:
            on_failure(failed)
            store.set("first ended", "1")
        os._exit(failed.exit_code)
