"""The steps of the loop, each through the functions that pages and workers call. Import it once Django is set up."""

import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from annotate.consensus.triples import settle
from annotate.judging.judgements import record_judgement
from annotate.models import Judgement, Project, User
from annotate.models.project import AiJudgements
from annotate.models.prompt import Prompt, Split, content_hash
from annotate.people.ai_members import change_ai_judgements
from annotate.projects.changes import create_project
from annotate.queue.claims import claim_comparison
from training.ai.annotators import create_ai_annotator
from training.ai.direct_scores import pair_best_against_worst
from training.ai.figures import figures_of
from training.ai.sittings import run_sitting, start_sitting
from training.endpoints.probe import probe_endpoint
from training.endpoints.registering import create_endpoint, serve_endpoint
from training.generation.pairs import run_generation
from training.models import AiAnnotator, AiScore, Endpoint, Generation, Version
from training.models.job import JobState
from training.runs.ordering import start_run
from training.runs.supervision import run_training
from training.versions.registry import add_base_version, promote

from .server import transformers_serve

QUESTIONS = [
    "Why is the sky blue? Answer in one sentence.",
    "Name a fruit that is red, and say how it tastes.",
    "What does a compass do?",
    "Give one reason to learn to swim.",
    "Write a short greeting for a friend.",
    "What is the capital of France?",
    "Say in one sentence what rain is.",
    "Name an animal that can fly.",
    "What is a good breakfast?",
    "Explain in one sentence what a bridge is for.",
]
RUBRIC = "- It answers what was asked.\n- It is correct.\n- It is as short as it can be."
TIMEOUT_SECONDS, ANSWER_TOKENS, SCORED_PROMPTS, SCORED_ANSWERS = 180, 32, 3, 3
RUN = {"learning_rate": 1e-4, "batch_pairs": 2, "micro_batch_tokens": 1024, "device": "cpu", "threads": 1}


def run_loop(directory: Path, url: str, model: str, *, steps: int) -> None:
    project = make_project()
    server = add_endpoint(project, "server", url, model)
    judge = add_judge(project, server)
    write_pairs(project, serve_endpoint(endpoint=server))
    sit(judge)
    pair_by_scores(project, judge, server.versions.get())
    make_sure_of_triples(project, judge)
    version = train(project, directory, steps)
    promote(version=version, why="It is new.")
    with tempfile.TemporaryDirectory() as scratch, transformers_serve(version.path, Path(scratch)) as (url, model):
        again = add_endpoint(project, f"version {version.number}", url, model)
        write_pairs(project, serve_endpoint(endpoint=again))
        sit(judge)
    print(f"all judgements: {_outcomes(project)}; {len(settle(project=project).triples)} triples")


def make_project() -> Project:
    project = create_project(by=User.objects.create_user("bench"), name="Served")
    high = len(QUESTIONS)
    project.max_new_tokens, project.queue_low, project.queue_high, project.judgements_required = ANSWER_TOKENS, high - 1, high, 1
    project.save()
    add_prompts(project, QUESTIONS)
    return project


def add_prompts(project: Project, questions: list[str]) -> None:
    for text in questions:
        messages = [{"role": "user", "content": text}]
        Prompt.objects.create(project=project, messages=messages, content_hash=content_hash(messages), split=Split.TRAIN)


def add_endpoint(project: Project, name: str, url: str, model: str) -> Endpoint:
    endpoint = create_endpoint(
        project=project, name=name, base_url=url, model=model, timeout_seconds=TIMEOUT_SECONDS, concurrency=1
    )
    with timed(f"test of “{name}”"):
        features = probe_endpoint(endpoint).features
    offered = [key for key in ("n", "logprobs", "top_logprobs", "seed", "samples", "usage") if features.get(key)]
    print(f"“{name}” offers: {', '.join(offered)}")
    return endpoint


def add_judge(project: Project, server: Endpoint) -> AiAnnotator:
    with_logprobs = server.offers("top_logprobs")
    return create_ai_annotator(project=project, name="Judge", rubric=RUBRIC, endpoint=server, uses_logprobs=with_logprobs)


