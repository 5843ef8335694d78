"""Memory that a step frees stays with the process for the next one, up to what was foreseen.

A step on a CPU takes and frees gigabytes. glibc's malloc hands them back to the system in between, which clears them again, page
by page, and it cannot use a freed block for a tensor of the same size: a run of 150 steps grew from 4 to 10 GB
(docs/experiments.md). It reads what it is told once, before a program begins.

Rows are of other lengths in each step, so some holes stay even so. Above a limit what is free goes back after all.
"""

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path

# Blocks of any size come from the heap, which never shrinks, and threads share one. Without the third nothing fits where it was:
# the alignment that torch asks for cuts slivers off its blocks, and the cache of small blocks keeps them, each between two that
# could be one.
TUNABLES = {
    "glibc.malloc.mmap_max": 0,
    "glibc.malloc.trim_threshold": 2**40,
    "glibc.malloc.tcache_count": 0,
    "glibc.malloc.arena_max": 1,
}

# oneDNN compiles a kernel for each shape of product, some 0.6 MB, and keeps 1,024 of them; torch keeps as many of its own. So
# many are more than a step needs, and memory does not grow with each new length of a row.
KEPT_KERNELS = 256
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def begin_again_with_kept_memory() -> None:
    """Bound the caches of kernels, and become the same program with glibc's settings: the process and its number stay. Once;
    where there is no glibc, or somebody has set it up, the caches are all.
    """
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(KEPT_KERNELS))
    if "GLIBC_TUNABLES" in os.environ or not is_glibc():
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(f"{name}={value}" for name, value in TUNABLES.items())
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def give_back_above(limit: int | None) -> None:
    """Where the process holds more bytes than that, hand the free pages among them to the system."""
    if limit is not None and is_glibc() and resident_bytes() > limit:
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """What the process holds now; 0 where nothing tells."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if path.exists() else 0


@cache
def is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
