"""The trainer's benchmarks.

Before torch is loaded: a thread that spins while it waits steals the core of the one it waits for.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
