"""A version's figures as tables and cards show them, with what they are worth."""

from collections.abc import Sequence
from dataclasses import dataclass

from annotate.quality.intervals import Z95, interval_of
from training.models import Version


@dataclass(frozen=True)
class Figures:
    """One version's. None is what nobody has measured."""

    version: Version
    accuracy: float | None
    accuracy_interval: str  # "41–79 %"; "" when it is not known
    margin: float | None
    mean_tokens: float | None
    ended_share: float | None
    kl: float | None
    kl_error: float | None
    mean_tokens_error: float | None = None  # ± of a 95 % interval, as all that end so
    ended_interval: str = ""
    distinct_1: float | None = None
    distinct_2: float | None = None
    kl_reference: float | None = None  # None also where the reference is the base
    kl_reference_error: float | None = None
    length_share: float = 0.0  # of the longest mean length among those shown with it

    @property
    def length_percent(self) -> int:
        return round(100 * self.length_share)

    @property
    def described(self) -> bool:
        return self.version.is_described

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
    counted = version.run.dataset.heldout_count if version.run_id else 0
    tokens = metrics.get("mean_tokens")
    return Figures(
        version=version,
        accuracy=accuracy,
        accuracy_interval=interval_of(accuracy, metrics.get("heldout_pairs", counted)),
        margin=metrics.get("heldout_margin"),
        mean_tokens=tokens,
        ended_share=metrics.get("ended_share"),
        kl=metrics.get("kl"),
        kl_error=Z95 * metrics["kl_error"] if "kl_error" in metrics else None,
        mean_tokens_error=Z95 * metrics["mean_tokens_error"] if "mean_tokens_error" in metrics else None,
        ended_interval=interval_of(metrics.get("ended_share"), metrics.get("drawn", 0)),
        distinct_1=metrics.get("distinct_1"),
        distinct_2=metrics.get("distinct_2"),
        kl_reference=metrics.get("kl_reference"),
        kl_reference_error=Z95 * metrics["kl_reference_error"] if "kl_reference_error" in metrics else None,
        length_share=(tokens or 0) / longest if longest else 0.0,
    )
