"""A model server to ask in tests: it speaks enough of OpenAI's API, answers as told, and misbehaves as told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Say = Callable[[dict[str, Any], int], "str | dict | None"]


class ModelServer:
    """`say(body, index)` gives the text of an answer, or a dictionary with `text`, `logprobs`, `finish_reason`.

    `faults` are taken one for each request, oldest first, before it answers: functions of the request's handler.
    """

    def __init__(self, say: Say) -> None:
        self.say = say
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[Callable[[Handler], None]] = []
        self.always: Callable[[Handler], None] | None = None
        self.at_once = self.most_at_once = 0
        self.offers_n = self.offers_logprobs = self.tells_usage = True
        self.refuses: tuple[str, ...] = ()  # fields
        self.models: Callable[[], list[str]] = lambda: ["stub"]
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHandler", (Handler,), {"server_of": self}))
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server_of: ModelServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send(200, {"object": "list", "data": [{"id": name} for name in self.server_of.models()]})

    def do_POST(self) -> None:
        model = self.server_of
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        with model.lock:
            model.posts.append((self.path, self.body))
            model.keys.append(self.headers.get("Authorization", ""))
            model.requests.append(self.body)
            model.at_once += 1
            model.most_at_once = max(model.most_at_once, model.at_once)
            fault = model.faults.pop(0) if model.faults else model.always
        try:
            (fault or Handler.answer)(self)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has gone
        finally:
            with model.lock:
                model.at_once -= 1

    def send(self, status: int, content: Any, kind: str = "application/json", **headers: str) -> None:
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def answer(self, cut_after: int | None = None) -> None:
        """Stream it, word by word; with `cut_after`, only so many pieces, and then the connection ends."""
        model, body = self.server_of, self.body
        if refused := [name for name in model.refuses if name in body]:
            return self.send(400, {"error": {"message": f"{refused[0]} is not supported", "type": "invalid_request_error"}})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        sent = 0
        number = body.get("n", 1) if model.offers_n else 1
        for index in range(number):
            said = model.say(body, index)
            said = said if isinstance(said, dict) else {"text": said}
            pieces = [piece for piece in said["text"].replace(" ", " \0").split("\0") if piece]
            for place, piece in enumerate(pieces):
                if sent == cut_after:
                    return
                logprobs = None
                if body.get("logprobs") and model.offers_logprobs:
                    likeliest = said.get("logprobs", {}) if place == len(pieces) - 1 else {}
                    top = [{"token": token, "logprob": value, "bytes": None} for token, value in likeliest.items()]
                    logprobs = {"content": [{"token": piece, "logprob": -0.5, "bytes": None, "top_logprobs": top}]}
                self.piece({"index": index, "delta": {"content": piece}, "finish_reason": None, "logprobs": logprobs})
                sent += 1
            self.piece({"index": index, "delta": {}, "finish_reason": said.get("finish_reason", "stop")})
        if model.tells_usage and body.get("stream_options"):
            self.event({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": sent, "total_tokens": 10 + sent}})
        self.wfile.write(b"data: [DONE]\n\n")

    def piece(self, choice: dict[str, Any]) -> None:
        self.event({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "stub", "choices": [choice]})

    def event(self, data: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()


# -- faults --------------------------------------------------------------------------------------------------


def status(code: int, content: Any = None, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.send(code, content or {"error": {"message": f"this is a {code}"}}, **headers)


def stream(content: str) -> Callable[[Handler], None]:
    return lambda handler: handler.send(200, content, kind="text/event-stream")


def hangs(seconds: float = 30) -> Callable[[Handler], None]:
    return lambda handler: time.sleep(seconds)


def half(pieces: int = 2) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(cut_after=pieces)


def web_page(handler: Handler) -> None:
    handler.send(200, "<!doctype html><title>Sign in</title><p>Welcome", kind="text/html; charset=utf-8")


@contextmanager
def model_server(say: Say | str | None = None) -> Iterator[ModelServer]:
    """Listens on a free port of this machine. Without `say`, each answer is another."""
    numbers = iter(range(1_000_000))
    lock = threading.Lock()

    def counting(body: dict[str, Any], index: int) -> str:
        with lock:
            return f"Answer number {next(numbers)} to this."

    server = ModelServer((lambda body, index: say) if isinstance(say, str) else say or counting)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
