"""Ask a model server for chat completions, as OpenAI's API has them, and make sense of whatever comes back.

`openai` does the talking: it waits and tries again after a 408, 409, 429, a 5xx or a broken connection, as long as
`Retry-After` says. It is imported when the first client is made, so that a web process that asks nothing never loads it.
Nothing here touches the database: clients are used from threads (`training.endpoints.pool`).
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from annotate.text.typed import storable
from training.endpoints.errors import EndpointError, PromptRefused
from training.endpoints.keys import read_key
from training.models import Endpoint

RETRIES = 3
BROKEN_OFF = 3  # times that an answer may end in its middle
LONGEST = 10  # times the longest silence: no answer takes longer than that as a whole
IMPOSSIBLE = -9999.0  # nats, as vLLM tells it
MOST_TOKENS = 100_000_000  # that one request can have
LARGEST = 4_000_000  # characters or bytes of an answer
NO_KEY = "none"  # the library wants one

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Question:
    """One request. Temperature 0 is greedy; `top_logprobs` asks for the likeliest tokens at each place, too."""

    messages: Messages
    n: int = 1
    seed: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 128
    logprobs: bool = False
    top_logprobs: int = 0


@dataclass(frozen=True)
class Answer:
    text: str
    finish_reason: str  # "stop" or "length"
    token_count: int  # told by the server, or counted in what it streamed
    logprob: float | None = None  # log π(y|x), nats, summed over the tokens; None where it is not offered
    likeliest: tuple[dict[str, float], ...] = ()  # for each token of the answer: the likeliest ones with their log-probabilities


@dataclass(frozen=True)
class Reply:
    """`answers` may be fewer than were asked for: not every server knows `n`."""

    answers: tuple[Answer, ...]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    requests: int = 1
    tells_usage: bool = True


class BrokenOff(EndpointError):
    """The answer ended before it was complete."""


class Client:
    """One endpoint's connections. Close it. Raises EndpointError when the key cannot be read."""

    def __init__(self, endpoint: Endpoint, *, retries: int = RETRIES, timeout: float | None = None) -> None:
        import openai

        self.endpoint = endpoint
        self.timeout = timeout or endpoint.timeout_seconds
        self._key = read_key(endpoint)
        self._openai = openai
        self._api = openai.OpenAI(
            base_url=endpoint.base_url,
            api_key=self._key or NO_KEY,
            organization="",  # none of these from the environment: they belong to somebody else's server
            project="",
            timeout=openai.Timeout(self.timeout, connect=min(10.0, self.timeout)),
            max_retries=retries,
            http_client=openai.DefaultHttpxClient(follow_redirects=False),  # a key goes where it was typed for
        )

    def close(self) -> None:
        self._api.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def models(self) -> list[str]:
        """What the server says it has. Raises EndpointError."""
        try:
            found = self._api.models.with_raw_response.list()
            rows = json.loads(found.text).get("data")
            return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []
        except Exception as error:
            raise self._explained(error) from error

    def post(self, path: str, body: dict[str, Any]) -> str:
        """What the server answers to a request beyond OpenAI's API. Raises EndpointError."""
        try:
            return self._api.post(path, body=body, cast_to=str)
        except Exception as error:
            raise self._explained(error) from error

    def ask(self, question: Question) -> Reply:
        """Raises EndpointError: PromptRefused if only this question is at fault."""
        written = 0
        for number in range(1, BROKEN_OFF + 1):
            started = time.monotonic()
            gathered = _Gathered()
            try:
                self._listen(question, gathered, started)
                reply = gathered.reply(seconds=time.monotonic() - started, requests=number)
                return _with_what_broke_off(reply, written)
            except BrokenOff as error:
                written += gathered.written
                last = error
        last.requests, last.completion_tokens = BROKEN_OFF, written
        raise last

    def _listen(self, question: Question, gathered: "_Gathered", started: float) -> None:
        try:
            raw = self._api.chat.completions.with_raw_response.create(**self._request(question))
            kind = raw.headers.get("content-type", "").lower()
            if "text/event-stream" not in kind:
                return self._read_whole(raw, kind, gathered)
            for chunk in raw.parse():
                gathered.add(chunk)
                if gathered.characters > LARGEST:
                    raise EndpointError(f"{self._name} wrote more than {LARGEST:,} characters to one question. Lower the longest "
                                        "answer in the project's settings; see whether the server heeds it.")  # fmt: skip
                if time.monotonic() - started > LONGEST * self.timeout:
                    raise BrokenOff(f"{self._name} kept on answering for more than {LONGEST * self.timeout:.0f} s. Lower the "
                                    "longest answer in the project's settings, or raise the time-out.")  # fmt: skip
        except EndpointError:
            raise
        except Exception as error:
            if isinstance(error, self._openai.APIConnectionError) and (gathered.pieces or _was_cut(error)):
                raise BrokenOff(f"{self._name} broke off in the middle of its answer, {BROKEN_OFF} times. "
                                "Look at the server's log; a proxy may stop it.") from error  # fmt: skip
            raise self._explained(error) from error
        if not gathered.is_whole:
            raise BrokenOff(
                f"{self._name} ended its answer half-way, {BROKEN_OFF} times: the stream stopped without saying why it finished. "
                "Some servers drop an answer when the next request comes: put 1 into “Requests at once” on its page. "
                "Else look at the server's log; a proxy in between may cut long answers."
            )

    def _request(self, question: Question) -> dict[str, Any]:
        endpoint = self.endpoint
        limit = endpoint.features.get("limit", "max_tokens")
        optional = {
            "n": question.n if question.n > 1 else None,
            "seed": question.seed,
            "logprobs": True if question.logprobs or question.top_logprobs else None,
            "top_logprobs": question.top_logprobs or None,
            "stream_options": {"include_usage": True} if endpoint.features.get("stream_options", True) else None,
        }
        return {
            "model": endpoint.model,
            "messages": list(question.messages),
            "temperature": question.temperature,
            "top_p": question.top_p,
            limit: question.max_new_tokens,
            "stream": True,
            **{name: value for name, value in optional.items() if value is not None},
            **({"extra_body": endpoint.extra} if endpoint.extra else {}),
        }

    def _read_whole(self, raw: Any, kind: str, gathered: "_Gathered") -> None:
        """An answer that was not streamed though it was asked for: some servers cannot; a web page is none."""
        data = bytearray()
        for part in raw.http_response.iter_bytes():
            data += part
            if len(data) > LARGEST:
                raise EndpointError(
                    f"{self._name} answered with more than {LARGEST:,} bytes: that is no chat completion. Check the base URL."
                )
        body = data.decode("utf-8", "replace")
        if "html" in kind or body.lstrip()[:1] == "<":
            raise EndpointError(
                f"{self._name} answered with a web page, not as an API does. Check the base URL: it usually ends in /v1."
            )
        try:
            gathered.add_whole(json.loads(body))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise EndpointError(
                f"{self._name} answered something that is not a chat completion: “{self._excerpt(body)}”. Check the base URL."
            ) from error

    @property
    def _name(self) -> str:
        return f"{self.endpoint.name} ({self.endpoint.base_url})"

    def _excerpt(self, text: str) -> str:
        """The beginning of what a server said, without its tags or our key."""
        text = re.sub(r"<[^>]*>", " ", text)
        text = text.replace(self._key, "…") if self._key else text
        text = " ".join(storable(text).split())
        return text if len(text) <= 200 else text[:199] + "…"

    def _said(self, error: Any) -> str:
        """What the server itself says of an error, in quotation marks; "" if that is of no use."""
        body = getattr(error, "body", None)
        if isinstance(body, dict):
            inner = body.get("message") or body.get("detail") or body.get("error") or body
            text = inner if isinstance(inner, str) else json.dumps(inner)
        else:
            text = body if isinstance(body, str) and "<" not in body else ""
        return f" It says: “{self._excerpt(text)}”." if text.strip() else ""

    def _explained(self, error: Exception) -> EndpointError:
        """The library's error in our words."""
        openai, name, said = self._openai, self._name, self._said(error)
        status = getattr(error, "status_code", None)
        if isinstance(error, EndpointError):
            return error
        if isinstance(error, openai.APITimeoutError):
            return EndpointError(f"{name} did not answer within {self.timeout:g} s, however often it was asked. See whether "
                                 "it is busy or still loading its model; the time-out is on the endpoint's page.")  # fmt: skip
        if isinstance(error, openai.APIConnectionError):
            why = f" ({self._excerpt(str(error.__cause__))})" if error.__cause__ else ""
            return EndpointError(f"{name} cannot be reached{why}. See whether the server runs and the base URL is right.")
        if status in (401, 403):
            return EndpointError(f"{name} refuses the key ({status}).{said} Type another on the endpoint's page.")
        if status == 404:
            return EndpointError(f"{name} knows no such address or no model “{self.endpoint.model}” (404).{said} "
                                 "Check the base URL, which usually ends in /v1, and the model's name.")  # fmt: skip
        if status == 429:
            return EndpointError(f"{name} wants no more requests for now (429).{said} "
                                 "Lower the requests per minute on its page, or see whether its quota is used up.")  # fmt: skip
        if status in (400, 413, 422):
            return PromptRefused(f"{name} refuses the request ({status}).{said}")
        if status is not None and 300 <= status < 400:
            return EndpointError(f"{name} wants to send us to another address ({status}). Put that one in as the base URL.")
        if status is not None:
            return EndpointError(f"{name} has failed ({status}), {RETRIES + 1} times.{said} Look at the server's log.")
        if isinstance(error, openai.APIError):
            return EndpointError(f"{name} reported an error in its answer.{said or f' It says: “{self._excerpt(str(error))}”.'}")
        if isinstance(error, ValueError | TypeError | AttributeError | KeyError):
            return EndpointError(f"{name} sent an answer that cannot be read ({self._excerpt(str(error))}). Is it an "
                                 "OpenAI-compatible server?")  # fmt: skip
        return EndpointError(f"{name} cannot be asked ({type(error).__name__}: {self._excerpt(str(error))}).")


