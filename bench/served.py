"""The whole loop with a model server that is not ours: `python -m bench.served URL MODEL`.

The server writes the pairs and judges them as an AI annotator, in both orders; it scores answers from 1 to 10 by itself, of which
the best meets the worst; consensus makes triples, of which a run of the demo model (here, on this machine) learns. A judge whose
orders never agree gives none: then it only sorts the queue, and a script stands in for a person. For instance

    transformers serve DIRECTORY --host 127.0.0.1 --port 18733    (with "do_sample": true in its generation_config.json)
    python -m bench.served http://127.0.0.1:18733/v1 DIRECTORY
"""

import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from bench.environment import fresh_django

PROMPTS = [
    "Why is the sky blue? Answer in one sentence.",
    "Name a fruit that is red, and say how it tastes.",
    "What does a compass do?",
    "Give one reason to learn to swim.",
    "Write a short greeting for a friend.",
    "What is the capital of France?",
    "Say in one sentence what rain is.",
    "Name an animal that can fly.",
]
RUBRIC = "- It answers what was asked.\n- It is correct.\n- It is as short as it can be."
QUICK = {"learning_rate": 1e-4, "batch_pairs": 2, "micro_batch_tokens": 1024, "device": "cpu", "threads": 1, "max_steps": 2}


def main(url: str, model: str) -> None:
    with fresh_django():
        _loop(url, model)


@contextmanager
def timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"  ({what}: {time.monotonic() - started:.0f} s)", flush=True)


def _loop(url: str, model: str) -> None:
    from annotate.consensus.triples import settle
    from annotate.models import Judgement, Project, User
    from annotate.models.project import AiJudgements
    from annotate.models.prompt import Prompt, Split, content_hash
    from annotate.people.ai_members import change_ai_judgements
    from annotate.projects.changes import create_project
    from training.ai.annotators import change_ai_annotator, create_ai_annotator
    from training.ai.direct_scores import pair_best_against_worst
    from training.ai.figures import figures_of
    from training.ai.sittings import run_sitting, start_sitting
    from training.endpoints.probe import probe_endpoint
    from training.endpoints.registering import create_endpoint, serve_endpoint
    from training.generation.pairs import run_generation
    from training.models import AiScore, Generation
    from training.runs.ordering import start_run
    from training.runs.supervision import run_training
    from training.versions.registry import add_base_version

    person = User.objects.create_user("bench")
    project = create_project(by=person, name="Served")
    Project.objects.filter(pk=project.pk).update(max_new_tokens=48, queue_low=6, queue_high=8, judgements_required=1)
    project.refresh_from_db()
    for text in PROMPTS:
        messages = [{"role": "user", "content": text}]
        Prompt.objects.create(project=project, messages=messages, content_hash=content_hash(messages), split=Split.TRAIN)
    endpoint = create_endpoint(project=project, name="server", base_url=url, model=model, timeout_seconds=120, concurrency=1)
    with timed("test"):
        offers = probe_endpoint(endpoint).features
    print(
        "offers:", ", ".join(name for name in ("n", "logprobs", "top_logprobs", "seed", "samples", "usage") if offers.get(name))
    )
    writer = serve_endpoint(endpoint=endpoint)
    generation = Generation.objects.create(project=project, version=writer)
    with timed("generation"):
        run_generation(generation.pk)
    generation.refresh_from_db()
    print(f"generation: {generation.state}, {generation.progress} of {generation.total} pairs, {generation.requests} requests, "
          f"{generation.prompt_tokens} + {generation.completion_tokens} tokens {generation.error}")  # fmt: skip
    judge = create_ai_annotator(
        project=project, name="Judge", rubric=RUBRIC, endpoint=endpoint, uses_logprobs=bool(offers.get("top_logprobs"))
    )
    _sit(judge, start_sitting, run_sitting, figures_of)
    with timed("direct scores"):
        change_ai_annotator(annotator=judge, name="Judge", rubric=RUBRIC + "\n- It is friendly.")
        Project.objects.filter(pk=project.pk).update(temperature=1.2)
        judge.refresh_from_db()
        for number in range(4):
            messages = [{"role": "user", "content": f"{PROMPTS[number]} Be brief."}]
            Prompt.objects.create(project=project, messages=messages, content_hash=content_hash(messages), split=Split.TRAIN)
        project.refresh_from_db()
        made = pair_best_against_worst(project=project, annotator=judge, version=writer, prompts=4, answers=3)
    scores = list(AiScore.objects.values_list("value", "is_expectation"))
    print(f"direct scores: {[round(value, 1) for value, _ in scores]}, expectations: {sum(each for _, each in scores)}; "
          f"best against worst: {len(made)} pairs of 4 prompts")  # fmt: skip
    if made:
        _sit(judge, start_sitting, run_sitting, figures_of)
    said = list(Judgement.objects.values_list("outcome", flat=True))
    triples = settle(project=project).triples
    outcomes = ", ".join(f"{name} {said.count(name)}" for name in sorted(set(said)))
    print(f"judgements: {len(said)} ({outcomes}); {len(triples)} triples")
    if not triples:
        print(f"told to a lead: {figures_of(judge).worth[1]}")
        change_ai_judgements(project=project, to=AiJudgements.PRESORT)
        judged = _judge_by_length(project, person)
        triples = settle(project=project).triples
        print(f"so it only sorts the queue, and a script that likes the shorter one judges {judged}: {len(triples)} triples")
    base, _ = add_base_version(project=project, source="smollm2")
    with timed("run"):
        run = start_run(project=project, parent=base, overrides=QUICK)
        run_training(run.pk)
    run.refresh_from_db()
    last = run.events.filter(kind="step").order_by("line").last()
    print(f"run: {run.state} {run.error}, {run.dataset.train_count} triples, "
          f"loss {last.data['loss']:.3f} in step {last.step}" if last else run.state)  # fmt: skip


def _judge_by_length(project, person) -> int:
    """Through the queue, as a person does: the shorter answer is better."""
    from annotate.judging.judgements import record_judgement
    from annotate.queue.claims import claim_comparison

    count = 0
    while assignment := claim_comparison(project=project, annotator=person):
        lengths = [len(assignment.comparison.first.text), len(assignment.comparison.second.text)]
        a, b = reversed(lengths) if assignment.swapped else lengths
        record_judgement(
            annotator=person, assignment_id=assignment.pk, key=uuid.uuid4(), choice="a" if a < b else "b", strength=1
        )
        count += 1
    return count


def _sit(judge, start_sitting, run_sitting, figures_of) -> None:
    sitting = start_sitting(judge)
    with timed("sitting"):
        run_sitting(sitting.pk)
    sitting.refresh_from_db()
    figures = figures_of(judge)
    print(f"sitting: {sitting.state}, {sitting.progress} judged, {sitting.divided} divided, {sitting.skipped} skipped, "
          f"{sitting.requests} requests {sitting.error}; place A {figures.chose_a.percent}")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
