"""A model server that is not ours: `transformers serve` with the tiny model, asked as any endpoint is."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from annotate.consensus.triples import settle
from annotate.models import Comparison, Completion
from annotate.models.prompt import Split
from tests import builders
from tests.training.endpoints import make_endpoint
from tests.training.model_server import model_server
from training.ai.annotators import create_ai_annotator
from training.ai.sittings import run_sitting, start_sitting
from training.endpoints.chat import Client, Question
from training.endpoints.errors import EndpointError
from training.endpoints.probe import probe_endpoint
from training.endpoints.registering import serve_endpoint
from training.generation.pairs import run_generation
from training.models import Generation
from training.models.job import JobState
from training.runs.ordering import start_run
from training.runs.supervision import run_training

pytestmark = pytest.mark.torch
SEA = [{"role": "user", "content": "Write a short answer about the sea."}]


@pytest.fixture(scope="module")
def served(tiny_model, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """The server's address and what it calls its model: a directory, which samples only if its configuration says so."""
    directory = tmp_path_factory.mktemp("served") / "tiny"
    shutil.copytree(tiny_model, directory)
    path = directory / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_sample": True}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    program = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", program, "serve", str(directory), "--host", "127.0.0.1", "--port", str(port)]
    with Path(tmp_path_factory.mktemp("log") / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_until_it_answers(process, port, Path(log.name))
            yield f"http://127.0.0.1:{port}/v1", str(directory)
        finally:
            process.terminate()
            process.wait(30)


def wait_until_it_answers(process: subprocess.Popen, port: int, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(log.read_text()[-2000:])


@pytest.fixture
def endpoint(project, served):
    url, model = served
    project.max_new_tokens, project.queue_low, project.queue_high = 12, 3, 4
    project.save()
    return make_endpoint(project, url, model=model, timeout_seconds=30, features={"n": False, "logprobs": False})


def test_it_is_found_out_what_it_offers(endpoint) -> None:
    found = probe_endpoint(endpoint).features
    assert (found["n"], found["logprobs"], found["samples"], found["usage"]) == (False, False, True, True), found
    assert found["limit"] == "max_tokens"


def test_an_answer_has_its_text_its_end_and_its_counts(endpoint) -> None:
    with Client(endpoint) as client:
        reply = client.ask(Question(SEA, temperature=0.0, max_tokens=5))
        again = client.ask(Question(SEA, temperature=0.0, max_tokens=5))
    (answer,) = reply.answers
    assert answer.text and answer.text == again.answers[0].text
    assert (answer.finish_reason, answer.token_count, reply.completion_tokens) == ("length", 5, 5)
    assert reply.prompt_tokens > 5 and answer.logprob is None


def test_it_fills_the_queue(endpoint, project) -> None:
    for _ in range(5):
        builders.make_prompt(project)
    version = serve_endpoint(endpoint=endpoint)
    generation = Generation.objects.create(project=project, version=version)
    run_generation(generation.pk)
    generation.refresh_from_db()
    assert (generation.state, generation.progress) == (JobState.DONE, 4), generation.error
    assert generation.requests >= 8 and generation.prompt_tokens and generation.completion_tokens
    for comparison in Comparison.objects.select_related("first", "second"):
        assert comparison.first.text.strip() != comparison.second.text.strip()
    assert all(0 < count <= 12 for count in Completion.objects.values_list("token_count", flat=True))


def test_a_model_it_does_not_have_is_told_in_words(endpoint) -> None:
    endpoint.model = "another"
    with pytest.raises(EndpointError, match="requested 'another'"), Client(endpoint) as client:
        client.ask(Question(SEA))


def test_the_loop_with_generation_and_ai_judging_over_the_network(endpoint, project, base) -> None:
    """The server writes, another model (a stub, so that the outcome is known) judges, the weights here are trained on it."""

    def shorter(body, index) -> str:
        a, b = (body["messages"][1]["content"].split(f"<answer_{side}>\n")[1].split(f"\n</answer_{side}>")[0] for side in "AB")
        return "A" if len(a) < len(b) else "B" if len(b) < len(a) else "T"

    project.queue_low, project.queue_high = 9, 10
    project.save()
    for split in [Split.TRAIN] * 8 + [Split.HELDOUT] * 2:
        builders.make_prompt(project, split=split)
    writer = serve_endpoint(endpoint=endpoint)
    run_generation(Generation.objects.create(project=project, version=writer).pk)
    with model_server(shorter) as stub:
        speaker = make_endpoint(project, stub, name="judge")
        judge = create_ai_annotator(project=project, name="Brief", rubric="Shorter.", endpoint=speaker, uses_logprobs=False)
        run_sitting(start_sitting(judge).pk)
    triples = settle(project=project).triples
    assert len(triples) >= 5 and all(len(triple.chosen) < len(triple.rejected) for triple in triples)
    quick = {"learning_rate": 1e-3, "batch_pairs": 4, "micro_batch_tokens": 2000, "device": "cpu", "threads": 1, "max_steps": 2}
    run = start_run(project=project, parent=base, overrides=quick)
    run_training(run.pk)
    run.refresh_from_db()
    assert run.state == JobState.DONE, run.error
    assert run.version.parent == base and run.dataset.judgements.filter(annotator=judge.user).count() == len(triples)
