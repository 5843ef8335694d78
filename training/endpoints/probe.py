"""Try an endpoint: how quickly it answers, and which parts of the API it really has.

Servers ignore, refuse or half-implement parts of OpenAI's API, so each is tried, not looked up: does `n` give n answers,
do log-probabilities come, does the same seed give the same answer, do different seeds give different ones.
"""

import time
from dataclasses import replace
from typing import Any

from django.utils import timezone

from training.endpoints.chat import Client, Question, Reply
from training.endpoints.errors import EndpointError, PromptRefused
from training.models import Endpoint

PATIENCE = 20.0  # seconds for the whole test when a person waits for it
ASKED = [{"role": "user", "content": "Write one sentence about the sea."}]
PLAIN = Question(ASKED, seed=None, temperature=1.0, max_new_tokens=24)
SEED, OTHER_SEED = 11, 12
TOP = 5


def probe_endpoint(endpoint: Endpoint, *, patience: float | None = None) -> Endpoint:
    """Ask it a few small questions and store what it offers. An error is stored, too, and raised (EndpointError)."""
    try:
        features = _find_features(endpoint, patience or endpoint.timeout_seconds * 4)
    except EndpointError as error:
        _store(endpoint, {"error": str(error)})
        raise
    _store(endpoint, features)
    return endpoint


def ensure_tested(endpoint: Endpoint) -> Endpoint:
    """Test it if nobody has, or the last test failed: a generation needs to know what it may ask for."""
    return endpoint if endpoint.was_tested and "error" not in endpoint.features else probe_endpoint(endpoint)


def _store(endpoint: Endpoint, features: dict[str, Any]) -> None:
    endpoint.features = features | {"at": timezone.now().isoformat(timespec="seconds")}
    Endpoint.objects.filter(pk=endpoint.pk).update(features=endpoint.features)  # a test is no change of it


def _find_features(endpoint: Endpoint, patience: float) -> dict[str, Any]:
    deadline = time.monotonic() + patience
    endpoint.features = {}
    with Client(endpoint, retries=0, timeout=min(endpoint.timeout_seconds, patience / 2)) as client:
        found: dict[str, Any] = {"models": _models(client)}
        first = _ask_plainly(client)
        found |= {"seconds": round(first.seconds, 2), "limit": endpoint.features["limit"], "usage": first.tells_usage}
        found["stream_options"] = endpoint.features["stream_options"]
        both = _try(client, replace(PLAIN, n=2), deadline)
        found["n"] = both is not None and len(both.answers) == 2
        told = _try(client, replace(PLAIN, max_new_tokens=4, logprobs=True, top_logprobs=TOP), deadline)
        found["logprobs"] = told is not None and bool(told.answers) and told.answers[0].logprob is not None
        found["top_logprobs"] = found["logprobs"] and bool(told.answers[0].likeliest)
        once, again, other = (_try(client, replace(PLAIN, seed=seed), deadline) for seed in (SEED, SEED, OTHER_SEED))
        found["seed"] = _same(once, again) and not _same(once, other)
        found["samples"] = not (_same(once, other) and _same(once, first))
    return found


def _models(client: Client) -> list[str]:
    """What it lists, which some servers cannot: then nothing. A server that is not there at all raises."""
    try:
        return client.models()[:50]
    except EndpointError:
        return []


def _ask_plainly(client: Client) -> Reply:
    """One answer, in the dialect the server understands, which is put into the endpoint's features."""
    refusal: EndpointError | None = None
    for limit in ("max_tokens", "max_completion_tokens"):
        for options in (True, False):
            client.endpoint.features |= {"limit": limit, "stream_options": options}
            try:
                return client.ask(PLAIN)
            except PromptRefused as error:
                refusal = refusal or error
    raise EndpointError(f"{refusal} It refuses even the plainest request: see that it serves a chat model.")


def _try(client: Client, question: Question, deadline: float) -> Reply | None:
    """None where the server refuses that part of the API. Raises EndpointError when it fails or takes too long."""
    if time.monotonic() > deadline:
        raise EndpointError(
            f"{client.endpoint.name} answers, but slowly: the test was not through in time. "
            "It may still be loading its model: test it again."
        )
    try:
        return client.ask(question)
    except PromptRefused:
        return None


def _same(one: Reply | None, other: Reply | None) -> bool:
    return bool(one and other and one.answers and other.answers and one.answers[0].text == other.answers[0].text)
