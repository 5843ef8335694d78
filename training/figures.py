"""A version's figures as tables and cards show them, with what they are worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from training.models import Version

Z95 = 1.96


@dataclass(frozen=True)
class Figures:
    """One version's. None is what nobody has measured."""

    version: Version
    accuracy: float | None
    accuracy_error: float | None  # half of the 95 % interval
    margin: float | None
    mean_tokens: float | None
    ended_share: float | None
    kl: float | None
    kl_error: float | None
    length_share: float = 0.0  # of the longest mean length among those shown with it

    @property
    def accuracy_points(self) -> int:
        """The error in percentage points."""
        return round(100 * (self.accuracy_error or 0))

    @property
    def length_percent(self) -> int:
        return round(100 * self.length_share)

    @property
    def dataset(self):
        return self.version.run.dataset if self.version.run_id else None


def figures_of(versions: Sequence[Version]) -> list[Figures]:
    """In the given order. `version.run.dataset` should be loaded."""
    longest = max((v.metrics.get("mean_tokens") or 0 for v in versions), default=0)
    return [_figures(version, longest) for version in versions]


def _figures(version: Version, longest: float) -> Figures:
    metrics = version.metrics
    accuracy = metrics.get("heldout_accuracy")
    pairs = version.run.dataset.heldout_count if version.run_id else 0
    tokens = metrics.get("mean_tokens")
    return Figures(
        version=version,
        accuracy=accuracy,
        accuracy_error=_half_interval(accuracy, pairs),
        margin=metrics.get("heldout_margin"),
        mean_tokens=tokens,
        ended_share=metrics.get("ended_share"),
        kl=metrics.get("kl"),
        kl_error=Z95 * metrics["kl_error"] if "kl_error" in metrics else None,
        length_share=(tokens or 0) / longest if longest else 0.0,
    )


def _half_interval(share: float | None, count: int) -> float | None:
    """Half the width of Wilson's 95 % interval: it does not shrink to nothing at 0 % and 100 %."""
    if share is None or not count:
        return None
    z = Z95
    return z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
