"""What happens in a project now and what happens next, in words, with what to do where something is stuck."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone
from django.utils.dateformat import format as date_format
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from annotate.models import Project
from annotate.models.project import Promoting
from annotate.projects.progress import Pairs
from training import tasks
from training.clock.scheduling import automates, new_judgements, next_time
from training.models import Evaluation, FileImport, Generation, Inquiry, Run, Scoring, Sitting, Version
from training.models.job import Job, JobState
from training.wording import counted, lasting
from training.worker.jobs import JOBS

WORKER = '.venv/bin/python manage.py db_worker --queue-name "*"'
CLOCK = ".venv/bin/python manage.py automate"
MORE_PAIRS = "More are written for new prompts, or when another version serves: train, or import prompts."
PATIENCE = timedelta(seconds=30)  # a job waits no longer than this when a worker is there


@dataclass(frozen=True)
class Line:
    level: str  # a notice's class: info, good, warn, error
    title: str
    text: str = ""
    command: str = ""
    url: str = ""
    link: str = ""
    for_managers: bool = False  # the link: others would be refused


@dataclass(frozen=True)
class Situation:
    """What the lines are told from; the page shows some of it by itself."""

    project: Project
    serving: Version | None
    pairs: Pairs
    generation: Generation | None  # the newest
    run: Run | None  # the newest
    changed_at: datetime | None  # when something last happened that the clock may act on
    unanswered: bool  # the serving version has prompts left of which it has written no pair
    cautions: int = 0  # warnings on the page of the version that serves
    evaluation: Evaluation | None = None  # the newest that is open

    @property
    def waits_in_vain(self) -> bool:
        """The queue has been low for longer than the clock takes to see it."""
        return bool(self.changed_at and timezone.now() - self.changed_at > PATIENCE)


def outlook_of(now: Situation, *, prompts: int) -> list[Line]:
    if not prompts:
        return [
            Line(
                "warn",
                "There are no prompts yet",
                "Add a file of them on the Data page, or on the command line.",
                command=f".venv/bin/python manage.py import_prompts prompts.jsonl --project {now.project.slug}",
                url=reverse("data", args=[now.project.slug]),
                link="Open Data",
                for_managers=True,
            )
        ]
    if not now.serving:
        return [
            Line(
                "warn",
                "No model serves yet",
                "Add one: a Hub id, a directory or a GGUF file.",
                command=f".venv/bin/python manage.py add_model smollm2 --project {now.project.slug} --serve",
            )
        ]
    stuck = stuck_line(now.generation, "The generation"), stuck_line(now.run, "The run")
    if all(stuck):
        return [stuck[0], *_cautions(now)]  # one worker is missing, and one command helps
    lines = stuck[0] or _generation(now), stuck[1] or _run(now)
    return [*([line for line in lines if line] or [_rest(now)]), *_evaluation(now), *_next_run(now), *_cautions(now)]


def _generation(now: Situation) -> Line | None:
    job, low = now.generation, now.project.queue_low
    if job and job.version_id != now.serving.pk:
        if not JobState(job.state).is_over:
            return _of_another_version(now)
        job = None  # how it ended says nothing of the version that serves now
    if job and job.state == JobState.RUNNING:
        text = (
            f"{job.progress} of {counted(job.total, 'pair')} written by {job.version}"
            if job.total
            else f"{job.version} is being loaded"
        )
        left = f"; about {lasting(job.eta_seconds)} left." if job.eta_seconds else "."
        return Line("info", "New pairs are being generated", text + left)
    if job and job.state == JobState.QUEUED:
        return Line("info", "New pairs are about to be generated", f"{job.version} writes them as soon as a worker is free.")
    if not now.unanswered:
        return _all_answered(now) if now.pairs.free < low else None
    if job and job.state == JobState.FAILED:
        return Line("error", "The last generation failed", job.error or "It left no message; see the worker's terminal.")
    if job and job.state == JobState.DONE and job.total and not job.progress:
        return Line("warn", "The last generation gave no new pair", f"{_dropped(job)}It is tried again later.")
    if now.pairs.free >= low:
        return None
    state = f"{_waiting(now.pairs)}; with fewer than {low} left to hand out, {now.serving} writes more."
    if now.waits_in_vain:
        return Line(
            "warn", "The queue is low and nothing refills it", f"{state} If the clock does not run, start it:", command=CLOCK
        )
    return Line("info", "The queue is low", f"{state} It begins within seconds.")


def _of_another_version(now: Situation) -> Line:
    """It writes nothing more (`training.generation.pairs`), and only then does the clock start one of the serving version."""
    then = f"; then {now.serving}, which serves now, begins." if now.pairs.free < now.project.queue_low else "."
    name = f"The generation of {now.generation.version}"
    if now.generation.state == JobState.RUNNING:
        return Line("info", f"{name} ends", f"It finishes the pairs in hand{then}")
    return Line("info", f"{name} is dropped", f"A worker ends it as soon as one is free{then}")


def _dropped(job: Generation) -> str:
    counts = {
        "identical": job.dropped_identical,
        "empty": job.dropped_empty,
        "in which an answer names its maker": job.dropped_named,
        "refused by the model": job.dropped_refused,
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    differ = "A higher temperature makes answers differ. " if job.dropped_identical else ""
    return f"Dropped: {told}. {differ}" if told else ""


def _all_answered(now: Situation) -> Line:
    wait = f"{_waiting(now.pairs)}. " if now.pairs.waiting else ""
    return Line("info", f"Every prompt has its pair of {now.serving}", wait + MORE_PAIRS)


def _waiting(pairs: Pairs) -> str:
    """As every page counts them, and how many of them are on somebody's screen."""
    wait = f"{counted(pairs.waiting, 'pair')} {'waits' if pairs.waiting == 1 else 'wait'} for judgement"
    taken = pairs.waiting - pairs.free
    return f"{wait}, {taken} of them on somebody's screen" if taken else wait


