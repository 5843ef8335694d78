"""Shares: how many of how many, and how sure that is."""

from dataclasses import dataclass

from annotate.quality.intervals import interval_of, wilson


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `of`."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def percent(self) -> str:
        return f"{100 * self.count / self.of:.0f} %" if self.of else "–"

    @property
    def interval(self) -> str:
        """95 %, by Wilson: "49–94 %"."""
        return interval_of(self.value, self.of)

    @property
    def range(self) -> tuple[float, float]:
        return wilson(self.value or 0.0, self.of)
