"""What a run's events say, as curves: which charts there are, the points that came after a line, and all of them as a file."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from django.db.models import F, Max, Q

from training.dpo.config import PRESETS, hyperparameters
from training.models import Run, RunEvent
from training.models.job import JobState

TRAIN, HELDOUT = "step", "heldout"  # kinds of the events that carry points
PAGE = 2000  # events in one answer; the browser asks again for more
DRAWN = 2000  # steps of a curve that a picture shows: a page is not wider


@dataclass(frozen=True)
class Series:
    label: str
    kind: str  # which events
    key: str  # which of their values
    colour: str  # .curve-key-<colour> in static/css/training.css
    scale: float = 1.0
    run: int | None = None  # whose, where several are in one picture


@dataclass(frozen=True)
class Chart:
    name: str
    title: str
    tells: str
    series: tuple[Series, ...]
    digits: int = 3
    percent: bool = False
    can_be_log: bool = False
    base: float | None = None  # a dashed line where nothing has been learnt
    exact: bool = False  # no noise that smoothing could take away
    rises: bool = False  # it is the most so far: a trainer that was started anew has forgotten what was before
    minor: bool = False  # of interest when something is odd: shown smaller, below

    @property
    def as_json(self) -> str:
        return json.dumps(asdict(self))


def _of(key: str, label: str, colour: str = "train", scale: float = 1.0) -> Series:
    return Series(label, TRAIN, key, colour, scale)


def _both(key: str) -> tuple[Series, ...]:
    return Series("train", TRAIN, key, "train"), Series("held out", HELDOUT, key, "heldout")


def _pair(key: str) -> tuple[Series, ...]:
    return _of(f"chosen_{key}", "chosen", "chosen"), _of(f"rejected_{key}", "rejected", "rejected")


LN_2 = 0.6931
RUN_COLOURS = 12  # .curve-key-run-1 …: four colours, in three kinds of line
CHARTS = (
    Chart(
        "loss", "Loss", "DPO starts at 0.693 (ln 2, dashed), where the policy is its own reference.",
        _both("loss"), can_be_log=True, base=LN_2,
    ),
    Chart(
        "accuracy", "Accuracy", "How often the chosen answer has the higher implicit reward.",
        _both("accuracy"), digits=1, percent=True, base=0.5,
    ),
    Chart("margin", "Margin", "Implicit reward of the chosen answer minus that of the rejected one.", _both("margin"), base=0.0),
    Chart(
        "rewards", "Implicit rewards", "β · log(π/π_ref). Healthy: chosen goes up, or falls less than rejected.",
        _pair("reward"), base=0.0,
    ),
    Chart(
        "logprobs", "Log-probabilities", "Summed over an answer's tokens. Both falling together is worth a look.",
        _pair("logp"), digits=1,
    ),
    Chart("grad-norm", "Gradient norm", "Before clipping.", (_of("grad_norm", "norm"),), can_be_log=True, minor=True),
    Chart(
        "rate", "Learning rate", "Warm-up, then the schedule.",
        (_of("learning_rate", "rate"),), can_be_log=True, exact=True, minor=True,
    ),
    Chart("speed", "Tokens per second", "Prompts and answers.", (_of("tokens_per_s", "tokens/s"),), digits=0, minor=True),
    Chart(
        "memory", "Memory", "The most held so far.",
        (_of("memory_bytes", "GiB", scale=2**-30),), digits=2, exact=True, rises=True, minor=True,
    ),
)  # fmt: skip
_KEYS = {kind: {s.key for chart in CHARTS for s in chart.series if s.kind == kind} for kind in (TRAIN, HELDOUT)}


def points_after(*, run: Run, line: int) -> dict:
    """The points of at most PAGE events after `line`; `more` when there are others, `over` when none will come.

    A run that went on from an earlier checkpoint has fewer lines than the asker saw: then `again` says to forget them. Of a
    long run the first answer holds every n-th step at once (`every`), as many as a picture can show; none is lost in the rows.
    """
    over = JobState(run.state).is_over  # read before the events are: what was written before the end is then among them
    newest = run.events.aggregate(line=Max("line"), step=Max("step"))
    again = line > (newest["line"] or 0)
    line = 0 if again else line
    every = math.ceil((newest["step"] or 0) / DRAWN) if line == 0 else 1
    if every > 1:
        shown, more = _thinned(run, every, newest["line"]), False
        line = newest["line"]
    else:
        events = list(run.events.filter(line__gt=line, kind__in=_KEYS)[: PAGE + 1])
        shown, more = events[:PAGE], len(events) > PAGE
        line = shown[-1].line if shown else line
    return {
        "again": again,
        "line": line,
        "more": more,
        "over": over and not more,
        "every": max(1, every),
        "points": [_point(event) for event in shown],
    }


def _thinned(run: Run, every: int, last: int) -> list[RunEvent]:
    """Every so many steps, and the newest one; of the held-out points, which are few, all that are not more than DRAWN."""
    events = run.events.filter(line__lte=last).annotate(place=F("step") % every)
    heldout = events.filter(kind=HELDOUT)
    sparse = every if heldout.count() > DRAWN else 1
    newest = run.events.filter(line__lte=last, kind=TRAIN).last()
    chosen = Q(kind=TRAIN, place=0) | (Q(kind=HELDOUT, place=0) if sparse > 1 else Q(kind=HELDOUT))
    shown = list(events.filter(chosen))
    return shown + ([newest] if newest and newest.step % every else [])


def rows_of(run: Run) -> Iterator[dict[str, float | str | int | None]]:
    """Every point of the run, as it was written: for files. In constant memory."""
    keys = columns()
    for event in run.events.filter(kind__in=_KEYS).iterator(chunk_size=PAGE):
        told = _numbers(event)
        yield {"kind": event.kind, "step": event.step} | {key: told.get(key) for key in keys}


def columns() -> list[str]:
    """The values that a point can have, in the order of the charts."""
    named = [series.key for chart in CHARTS for series in chart.series]
    return ["time", *dict.fromkeys(named)]


def _point(event: RunEvent) -> dict:
    values = {key: value for key, value in _numbers(event).items() if key in _KEYS[event.kind]}
    return {"kind": event.kind, "step": event.step, **values}


def _numbers(event: RunEvent) -> dict[str, float]:
    return {key: value for key, value in event.data.items() if isinstance(value, int | float)}


def compared(runs: list[Run]) -> list[Chart]:
    """One chart for each value, with a curve of each run; held-out values apart from those of the training pairs."""
    charts = []
    for chart in CHARTS:
        for one in chart.series:
            title = f"{chart.title}, {one.label}" if len(chart.series) > 1 else chart.title
            series = tuple(
                Series(str(run), one.kind, one.key, f"run-{place % RUN_COLOURS + 1}", one.scale, run.number)
                for place, run in enumerate(runs)
            )
            name = f"{chart.name}-{one.kind}-{one.key}"
            charts.append(replace(chart, name=name, title=title, series=series, minor=False))
    return charts


def ends(*, run: Run, kind: str) -> tuple[dict, dict]:
    """The values of the first and of the newest event of that kind; empty before there is one."""
    events = run.events.filter(kind=kind)
    return tuple({"step": event.step, **_numbers(event)} if event else {} for event in (events.first(), events.last()))


def resolved_settings(*, run: Run) -> dict[str, object]:
    """Every setting of the trainer: as it began with them, or before it began as they are asked for."""
    start = run.events.filter(kind="start").first()
    if start and isinstance(start.data.get("config"), dict):
        told = start.data["config"]
        return {setting.name: told.get(setting.name) for setting in hyperparameters()}
    asked = run.settings.get("overrides", {})
    preset = run.settings.get("preset")
    known = preset if preset in PRESETS else None
    return {setting.name: asked.get(setting.name, setting.default) for setting in hyperparameters(known)}
