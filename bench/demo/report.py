"""The demo's table and picture."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One version, measured on held-out prompts. Intervals are 95 %, by bootstrap over prompts."""

    version: str
    pairs: int  # triples it was trained on
    win_rate: float  # against the base, ties as half
    win_low: float
    win_high: float
    words: float  # mean length of an answer
    ended: float  # share of answers that end by themselves
    kl: float  # KL(π ‖ base), nats per answer
    kl_error: float  # its standard error
    minutes: float  # from the first judgement of its round to its promotion

    @property
    def cells(self) -> list[str]:
        return [
            self.version,
            str(self.pairs) if self.pairs else "–",
            f"{self.win_rate:.0%} ({self.win_low:.0%} to {self.win_high:.0%})",
            f"{self.words:.0f}",
            f"{self.ended:.0%}",
            f"{self.kl:.1f} ± {self.kl_error:.1f}",
            f"{self.minutes:.1f}" if self.minutes else "–",
        ]


HEADER = ["version", "pairs", "win rate against base (95 %)", "words", "end by themselves", "KL from base (nats)", "minutes"]


def markdown_table(rows: list[Row]) -> str:
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def write_report(rows: list[Row], directory: Path, taste: str) -> None:
    """`demo.md`, `demo.json` and `demo.png` in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "demo.md").write_text(markdown_table(rows) + "\n")
    (directory / "demo.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    draw(rows, directory / "demo.png", taste)


def draw(rows: list[Row], path: Path, taste: str) -> None:
    """Four small charts over the rounds: what was wanted (win rate), and what it cost (length, endings, drift)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = [row.version for row in rows]
    ink, accent, quiet = "#1f2430", "#4f46e5", "#9aa1b1"
    plt.rcParams.update({"font.size": 10, "axes.edgecolor": quiet, "axes.labelcolor": ink, "text.color": ink})
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), constrained_layout=True)
    errors = [
        [row.win_rate - row.win_low for row in rows],
        [row.win_high - row.win_rate for row in rows],
    ]
    panels = [
        ("Win rate against the base", [row.win_rate for row in rows], errors, (0, 1)),
        ("Words per answer", [row.words for row in rows], None, None),
        ("Answers that end by themselves", [row.ended for row in rows], None, (0, 1)),
        ("KL from the base (nats per answer)", [row.kl for row in rows], [row.kl_error for row in rows], None),
    ]
    for axis, (title, values, bars, limits) in zip(axes, panels, strict=True):
        axis.errorbar(names, values, yerr=bars, color=accent, marker="o", linewidth=2, capsize=4)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlim(-0.4, len(names) - 0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color=quiet, alpha=0.25)
        if limits:
            axis.set_ylim(*limits)
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        else:
            axis.set_ylim(bottom=0)
    axes[0].axhline(0.5, color=quiet, linestyle="--", linewidth=1)
    title = f"Scripted annotators who like “{taste}” answers, measured on held-out prompts"
    figure.suptitle(title, fontsize=11, x=0.005, ha="left")
    figure.savefig(path, dpi=130)
    plt.close(figure)
