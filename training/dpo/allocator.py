"""Memory that a step frees stays with the process for the next one.

A step on a CPU takes and frees gigabytes. glibc's malloc hands them back to the system in between, which clears them again, page
by page: up to a fifth of a step in bfloat16 (docs/experiments.md). It reads what it is told once, before a program begins.
"""

import os
import platform
import sys

# Blocks of any size come from the heap, which never shrinks. Without the last one nothing fits where it was: the alignment that
# torch asks for cuts slivers off its blocks, and the cache of small blocks keeps them, each between two that could be one.
TUNABLES = {
    "glibc.malloc.mmap_max": 0,
    "glibc.malloc.trim_threshold": 2**40,
    "glibc.malloc.tcache_count": 0,
}


def begin_again_with_kept_memory() -> None:
    """Become the same program with these settings: the process and its number stay. Once; and nothing where there is no glibc, or
    where somebody has set it up.
    """
    if "GLIBC_TUNABLES" in os.environ or platform.libc_ver()[0] != "glibc":
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(f"{name}={value}" for name, value in TUNABLES.items())
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
