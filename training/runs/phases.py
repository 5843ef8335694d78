"""What a run's trainer is at, in words, and how long it has worked: both from its events, which are all that is known of it."""

from django.utils import timezone

from training.models import Run, RunEvent
from training.models.job import JobState

TAKING = "Reading what has been judged, for its dataset"
LOADING = "Loading the model and reading the triples"
GOING_ON = "Loading the model and the checkpoint of step {step}"
REFERENCE = "Computing the reference: how likely it finds each answer"
CHECKING = "Checking before the first step"
FIRST_EVALUATION = "First evaluation, on the held-out pairs"
FIRST_STEP = "At the first step"
SAVING = "Step {step} of {steps} is done: evaluating and saving the model"


def phase_of(run: Run) -> str:
    """What a running trainer does before, between and after its steps; "" while it makes them."""
    if run.dataset_id is None:
        return TAKING
    last = run.events.last()
    if last is None:
        return LOADING
    if last.kind in ("stopped", "error") or _is_of_an_earlier_attempt(run, last):
        return GOING_ON.format(step=run.progress) if run.total else LOADING
    if last.kind == "sft":
        return f"First, fine-tuning on the chosen answers: step {last.data.get('done', 0)} of {last.data.get('of', '?')}"
    if run.progress:
        return SAVING.format(step=run.progress, steps=run.total) if run.progress == run.total else ""
    phases = {"checkpoint": CHECKING, "preflight": FIRST_EVALUATION}
    phases |= dict.fromkeys(("heldout", "samples", "resumed"), FIRST_STEP)
    return phases.get(last.kind, REFERENCE)


def _is_of_an_earlier_attempt(run: Run, event: RunEvent) -> bool:
    """Resuming starts the row's clock anew (`jobs.queue_again`)."""
    return bool(run.started_at) and _time(event, run.started_at.timestamp()) < run.started_at.timestamp()


def working_seconds(run: Run) -> float | None:
    """From its beginning to now or to its end, without the time between its being stopped and its going on."""
    now = timezone.now().timestamp()
    first, last = run.events.first(), run.events.last()
    if first is None or not _time(first, 0):
        return ((run.finished_at or timezone.now()) - run.started_at).total_seconds() if run.started_at else None
    began = min(_time(first, now), run.started_at.timestamp() if run.started_at else now)
    until = _time(last, began)
    again = list(run.events.filter(kind="resumed"))
    before = {event.line: event for event in run.events.filter(line__in=[event.line - 1 for event in again])}
    pauses = sum(_time(event, 0) - _time(before[event.line - 1], 0) for event in again if event.line - 1 in before)
    if run.state == JobState.RUNNING and run.started_at:
        since = run.started_at.timestamp() if _is_of_an_earlier_attempt(run, last) else until
        pauses -= now - since  # what has been done since the last event counts, too
    return max(0.0, until - began - pauses)


def _time(event: RunEvent, otherwise: float) -> float:
    time = event.data.get("time")
    return float(time) if isinstance(time, int | float) else otherwise
