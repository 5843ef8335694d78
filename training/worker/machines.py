"""A worker tells what it runs on. torch is imported inside: only workers call this."""

import os
import platform
import time
from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from training.models import Machine

TELL_AGAIN = timedelta(minutes=10)
SIZE = 1024  # of the matrices that are multiplied to see how fast it is


def note_machine() -> Machine:
    """The row of this host and its device, up to date. How fast it is is measured the first time: a tenth of a second."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    now = timezone.now()
    known = Machine.objects.filter(host=platform.node()[:200], device=device).first()
    if known and now - known.seen_at < TELL_AGAIN:
        return known
    told = {"name": _name(device)[:200], "count": _count(device), "memory_bytes": _memory_bytes(device), "seen_at": now}
    flops = known.flops if known and known.name == told["name"] else _measure_flops(device)
    machine, _ = Machine.objects.update_or_create(host=platform.node()[:200], device=device, defaults=told | {"flops": flops})
    return machine


def _name(device: str) -> str:
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine() or "CPU"


def _count(device: str) -> int:
    import torch

    if device == "cuda":
        return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_bytes(device: str) -> int:
    import torch

    if device == "cuda":
        return torch.cuda.get_device_properties(0).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _measure_flops(device: str) -> float:
    import torch

    one = torch.ones(SIZE, SIZE, device=device)
    one @ one  # the first product loads what it needs
    seconds = []
    for _ in range(3):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        one @ one
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 2 * SIZE**3 / min(seconds)
