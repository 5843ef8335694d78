"""Asking a model server: what it says, what it counts, and every way in which it can go wrong."""

import json
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.training.endpoints import make_endpoint
from tests.training.model_server import Handler, half, hangs, model_server, status, stream, web_page
from training.ai.protocol import share_of_a
from training.endpoints import chat
from training.endpoints.chat import Client, Question
from training.endpoints.errors import EndpointError, PromptRefused
from training.endpoints.pool import ask_all

SEA = [{"role": "user", "content": "Write one sentence about the sea."}]


@pytest.fixture
def server():
    with model_server("The sea is wide.") as running:
        yield running


@pytest.fixture
def quick(monkeypatch):
    """The library's pauses between tries, shortened."""
    import openai._base_client as base

    monkeypatch.setattr(base, "INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(base, "MAX_RETRY_DELAY", 0.02)


def wrong_kind(kind: str, content: str):
    return lambda handler: handler.send(200, content, kind=kind)


def ask(endpoint, **question):
    with Client(endpoint) as client:
        return client.ask(Question(SEA, **question))


def test_a_streamed_answer_with_its_counts_and_log_probabilities(project, server) -> None:
    endpoint = make_endpoint(project, server, extra={"top_k": 3})
    reply = ask(endpoint, logprobs=True, seed=7, temperature=0.5, top_p=0.9, max_new_tokens=20)
    (answer,) = reply.answers
    assert (answer.text, answer.finish_reason, answer.token_count) == ("The sea is wide.", "stop", 4)
    assert answer.logprob == pytest.approx(-2.0) and (reply.prompt_tokens, reply.completion_tokens) == (10, 4)
    (sent,) = server.requests
    assert {key: sent[key] for key in ("model", "seed", "temperature", "top_p", "max_tokens", "stream", "top_k")} == {
        "model": "stub", "seed": 7, "temperature": 0.5, "top_p": 0.9, "max_tokens": 20, "stream": True, "top_k": 3,
    }  # fmt: skip
    assert sent["messages"] == SEA


def test_several_answers_at_once_share_what_was_counted(project) -> None:
    with model_server(lambda body, index: "One word." if index else "These are four words.") as server:
        reply = ask(make_endpoint(project, server), n=2)
    assert [answer.text for answer in reply.answers] == ["These are four words.", "One word."]
    assert [answer.token_count for answer in reply.answers] == [4, 2] and reply.completion_tokens == 6


def test_a_server_that_tells_no_counts_has_its_pieces_counted(project, server) -> None:
    server.tells_usage = False
    reply = ask(make_endpoint(project, server))
    assert (reply.completion_tokens, reply.tells_usage, reply.answers[0].logprob) == (4, False, None)


def pieces(*texts: str, logprob: str = "-0.5", usage: str = "null") -> Callable[[Handler], None]:
    """A stream as it goes over the wire: JSON that Python's own writer does not make."""
    logprobs = f'{{"content":[{{"token":"A","logprob":{logprob},"top_logprobs":[{{"token":"A","logprob":{logprob}}}]}}]}}'
    deltas = [f'{{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"logprobs":{logprobs}}}]}}' for text in texts]
    ended = f'{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}],"usage":{usage}}}'
    return stream("".join(f"data: {event}\n\n" for event in (*deltas, ended, "[DONE]")))


@pytest.mark.parametrize(("halves", "text"), [(("\\ud83d", "\\ude00!"), "😀!"), (("\\ud83d", "!"), "�!")])
def test_a_character_that_comes_in_two_halves_is_put_together(project, server, halves, text) -> None:
    """As it is, no database takes it: not one pair of such a server would be stored."""
    server.always = pieces(*halves)
    assert ask(make_endpoint(project, server)).answers[0].text == text


@pytest.mark.parametrize("told", ["NaN", "Infinity", "-Infinity", "1000"])
def test_log_probabilities_that_cannot_be_do_no_harm(project, server, told) -> None:
    server.always = pieces("A", logprob=told)
    (answer,) = ask(make_endpoint(project, server), top_logprobs=5).answers
    assert -9999 <= answer.logprob <= 0 and share_of_a(answer.likeliest) in (None, 1.0)


@pytest.mark.parametrize("count", [-5, 10**30])
def test_counts_that_cannot_be_are_none(project, server, count) -> None:
    server.always = pieces("A", usage=f'{{"prompt_tokens":{count},"completion_tokens":{count}}}')
    reply = ask(make_endpoint(project, server))
    assert (reply.prompt_tokens, reply.completion_tokens, reply.tells_usage) == (0, 1, False)


def test_an_answer_that_is_not_streamed_is_taken_all_the_same(project, server) -> None:
    server.always = status(200, {"choices": [{"message": {"content": "Whole."}, "finish_reason": "length"}]})
    (answer,) = ask(make_endpoint(project, server)).answers
    assert (answer.text, answer.finish_reason) == ("Whole.", "length")


def test_the_key_is_sent_and_never_shown(project, server) -> None:
    endpoint = make_endpoint(project, server, key="sk-very-secret")
    ask(endpoint)
    assert server.keys == ["Bearer sk-very-secret"]
    server.always = status(401, {"error": {"message": "Bad key sk-very-secret"}})
    with pytest.raises(EndpointError, match="refuses the key") as refused:
        ask(endpoint)
    assert "sk-very-secret" not in str(refused.value) and "Bad key …" in str(refused.value)


def test_a_429_is_waited_for_as_long_as_the_server_says(project, server) -> None:
    server.faults = [status(429, None, Retry_After="1")]
    started = time.monotonic()
    assert ask(make_endpoint(project, server)).answers
    assert time.monotonic() - started >= 1 and len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(429), "wants no more requests for now"),
        (status(500), "has failed"),
        (status(403), "refuses the key"),
        (status(404), "no model “stub”"),
        (status(307, {}, Location="http://127.0.0.1:1/v1/chat/completions"), "another address"),
        (web_page, "answered with a web page"),
        (status(200, "I am no JSON"), "not a chat completion"),
        (status(200, {"choices": []}), "not a chat completion"),
        (status(200, {"choices": [5]}), "not a chat completion"),
        (stream("data: {broken\n\n"), "cannot be read"),
        (stream('data: {"error": {"message": "out of memory"}}\n\n'), "out of memory"),
        (stream(""), "half-way"),
        (stream(json.dumps({"choices": [{"message": {"content": "Whole."}}]})), "half-way"),
        (stream('data: {"choices": []}\n\ndata: [DONE]\n\n'), "half-way"),
        (wrong_kind("image/png", "\x89PNG"), "not a chat completion"),
        (wrong_kind("text/plain", "Service is starting"), "Service is starting"),
        (wrong_kind("application/json", 'data: {"choices": []}\n\n'), "not a chat completion"),
        (status(429, None, Retry_After="86400"), "wants no more requests for now"),
        (status(429, None, Retry_After="soon"), "wants no more requests for now"),
        (wrong_kind("application/json", "[" * 200_000), "not a chat completion"),
        (wrong_kind("text/plain", "x" * 5_000_000), "more than 4,000,000 bytes"),
        (half(), "half-way"),
    ],
)
def test_each_failure_is_told_in_words(project, server, quick, fault, words) -> None:
    server.always = fault
    with pytest.raises(EndpointError, match=words) as told:
        ask(make_endpoint(project, server))
    assert not isinstance(told.value, PromptRefused)