# -- putting an answer together ----------------------------------------------------------------------------


@dataclass
class _Choice:
    text: list[str] = field(default_factory=list)
    pieces: int = 0
    finish_reason: str = ""
    logprobs: list[float] = field(default_factory=list)
    likeliest: list[dict[str, float]] = field(default_factory=list)


@dataclass
class _Gathered:
    """What has come so far, by choice."""

    choices: dict[int, _Choice] = field(default_factory=dict)
    usage: tuple[int, int] | None = None
    characters: int = 0

    @property
    def pieces(self) -> int:
        return sum(choice.pieces for choice in self.choices.values())

    @property
    def written(self) -> int:
        """Tokens, so far: as the server told or, before it has, the pieces that came."""
        return self.usage[1] if self.usage else self.pieces

    @property
    def is_whole(self) -> bool:
        return bool(self.choices) and all(choice.finish_reason for choice in self.choices.values())

    def add(self, chunk: Any) -> None:
        """A piece of a stream."""
        self._add(chunk.to_dict(mode="json") if hasattr(chunk, "to_dict") else chunk, "delta")

    def add_whole(self, completion: dict[str, Any]) -> None:
        if not completion["choices"]:
            raise ValueError("no choices")
        self._add(completion, "message")

    def _add(self, data: dict[str, Any], part: str) -> None:
        self._count(data.get("usage"))
        for given in data.get("choices") or []:
            choice = self.choices.setdefault(given.get("index") or 0, _Choice())
            text = (given.get(part) or {}).get("content")
            if text:
                choice.text.append(text)
                choice.pieces += 1
                self.characters += len(text)
            choice.finish_reason = given.get("finish_reason") or choice.finish_reason
            for token in (given.get("logprobs") or {}).get("content") or []:
                choice.logprobs.append(_logprob(token["logprob"]))
                choice.likeliest.append({each["token"]: _logprob(each["logprob"]) for each in token.get("top_logprobs") or []})

    def _count(self, usage: Any) -> None:
        if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
            counts = int(usage.get("prompt_tokens") or 0), usage["completion_tokens"]
            if all(0 <= count <= MOST_TOKENS for count in counts):  # else it does not tell
                self.usage = counts

    def reply(self, *, seconds: float, requests: int) -> Reply:
        tokens = self._tokens()
        return Reply(
            answers=tuple(_answer(choice, tokens[index]) for index, choice in sorted(self.choices.items())),
            prompt_tokens=self.usage[0] if self.usage else 0,
            completion_tokens=self.usage[1] if self.usage else sum(tokens.values()),
            seconds=seconds,
            requests=requests,
            tells_usage=self.usage is not None,
        )

    def _tokens(self) -> dict[int, int]:
        """By choice. A server tells the sum: it is parted as the pieces were that came."""
        counted = {index: len(choice.logprobs) or choice.pieces for index, choice in self.choices.items()}
        if self.usage and sum(counted.values()):
            counted = {index: round(self.usage[1] * count / sum(counted.values())) for index, count in counted.items()}
        return counted