def _run(now: Situation) -> Line | None:
    run = now.run
    if run is None or run.state in (JobState.DONE, JobState.CANCELLED):
        return None
    link = {"url": run.get_absolute_url(), "link": f"See {run}"}
    if run.state == JobState.RUNNING:
        left = f"About {lasting(run.eta_seconds)} left. " if run.eta_seconds else ""
        then = (
            "Its version starts to serve when it is done."
            if now.project.promoting == Promoting.AT_ONCE
            else "Its version is then compared blindly with the one that serves."
            if now.project.promoting == Promoting.EVALUATED
            else "Its version waits for you to make it serve."
        )
        return Line("info", f"{str(run).capitalize()} is training {run.parent}", left + then, **link)
    if run.state == JobState.QUEUED:
        return Line("info", f"{str(run).capitalize()} is about to start", "As soon as a worker is free.", **link)
    return Line("error", f"{str(run).capitalize()} failed", run.error or "It left no message; its log may tell.", **link)


def _evaluation(now: Situation) -> list[Line]:
    if (found := now.evaluation) is None:
        return []
    then = f" {found.candidate} serves when it passes." if found.promotes else ""
    link = {"url": found.get_absolute_url(), "link": f"See {found}"}
    if not found.is_judged:
        title = f"{found.candidate_name} and {found.opponent} answer held-out prompts"
        return [Line("info", title, f"Then annotators compare them blindly.{then}", **link)]
    judged = f"{found.figures.get('prompts', 0)} of {counted(found.prompts_wanted, 'prompt')} judged."
    return [Line("info", f"{found.candidate_name} is compared blindly with {found.opponent}", judged + then, **link)]


def stuck_line(job: Job | None, name: str) -> Line | None:
    """A job that should be worked on and is not: then no worker is there."""
    if job is None:
        return None
    now = timezone.now()
    if job.state == JobState.QUEUED and (waiting := now - _queued_at(job)) > PATIENCE:
        if work := work_at_hand(job.project):
            return Line("info", f"{name} waits its turn", f"A worker is at {work} and takes it up next.")
        since = lasting(waiting.total_seconds())
        return Line(
            "warn", f"{name} has been waiting for {since}", "No worker has taken it up. If none runs, start one:", command=WORKER
        )
    if job.state == JobState.RUNNING and job.heartbeat_at and now - job.heartbeat_at > timedelta(seconds=settings.STALE_SECONDS):
        since = lasting((now - job.heartbeat_at).total_seconds())
        return Line(
            "warn",
            f"{name}'s worker has not been seen for {since}",
            "Another worker takes the work up from where it was saved. If none runs, start one:",
            command=WORKER,
        )
    return None