def test_a_refused_request_is_that_questions_fault_alone(project, server) -> None:
    server.always = status(400, {"error": {"message": "maximum context length is 512"}})
    with pytest.raises(PromptRefused, match="maximum context length is 512"):
        ask(make_endpoint(project, server))
    assert len(server.requests) == 1


def test_a_server_that_hangs_is_given_up(project, server, quick) -> None:
    server.always = hangs()
    started = time.monotonic()
    endpoint = make_endpoint(project, server, timeout_seconds=1)
    with pytest.raises(EndpointError, match="did not answer within 1 s"), Client(endpoint, retries=1) as client:
        client.ask(Question(SEA))
    assert time.monotonic() - started < 20


def test_a_half_streamed_answer_is_asked_for_again_and_paid_for(project, server) -> None:
    server.faults = [half(2)]
    reply = ask(make_endpoint(project, server))
    assert reply.answers[0].text == "The sea is wide." and (reply.requests, reply.completion_tokens) == (2, 6)
    assert reply.prompt_tokens == 20  # it was read twice


def test_an_answer_that_never_comes_whole_says_what_it_has_cost(project, server) -> None:
    server.always = half(2)
    with pytest.raises(EndpointError, match="3 times") as told:
        ask(make_endpoint(project, server))
    assert (told.value.requests, told.value.completion_tokens) == (3, 6)


