"""Webhooks: told once, signed, tried again, never into the server's own network; a receiver that is down blocks nothing."""

import hashlib
import hmac
import json
import socket
import threading
import time
import tracemalloc
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
from django.utils import timezone

from annotate.models import Delivery, Judgement, Webhook
from annotate.models.webhook import Event
from annotate.outgoing import sending, webhooks
from annotate.outgoing.sending import AddressRefused, is_public, post
from annotate.outgoing.webhooks import (
    PAUSES,
    WebhookRefused,
    add_webhook,
    announce_judgements,
    deliver_due,
    secret_of,
    send,
    send_again,
)
from tests.builders import make_version
from tests.training.rows import make_judgement, make_run
from training.clock.announcements import tell_webhooks
from training.versions.registry import promote


class Receiver(ThreadingHTTPServer):
    status, said, location, megabytes = 200, b"thanks", "", 0

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers = threading.Event()  # until then it lets everybody wait
        self.answers.set()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook?a=b"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        self.server.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.answers.wait(30)
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        self.wfile.write(self.server.said)
        with suppress(OSError):  # nobody listens any more
            for _ in range(self.server.megabytes):
                self.wfile.write(b"x" * 1_000_000)


@contextmanager
def running():
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def receiver(settings):
    settings.WEBHOOKS_MAY_BE_INTERNAL = True
    with running() as server:
        yield server


@pytest.fixture
def hook(project, receiver) -> Webhook:
    return add_webhook(project=project, url=receiver.url, events=Event.values, every=2)


def due() -> Delivery | None:
    return Delivery.objects.due().select_related("webhook").order_by("pk").first()


def test_what_arrives_can_be_checked(hook, receiver, project, annotator):
    for _ in range(2):
        make_judgement(project, annotator)
    announce_judgements()
    send(delivery=due())
    ((headers, body),) = receiver.got
    told = json.loads(body)
    assert (told["event"], told["project"], told["data"]) == ("judgements.reached", "taste", {"judgements": 2})
    at, signature = (part.split("=")[1] for part in headers["Prefloop-Signature"].split(","))
    expected = hmac.new(secret_of(hook).encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(signature, expected) and abs(int(at) - time.time()) < 60
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.status, delivery.said, delivery.tries) == ("done", 200, "thanks", 1)


def test_each_event_is_told_once_however_often_the_clock_looks(hook, project, annotator, monkeypatch):
    monkeypatch.setattr("training.clock.announcements.deliver_due", lambda: 0)
    run = make_run(project, make_version(project), state="done", finished_at=timezone.now() + timedelta(seconds=1))
    promote(version=make_version(project), why="better")
    for _ in range(5):
        make_judgement(project, annotator)
    for _ in range(3):
        tell_webhooks()
    told = [(each.event, json.loads(each.body)["data"]) for each in Delivery.objects.order_by("event")]
    assert told == [
        ("judgements.reached", {"judgements": 4}),
        ("run.finished", {"run": run.number, "state": "done", "version": None, "error": ""}),
        ("version.promoted", {"version": 1, "name": "model-1", "why": "better"}),
    ]
    Judgement.objects.update(withdrawn_at=timezone.now())
    tell_webhooks()
    Judgement.objects.update(withdrawn_at=None)
    tell_webhooks()
    assert Delivery.objects.count() == 3


def test_what_happened_before_is_not_told(project, receiver, annotator):
    make_judgement(project, annotator)
    promote(version=make_version(project))
    add_webhook(project=project, url=receiver.url, events=Event.values, every=1)
    tell_webhooks()
    assert not Delivery.objects.exists()


def test_a_receiver_that_fails_is_tried_again_with_longer_pauses_and_then_given_up(hook, receiver, project, annotator):
    receiver.status, receiver.said = 500, b"no\0pe"
    make_judgement(project, annotator), make_judgement(project, annotator)
    announce_judgements()
    for number, pause in enumerate(PAUSES, 1):
        send(delivery=Delivery.objects.select_related("webhook").get())
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.tries, delivery.status, delivery.said) == ("waiting", number, 500, "nope")
        assert abs(delivery.next_try_at - timezone.now() - pause) < timedelta(seconds=5) and not due()
    send(delivery=Delivery.objects.select_related("webhook").get())
    assert Delivery.objects.get().state == "failed"
    receiver.status = 204
    send_again(delivery=Delivery.objects.get())
    send(delivery=due())
    assert Delivery.objects.get().state == "done"


def test_one_that_is_down_says_so(hook, receiver, project, annotator):
    hook.url = "http://127.0.0.1:9/"
    hook.save()
    make_judgement(project, annotator), make_judgement(project, annotator)
    announce_judgements()
    send(delivery=due())
    delivery = Delivery.objects.get()
    assert delivery.state == "waiting" and delivery.status is None and "ConnectionRefused" in delivery.said


def test_one_that_never_ends_is_cut_off(receiver, monkeypatch):
    monkeypatch.setattr(sending, "WHOLE_SECONDS", 0.3)
    receiver.answers.clear()
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="no whole answer"):
        post(receiver.url, b"{}", {}, internal=True)
    assert time.monotonic() - started < 20


@pytest.mark.django_db(transaction=True)
def test_a_slow_receiver_holds_nobody_up(hook, receiver, project, annotator):
    with running() as quick:
        add_webhook(project=project, url=quick.url, events=[Event.JUDGEMENTS], every=1)
        receiver.answers.clear()
        make_judgement(project, annotator), make_judgement(project, annotator)
        announce_judgements()
        assert deliver_due() == 2 and deliver_due() == 0  # claimed
        assert not Delivery.objects.filter(webhook=hook, state="done").exists()
        receiver.answers.set()
        end = time.monotonic() + 20
        while Delivery.objects.filter(state="done").count() < 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(quick.got) == len(receiver.got) == 1 and not Delivery.objects.exclude(state="done").exists()


