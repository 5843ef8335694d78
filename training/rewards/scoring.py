"""The worker's part of a scoring: the pairs as a file, `python -m training.dpo score` on them, its lines as rows.

It is the trainer's own forward pass, in a process of its own: its memory is free again when it ends.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from django.conf import settings
from django.db import transaction

from annotate.models import Comparison
from annotate.models.completion import FinishReason
from training.models import Score, Scoring
from training.rewards.implicit import figures_of_rewards, follow_rewards, has_rewards, unscored
from training.versions.registry import serving_version
from training.worker import jobs
from training.worker.seeing_through import see_through
from training.worker.stopping import Interrupted, WorkFailed

MOST = 5000  # pairs of a job that somebody asked for
BY_ITSELF = 32  # … and of one that nobody did: annotators and runs must not wait long for the worker
ROWS_AT_ONCE = 500  # SQLite takes a limited number of variables
LOOK_SECONDS = 0.25
SCORER = (sys.executable, "-m", "training.dpo", "score")


def run_scoring(scoring_id: int, *, check: Callable[[], None] = lambda: None) -> None:
    """The task: claim the scoring and see it through. Does nothing if it is not queued.

    `check` is called a few times a second; when it raises Stopped, the scoring goes back into the queue.
    """
    see_through(kind=Scoring, pk=scoring_id, work=lambda scoring: score_comparisons(scoring=scoring, check=check))


def score_comparisons(*, scoring: Scoring, check: Callable[[], None] = lambda: None) -> None:
    """Raises Interrupted, LostClaim, WorkFailed, and what `check` raises."""
    version = scoring.version
    if not has_rewards(version):
        raise WorkFailed(f"{version} has no reference to be measured against.")
    chosen = list(unscored(version).values_list("pk", flat=True)[: _most(scoring)])
    jobs.heartbeat(job=scoring, total=len(chosen))
    if chosen:
        directory = settings.VAR_DIR / "scores" / str(scoring.pk)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        try:
            if write_pairs(chosen, directory / "pairs.jsonl"):
                _run_scorer(scoring, directory, check)
            store_scores(scoring=scoring, chosen=chosen, lines=read_lines(directory / "scores.jsonl"))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    jobs.finish(job=scoring, progress=scoring.total, figures=figures_of_rewards(version))
    follow_rewards(project=scoring.project)


def _most(scoring: Scoring) -> int:
    """None of a version that another has replaced while the scoring waited, unless somebody asked for it."""
    if scoring.started_by_id:
        return MOST
    return BY_ITSELF if serving_version(scoring.project) == scoring.version else 0


def write_pairs(pks: Sequence[int], path: Path) -> int:
    """First as chosen, second as rejected. Pairs that are the same but for white space are not worth a look."""
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, len(pks), ROWS_AT_ONCE):
            found = Comparison.objects.filter(pk__in=pks[start : start + ROWS_AT_ONCE])
            for comparison in found.select_related("prompt", "first", "second").order_by("pk"):
                first, second = comparison.first, comparison.second
                if first.text.strip() == second.text.strip():
                    continue
                row = {
                    "id": comparison.pk,
                    "prompt": comparison.prompt.messages,
                    "chosen": [{"role": "assistant", "content": first.text}],
                    "rejected": [{"role": "assistant", "content": second.text}],
                    "chosen_truncated": first.finish_reason == FinishReason.LENGTH,
                    "rejected_truncated": second.finish_reason == FinishReason.LENGTH,
                }
                file.write(json.dumps(row) + "\n")
                written += 1
    return written


def _run_scorer(scoring: Scoring, directory: Path, check: Callable[[], None]) -> None:
    version = scoring.version
    command = [
        *SCORER, str(directory / "pairs.jsonl"), "--model", str(version.path), "--reference", str(version.run.reference.path),
        "--output", str(directory / "scores.jsonl"), "--beta", str(scoring.beta), "--over-long", "drop",
    ]  # fmt: skip
    with (directory / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=settings.BASE_DIR, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        try:
            _wait(process, scoring, check)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        said = [line for line in (directory / "log.txt").read_text("utf-8", "replace").splitlines() if line.strip()]
        raise WorkFailed(said[-1].removeprefix("error: ")[:2000] if said else f"It ended with code {process.returncode}.")


def _wait(process: subprocess.Popen, scoring: Scoring, check: Callable[[], None]) -> None:
    beaten = time.monotonic()
    while process.poll() is None:
        check()
        if time.monotonic() - beaten >= settings.HEARTBEAT_SECONDS:
            beaten = time.monotonic()
            if jobs.heartbeat(job=scoring):
                raise Interrupted
        time.sleep(LOOK_SECONDS)


def read_lines(path: Path) -> Iterator[dict]:
    if path.exists():
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


@transaction.atomic
def store_scores(*, scoring: Scoring, chosen: Sequence[int], lines: Iterator[dict]) -> None:
    """A row for each pair looked at, so that none is looked at twice; those without a line have no reward."""
    rewards = {line["id"]: (line["chosen_reward"], line["rejected_reward"]) for line in lines}
    jobs.heartbeat(job=scoring, progress=len(rewards), left_out=len(chosen) - len(rewards))
    there = set(Comparison.objects.filter(project=scoring.project_id).values_list("pk", flat=True))
    Score.objects.bulk_create(
        [
            Score(version=scoring.version, comparison_id=pk, first_reward=first, second_reward=second)
            for pk in chosen
            if pk in there
            for first, second in [rewards.get(pk, (None, None))]
        ],
        ignore_conflicts=True,
        batch_size=ROWS_AT_ONCE,
    )