def test_an_answer_without_end_is_cut_off(project, server, monkeypatch) -> None:
    monkeypatch.setattr(chat, "LARGEST", 1000)
    server.say = lambda body, index: "word " * 10_000
    with pytest.raises(EndpointError, match="wrote more than 1,000 characters"):
        ask(make_endpoint(project, server))


def test_a_certificate_that_is_not_good_is_not_trusted(project, server, tmp_path) -> None:
    server.http.socket = self_signed(tmp_path).wrap_socket(server.http.socket, server_side=True)
    endpoint = make_endpoint(project, server.url.replace("http:", "https:"), key="sk-very-secret")
    with pytest.raises(EndpointError, match=r"cannot be reached \(.*certificate") as told, Client(endpoint, retries=0) as client:
        client.ask(Question(SEA))
    assert not server.keys and "sk-very-secret" not in str(told.value)  # nothing was sent


def test_a_name_that_leads_nowhere(project) -> None:
    endpoint = make_endpoint(project, "http://no-such-host.invalid/v1")
    with pytest.raises(EndpointError, match=r"cannot be reached.*base URL is right"), Client(endpoint, retries=0) as client:
        client.ask(Question(SEA))


def self_signed(directory: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    day = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), day, day + timedelta(days=1))
    path = directory / "server.pem"
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    path.write_bytes(pem + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_nobody_listens(project) -> None:
    with pytest.raises(EndpointError, match="cannot be reached"), Client(make_endpoint(project, "http://127.0.0.1:9/v1"),
                                                                         retries=0) as client:  # fmt: skip
        client.ask(Question(SEA))


def test_so_many_at_once_and_no_more(project, server) -> None:
    endpoint = make_endpoint(project, server, concurrency=3)
    server.always = lambda handler: (time.sleep(0.05), handler.answer())
    with Client(endpoint) as client:
        replies = dict(ask_all(client, [Question(SEA)] * 12))
    assert sorted(replies) == list(range(12)) and server.most_at_once == 3


def test_so_many_a_minute_and_no_more(project, server) -> None:
    endpoint = make_endpoint(project, server, requests_per_minute=300)
    started = time.monotonic()
    with Client(endpoint) as client:
        assert len(list(ask_all(client, [Question(SEA)] * 4))) == 4
        assert len(list(ask_all(client, [Question(SEA)] * 2))) == 2
    assert time.monotonic() - started >= 5 * 0.2


def test_when_the_server_fails_what_is_under_way_still_counts(project, server, quick) -> None:
    endpoint = make_endpoint(project, server, concurrency=2)
    server.faults = [lambda handler: (time.sleep(0.4), handler.answer()), status(401)]
    came = []
    with Client(endpoint) as client, pytest.raises(EndpointError, match="refuses the key"):
        for place, _ in ask_all(client, [Question(SEA)] * 6):
            came.append(place)
    assert len(came) == 1 and len(server.requests) == 2


def test_a_worker_that_is_to_stop_does_not_wait_for_the_server(project, server) -> None:
    class Stop(Exception): ...

    def pulse() -> None:
        if server.requests:
            raise Stop

    server.always = hangs()
    started = time.monotonic()
    with Client(make_endpoint(project, server)) as client, pytest.raises(Stop):
        list(ask_all(client, [Question(SEA)], pulse=pulse))
    assert time.monotonic() - started < 20
