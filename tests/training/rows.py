"""Rows of the training half for tests of pages: no trainer, no model, numbers made up from a formula."""

import math
from datetime import timedelta
from typing import Any

from django.utils import timezone

from annotate.models import Assignment, Judgement, Project, User
from annotate.models.prompt import Split
from tests.builders import make_comparison, make_completion, make_prompt, make_version
from training.models import Dataset, Evaluation, EvaluationPair, Run, RunEvent, Version


def make_dataset(project: Project, **fields: Any) -> Dataset:
    number = project.datasets.count() + 1
    defaults = {
        "project": project,
        "number": number,
        "directory": f"datasets/none-{number}",
        "train_sha256": "a1" * 32,
        "heldout_sha256": "b2" * 32,
        "train_count": 38,
        "heldout_count": 9,
        "counts": {"tie": 6, "both_bad": 2, "incomplete": 0},
        "filters": {"consensus": "majority"},
    }
    return Dataset.objects.create(**defaults | fields)


def make_run(project: Project, parent: Version, **fields: Any) -> Run:
    number = project.runs.count() + 1
    defaults = {
        "project": project,
        "number": number,
        "parent": parent,
        "reference": parent,
        "settings": {"preset": "small", "overrides": {}},
        "directory": f"runs/none-{number}",
        "state": "running",
        "progress": 24,
        "total": 40,
        "started_at": timezone.now() - timedelta(minutes=4),
        "claimed_at": timezone.now() - timedelta(minutes=4),
        "heartbeat_at": timezone.now(),
    }
    if "dataset" not in fields:
        fields["dataset"] = make_dataset(project)
    return Run.objects.create(**defaults | fields)


def add_events(run: Run, steps: int = 40, first_line: int = 1) -> None:
    """A plausible history: an event for each step, held-out pairs at every fifth."""
    events = []
    for step in range(steps + 1):
        if step:
            speed = {"grad_norm": 20 / step, "learning_rate": 1e-5, "tokens_per_s": 900.0, "memory_bytes": 2_400_000_000}
            events.append(("step", step, values_at(step) | speed))
        if step % 5 == 0:
            events.append(("heldout", step, values_at(0.7 * step) | {"pairs": 9}))
    RunEvent.objects.bulk_create(
        RunEvent(run=run, line=line, kind=kind, step=step, data=data)
        for line, (kind, step, data) in enumerate(events, start=first_line)
    )


def values_at(step: float) -> dict[str, float]:
    margin = 2 * (1 - math.exp(-step / 18))
    return {
        "loss": math.log1p(math.exp(-margin)),
        "accuracy": 0.5 + 0.4 * (1 - math.exp(-step / 9)),
        "margin": margin,
        "chosen_logp": -80 + margin,
        "rejected_logp": -95 - 9 * margin,
        "chosen_reward": 0.1 * margin,
        "rejected_reward": -0.9 * margin,
    }


def make_trained(project: Project, parent: Version, **fields: Any) -> Version:
    """A version with the finished run that made it."""
    run = make_run(project, parent, state="done", progress=40, finished_at=timezone.now())
    return make_version(project, **{"parent": parent, "run": run} | fields)


def make_samples(project: Project, before: Version, after: Version, count: int = 2) -> None:
    for number in range(count):
        prompt = make_prompt(project, f"How long is piece {number} of string?", split=Split.HELDOUT)
        make_completion(prompt, "It is about as long as you cut it, give or take.", before, temperature=0, token_count=14)
        make_completion(prompt, "It is as long as you cut it.", after, temperature=0, token_count=9)


def make_evaluation(candidate: Version, opponent: Version, pairs: int = 0, **fields: Any) -> Evaluation:
    """Asked for, answered, and with the annotators: `pairs` held-out prompts with an open comparison each."""
    project = candidate.project
    defaults = {
        "project": project,
        "number": project.evaluations.count() + 1,
        "candidate": candidate,
        "opponent": opponent,
        "prompts_wanted": pairs or 1,
        "temperature": project.temperature,
        "top_p": project.top_p,
        "max_new_tokens": project.max_new_tokens,
        "bar": project.promotion_bar,
        "state": "done",
    }
    evaluation = Evaluation.objects.create(**defaults | fields)
    for number in range(pairs):
        add_evaluation_pair(evaluation, candidate_first=number % 2 == 0)
    return evaluation


def add_evaluation_pair(
    evaluation: Evaluation, ours: str = "It is the candidate's.", theirs: str = "It is another.", candidate_first: bool = True
) -> EvaluationPair:
    """With a comparison, unless both answers are the same."""
    prompt = make_prompt(evaluation.project, split=Split.HELDOUT)
    candidate = make_completion(prompt, ours, evaluation.candidate)
    opponent = make_completion(prompt, theirs, evaluation.opponent)
    comparison = None
    if ours != theirs:
        first, second = (candidate, opponent) if candidate_first else (opponent, candidate)
        comparison = make_comparison(evaluation.project, prompt, first=first, second=second, purpose="evaluate")
    return EvaluationPair.objects.create(
        evaluation=evaluation, prompt=prompt, candidate=candidate, opponent=opponent, comparison=comparison
    )


def make_judgement(project: Project, annotator: User, outcome: str = "first", **fields: Any) -> Judgement:
    comparison = make_comparison(project, state="done", free_places=0, **fields)
    assignment = Assignment.objects.create(
        comparison=comparison, annotator=annotator, swapped=False, state="judged", expires_at=timezone.now()
    )
    strength = 1 if outcome in ("first", "second") else 0
    return Judgement.objects.create(
        assignment=assignment, comparison=comparison, annotator=annotator, outcome=outcome, strength=strength
    )


def add_samples(run: Run, line: int, step: int, *answers: str) -> None:
    """The event of sample prompts 1, 2 … answered so; an answer that ends in … was cut."""
    samples = [
        {
            "line": number, "id": number, "answer": answer, "tokens": 3, "ended": not answer.endswith("…"),
            "prompt": [{"role": "user", "content": "First"}, {"role": "user", "content": f"Question {number}?"}],
        }
        for number, answer in enumerate(answers, start=1)
    ]  # fmt: skip
    RunEvent.objects.create(run=run, line=line, kind="samples", step=step, data={"samples": samples, "of": "heldout"})