def _answer(choice: _Choice, tokens: int) -> Answer:
    return Answer(
        text=_joined(choice.text),
        finish_reason="length" if choice.finish_reason == "length" else "stop",
        token_count=tokens,
        logprob=sum(choice.logprobs) if choice.logprobs else None,
        likeliest=tuple(choice.likeliest) if any(choice.likeliest) else (),
    )


def _joined(pieces: list[str]) -> str:
    """As a database takes it. Some servers cut a character outside the first 65,536 in two: both halves are put together."""
    text = "".join(pieces).replace("\0", "")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _logprob(told: Any) -> float:
    """Never above 0, as few servers round, and a number: of what is impossible, a very small one."""
    value = float(told)
    return min(0.0, max(value, IMPOSSIBLE)) if value == value else IMPOSSIBLE


def _was_cut(error: Exception) -> bool:
    """The server took the request, and the connection ended: as when it closes one that was kept open at that moment."""
    return type(error.__cause__).__name__ in ("ReadError", "RemoteProtocolError", "WriteError")


def _with_what_broke_off(reply: Reply, written: int) -> Reply:
    """With the answers that broke off before: the prompt was read again for each, and what came was paid for, too."""
    more = {"prompt_tokens": reply.prompt_tokens * reply.requests, "completion_tokens": reply.completion_tokens + written}
    return replace(reply, **more)