def test_an_answer_of_100_megabytes_is_not_read(hook, receiver, project, annotator):
    receiver.megabytes = 100
    make_judgement(project, annotator), make_judgement(project, annotator)
    announce_judgements()
    tracemalloc.start()
    send(delivery=due())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    delivery = Delivery.objects.get()
    assert delivery.state == "done" and delivery.said.startswith("thanksxxx") and len(delivery.said) <= 500
    assert peak < 5_000_000


def test_a_fault_of_ours_while_sending_is_a_try_like_any_other(hook, project, annotator, monkeypatch):
    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("cannot sign \udcff")

    logged: list[str] = []
    monkeypatch.setattr(webhooks, "sign", broken)
    # Not by caplog: what a report carries from one test process to another must be UTF-8.
    monkeypatch.setattr(webhooks.logger, "exception", lambda message, *_: logged.append(message))
    make_judgement(project, annotator), make_judgement(project, annotator)
    announce_judgements()
    for number in range(1, len(PAUSES) + 2):
        send(delivery=Delivery.objects.select_related("webhook").get())
        delivery = Delivery.objects.get()
        assert (delivery.tries, delivery.status, delivery.said) == (number, None, "RuntimeError: cannot sign ?") and not due()
    assert delivery.state == "failed" and len(logged) == len(PAUSES) + 1


# -- where nothing is sent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "::1",
     "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "255.255.255.255"],
)  # fmt: skip
def test_the_servers_own_network(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_the_internet(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest/meta-data", "ftp://example.org/", "file:///etc/passwd",
     "https://user:secret@example.org/", "https://", "nonsense", "http://example.org:99999/", "http://exa mple.org/", "x" * 600],
)  # fmt: skip
def test_such_an_address_is_refused_at_once(project, url):
    with pytest.raises(WebhookRefused) as refusal:
        add_webhook(project=project, url=url, events=[Event.RUN])
    assert refusal.value.field == "url"


def test_a_name_that_leads_inside_is_refused_when_it_is_used_and_one_that_changes_is_pinned(receiver, monkeypatch):
    """The second answer of a rebinding name server is never asked for: the connection goes to what was looked at."""
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        address = "127.0.0.1" if len(asked) % 2 == 0 else "93.184.216.34"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected = []

    def connect(where, timeout):
        connected.append(where)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ConnectionRefusedError):
        post("http://rebind.example/", b"{}", {}, internal=False)
    assert connected == [("93.184.216.34", 80)] and asked == ["rebind.example"]
    with pytest.raises(AddressRefused, match="own network"):
        post("http://rebind.example/", b"{}", {}, internal=False)
    assert len(connected) == 1


def test_a_redirect_is_not_followed(hook, receiver, project, annotator):
    with running() as other:
        receiver.status, receiver.location = 302, other.url
        make_judgement(project, annotator), make_judgement(project, annotator)
        announce_judgements()
        send(delivery=due())
        assert Delivery.objects.get().status == 302 and Delivery.objects.get().state == "waiting" and not other.got


# -- the page and the API ----------------------------------------------------------------------------------------


def test_the_page_adds_shows_pauses_sends_again_and_removes(client, manager, project, receiver, annotator):
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    url = "/projects/taste/webhooks/"
    assert client.post(url, {"url": "http://", "events": ["run.finished"], "every": 1}).status_code == 422
    assert client.post(url, {}).status_code == 422 and not Webhook.objects.exists()
    made = client.post(url, {"url": receiver.url, "events": ["judgements.reached"], "every": 1})
    hook = Webhook.objects.get()
    assert secret_of(hook) in made.content.decode() and secret_of(hook) not in client.get(url).content.decode()
    make_judgement(project, annotator)
    announce_judgements()
    send(delivery=due())
    at = f"{url}{hook.pk}/"
    assert "thanks" in client.get(at).content.decode()
    client.post(f"{at}deliveries/{Delivery.objects.get().pk}/again/")
    assert due() is not None
    client.post(f"{at}pause/")
    assert deliver_due(wait=True) == 0
    before = secret_of(hook)
    renewed = client.post(f"{at}secret/").content.decode()
    assert secret_of(Webhook.objects.get()) in renewed and before not in renewed
    assert client.post(at, {"url": receiver.url, "events": ["run.finished"], "every": 5}).status_code == 302
    assert Webhook.objects.get().events == ["run.finished"]
    client.post(f"{at}remove/")
    assert client.get(at).status_code == 404 and due() is None


def test_by_program(client, manager, project, receiver):
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    api, json_ = "/api/v1/projects/taste/webhooks/", {"content_type": "application/json"}
    made = client.post(api, {"url": receiver.url, "events": ["run.finished"]}, **json_)
    assert made.status_code == 201 and made.json()["secret"] == secret_of(Webhook.objects.get())
    at = f"{api}{made.json()['id']}/"
    assert client.patch(at, {"paused": True}, **json_).json()["paused"] and "secret" not in client.get(at).json()
    assert client.patch(at, {"url": "http://"}, **json_).status_code == 400
    assert client.get(f"{at}deliveries/").json() == {"results": [], "next": None}
    assert client.delete(at).status_code == 204 and client.get(api).json()["results"] == []


def test_the_secret_is_stored_nowhere(hook):
    assert secret_of(hook) not in json.dumps(list(Webhook.objects.values()), default=str)
    assert webhooks.sign(b"{}", "whs_x", at=1) == "t=1,v1=" + hmac.new(b"whs_x", b"1.{}", hashlib.sha256).hexdigest()
