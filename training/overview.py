"""The loop of one project as its page shows it: a step for each arrow, with live counts."""

from dataclasses import dataclass

from django.core.cache import cache
from django.db.models import Count, Max, Q
from django.urls import reverse

from annotate.models import Project
from annotate.projects.judged import Judged, count_judged
from annotate.projects.progress import Pairs, recent_pairs
from training.datasets.kept_previews import kept_preview
from training.datasets.previews import Preview
from training.generation.unanswered import has_unanswered
from training.models import Generation, Run, Version
from training.models.job import Job, JobState
from training.outlook import Line, Situation, outlook_of
from training.versions.cautions import standing_cautions
from training.versions.registry import serving_version
from training.wording import counted, reasons_in_words

KEEP_SECONDS = 3600


@dataclass(frozen=True)
class Step:
    """One box of the picture."""

    name: str
    value: str
    note: str
    icon: str
    url: str = ""
    job: Job | None = None  # what is working on it now

    @property
    def icon_template(self) -> str:
        return f"icons/{self.icon}.svg"


@dataclass(frozen=True)
class Overview:
    steps: tuple[Step, ...]
    outlook: tuple[Line, ...]
    preview: Preview
    finished: Run | None  # the newest finished one: what has been judged since is new
    without: tuple[str, ...]  # what was judged and gives no triple, in words
    serving: Version | None
    busy: bool  # something runs or is about to: the page asks again soon
    runs: tuple[Run, ...]
    versions: tuple[Version, ...]


def overview_of(project: Project) -> Overview:
    prompts = project.prompts.aggregate(all=Count("id"), heldout=Count("id", filter=Q(split="heldout")), last=Max("created_at"))
    pairs, judged = recent_pairs(project), count_judged(project)
    finished = project.runs.filter(state=JobState.DONE).select_related("dataset").order_by("-number").first()
    preview = kept_preview(project=project, since=finished)
    serving = serving_version(project)
    runs = tuple(project.runs.select_related("parent", "version", "project", "dataset").order_by("-number")[:5])
    versions = tuple(project.versions.select_related("run", "project").order_by("-number")[:5])
    generation = project.generations.select_related("version").order_by("-id").first()
    promoted = project.promotions.aggregate(at=Max("at"))["at"]
    changes = [prompts["last"], judged.last, promoted, generation.finished_at if generation else None]
    now = Situation(
        project=project, serving=serving, pairs=pairs, generation=generation, run=runs[0] if runs else None,
        changed_at=max(filter(None, changes), default=None),
        unanswered=bool(serving and has_unanswered(serving)), cautions=_cautions(serving) if serving else 0,
        evaluation=project.evaluations.open().select_related("candidate", "opponent", "project").order_by("-number").first(),
    )  # fmt: skip
    working = [job for job in (generation, now.run) if job and not JobState(job.state).is_over]
    return Overview(
        steps=_steps(now, prompts, pairs, judged, preview),
        outlook=tuple(outlook_of(now, prompts=prompts["all"])),
        preview=preview,
        finished=finished,
        without=tuple(reasons_in_words(preview.without)),
        serving=serving,
        busy=bool(working or (now.unanswered and pairs.free < project.queue_low)),
        runs=runs,
        versions=versions,
    )


def _cautions(serving: Version) -> int:
    """Warnings on its page. A version never changes once it is described, so they are counted once."""

    def count() -> int:
        base = serving.project.versions.order_by("number").first()
        return sum(caution.level == "warn" for caution in standing_cautions(serving, base=base))

    key = f"cautions:{serving.pk}:{serving.created_at.timestamp()}:{serving.metrics.get('described_at')}"
    return cache.get_or_set(key, count, KEEP_SECONDS)


def _steps(now: Situation, prompts: dict, pairs: Pairs, judged: Judged, preview: Preview) -> tuple[Step, ...]:
    slug, about = now.project.slug, "~ " if preview.is_sample else ""
    return (
        Step("Prompts", f"{prompts['all']:,}", f"{prompts['heldout']:,} held out", "book"),
        Step("Comparisons", f"{pairs.all:,}", _pairs_in_words(pairs), "compare", job=_unfinished(now.generation)),
        Step("Judgements", f"{judged.all:,}", counted(judged.sideless, "tie or both bad", "ties or both bad"), "check"),
        Step("Triples", f"{about}{preview.train + preview.heldout:,}", f"{about}{preview.heldout:,} held out", "stack"),
        _run_step(now.run, reverse("runs", args=[slug])),
        _serving_step(now.serving, reverse("versions", args=[slug])),
    )


def _pairs_in_words(pairs: Pairs) -> str:
    retired = f", {pairs.retired:,} retired" if pairs.retired else ""
    return f"{pairs.judged:,} judged, {pairs.waiting:,} waiting{retired}"


def _run_step(run: Run | None, runs_url: str) -> Step:
    if run is None:
        return Step("Runs", "0", "none yet", "chart", runs_url)
    note = f"{run.percent} %" if run.state == JobState.RUNNING else JobState(run.state).label.lower()
    return Step("Run", str(run.number), note, "chart", run.get_absolute_url(), job=_unfinished(run))


def _serving_step(serving: Version | None, versions_url: str) -> Step:
    if serving is None:
        return Step("Serving", "–", "no model yet", "branch", versions_url)
    return Step("Serving", str(serving), "writes the pairs", "branch", serving.get_absolute_url())


def _unfinished(job: Generation | Run | None) -> Job | None:
    return job if job and not JobState(job.state).is_over else None
