"""In what several runs differ: where they start, what they learn from, and how."""

from dataclasses import dataclass

from annotate.models.project import Consensus
from training.models import Run
from training.runs import curves
from training.templatetags.wording import plainly

MOST_COMPARED = 12  # more curves in one chart cannot be told apart


@dataclass(frozen=True)
class Difference:
    name: str
    values: tuple[str, ...]  # one for each run


def differences_of(runs: list[Run]) -> list[Difference]:
    """What is not the same in all of them; the trainer's settings under their own names."""
    facts = [_facts(run) for run in runs]
    names = dict.fromkeys(name for told in facts for name in told)
    rows = [Difference(name, tuple(told.get(name, "–") for told in facts)) for name in names]
    return [row for row in rows if len(set(row.values)) > 1]


def _facts(run: Run) -> dict[str, str]:
    dataset, kept = run.dataset, run.dataset.filters if run.dataset else run.filters
    filters = {name: value for name, value in kept.items() if name not in ("consensus", "people", "start")}
    told = {
        "Starts from": str(run.parent),
        "Reference": str(run.reference),
        "Dataset": str(dataset) if dataset else "not taken",
        "Triples": f"{dataset.train_count:,}" if dataset else "–",
        "Held out": f"{dataset.heldout_count:,}" if dataset else "–",
        "Consensus": dict(Consensus.choices).get(kept.get("consensus", ""), "–").partition(":")[0],
        "Filters": ", ".join(f"{name} {value}" for name, value in filters.items()) or "none",
        "Processes": str(run.processes),
    }
    return told | {name: plainly(value) for name, value in curves.resolved_settings(run=run).items()}
