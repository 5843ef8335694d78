"""How sure one can be of a share that was counted."""

import math

Z95 = 1.959964


def wilson(share: float, count: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's interval of a share of `count` independent yes/no outcomes.

    Example: 8 of 10 → (0.490, 0.943). It does not shrink to nothing at 0 and 1.
    """
    if not count:
        return 0.0, 1.0
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def interval_of(share: float | None, count: int) -> str:
    """The 95 % interval of a share, as pages write it: `interval_of(0.8, 10)` → "49–94 %". "" if nothing was counted."""
    if share is None or not count:
        return ""
    low, high = wilson(share, count)
    return f"{100 * low:.0f}–{100 * high:.0f} %"