def _queued_at(job: Job) -> datetime:
    """When it was last put into the queue: a job that is resumed, or taken from a dead worker, was made long before."""
    looked_at_by = {Run: tasks.train, Evaluation: tasks.evaluate, Generation: tasks.generate, FileImport: tasks.import_file}
    task = looked_at_by[type(job)]
    newest = DBTaskResult.objects.filter(task_path=task.module_path, args_kwargs={"args": [job.pk], "kwargs": {}})
    return newest.aggregate(at=Max("enqueued_at"))["at"] or job.created_at


def work_at_hand(project: Project) -> str:
    """What keeps a worker that shows signs of life busy, by a heartbeat or a task it took a while ago; "" if nothing does.

    Of other projects nothing is told.
    """
    alive = timezone.now() - timedelta(seconds=settings.STALE_SECONDS)
    jobs = [job for kind in JOBS for job in kind.objects.filter(state=JobState.RUNNING, heartbeat_at__gt=alive)]
    for job in jobs:
        if job.project_id == project.pk:
            return _in_words(job)
    lately = timezone.now() - timedelta(minutes=10)
    taken = DBTaskResult.objects.filter(status=TaskResultStatus.RUNNING, started_at__gt=lately)
    describing = taken.filter(task_path=tasks.describe_version.module_path).first()
    if describing and (version := project.versions.filter(pk=describing.args_kwargs["args"][0]).first()):
        return f"the samples of {version}"
    return "other work" if jobs or taken.exists() else ""


def _in_words(job: Job) -> str:
    if isinstance(job, Run):
        return f"{job} (step {job.progress} of {job.total})" if job.total else str(job)
    if isinstance(job, Scoring):
        return f"the {job}"
    if isinstance(job, Evaluation):
        return f"the answers of {job}"
    if isinstance(job, Inquiry):
        return f"an inquiry of {job.version}"
    if isinstance(job, FileImport):
        return f"the {job}"
    if isinstance(job, Sitting):
        return "judging pairs"
    done = f" ({job.progress} of {counted(job.total, 'pair')})" if job.total else ""
    return f"the generation of {job.version}{done}"


def _next_run(now: Situation) -> list[Line]:
    """What starts the next run by itself, unless one is unfinished."""
    project = now.project
    if not automates(project) or (now.run and not JobState(now.run.state).is_over):
        return []
    parts = []
    if project.trains_after:
        parts.append(f"when {counted(project.trains_after, 'new judgement')} have come; {new_judgements(project)} so far")
    if at := next_time(project, after=timezone.now()):
        parts.append(f"on {date_format(timezone.localtime(at), 'l, j F, H:i')}, if anything is new by then")
    then = {
        Promoting.AT_ONCE: "Its version starts to serve when it is done.",
        Promoting.EVALUATED: "Its version serves once it has passed its evaluation.",
    }.get(project.promoting, "Its version waits for you to make it serve.")
    return [Line("info", "The next run starts by itself", f"{', or '.join(parts)[:1].upper()}{', or '.join(parts)[1:]}. {then}")]


def _cautions(now: Situation) -> list[Line]:
    if not now.cautions:
        return []
    stand = f"{counted(now.cautions, 'caution')} {'stands' if now.cautions == 1 else 'stand'} on its page"
    return [Line("warn", f"{now.serving} serves, and {stand}", url=now.serving.get_absolute_url(), link=f"See {now.serving}")]


def _rest(now: Situation) -> Line:
    return Line(
        "good",
        _waiting(now.pairs),
        f"{now.serving} writes more when fewer than {now.project.queue_low} are left to hand out."
        if now.unanswered
        else MORE_PAIRS,
    )