def write_pairs(project: Project, writer: Version) -> None:
    generation = Generation.objects.create(project=project, version=writer)
    with timed("generation"):
        run_generation(generation.pk)
    generation.refresh_from_db()
    print(f"pairs: {generation.state}, {generation.progress} of {generation.total}, {generation.requests} requests, "
          f"{generation.prompt_tokens} + {generation.completion_tokens} tokens {generation.error}")  # fmt: skip
    _must_be_done(generation)


def sit(judge: AiAnnotator) -> None:
    """One sitting of the AI annotator: whatever the queue has for it."""
    sitting = start_sitting(judge)
    with timed("sitting"):
        run_sitting(sitting.pk)
    sitting.refresh_from_db()
    print(f"judged: {sitting.state}, {sitting.progress} pairs, {sitting.divided} divided, {sitting.skipped} skipped, "
          f"{sitting.requests} requests {sitting.error}; so far {_outcomes(judge.project)}; "
          f"place A {figures_of(judge).chose_a.percent}")  # fmt: skip
    _must_be_done(sitting)


def pair_by_scores(project: Project, judge: AiAnnotator, writer: Version) -> None:
    """Direct scores from 1 to 10 of several answers: of each prompt the best meets the worst, and the judge compares them."""
    add_prompts(project, [f"{question} Be brief." for question in QUESTIONS[:SCORED_PROMPTS]])
    with timed("direct scores"):
        made = pair_best_against_worst(
            project=project, annotator=judge, version=writer, prompts=SCORED_PROMPTS, answers=SCORED_ANSWERS
        )
    values = [round(value, 1) for value in AiScore.objects.filter(annotator=judge).values_list("value", flat=True)]
    print(f"direct scores of {SCORED_PROMPTS * SCORED_ANSWERS} answers: {values}; best against worst: {len(made)} pairs")
    if made:
        sit(judge)


def make_sure_of_triples(project: Project, judge: AiAnnotator) -> None:
    """If the AI's judgements give none, they only sort the queue, and a script judges as a person would."""
    if triples := settle(project=project).triples:
        print(f"consensus: {len(triples)} triples of the AI's judgements alone")
        return
    print(f"consensus: no triple; a lead is told: {figures_of(judge).worth[1]}")
    change_ai_judgements(project=project, to=AiJudgements.PRESORT)
    judged = judge_by_length(project, User.objects.get(username="bench"))
    triples = settle(project=project).triples
    print(f"so it only sorts the queue, and a script that likes the shorter one judges {judged}: {len(triples)} triples")


def judge_by_length(project: Project, person: User) -> int:
    """Through the queue, as a person does: the shorter answer is better."""
    count = 0
    while assignment := claim_comparison(project=project, annotator=person):
        lengths = [len(assignment.comparison.first.text), len(assignment.comparison.second.text)]
        a, b = reversed(lengths) if assignment.swapped else lengths
        choice = "a" if a < b else "b"
        record_judgement(annotator=person, assignment_id=assignment.pk, key=uuid.uuid4(), choice=choice, strength=1)
        count += 1
    return count


def train(project: Project, directory: Path, steps: int) -> Version:
    base, _ = add_base_version(project=project, source=str(directory))
    run = start_run(project=project, parent=base, overrides=RUN | {"max_steps": steps})
    with timed("run"):
        run_training(run.pk)
    run.refresh_from_db()
    _must_be_done(run)
    last = run.events.filter(kind="step").order_by("line").last()
    print(f"run: {run.state}, {run.dataset.train_count} triples, loss {last.data['loss']:.4f} in step {last.step}")
    return run.version


def _outcomes(project: Project) -> str:
    said = Counter(Judgement.objects.filter(comparison__project=project).values_list("outcome", flat=True))
    return ", ".join(f"{outcome} {count}" for outcome, count in sorted(said.items()))


def _must_be_done(job: Generation) -> None:
    if job.state != JobState.DONE:
        raise SystemExit(f"{job} is {job.state}: {job.error}")


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"  ({what}: {time.monotonic() - began:.0f} s)", flush=True)
