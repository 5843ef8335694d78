"""Endpoints: what is stored, who may see the key, what a test shows, the version that stands for one; the pages of them."""

from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from annotate.models.prompt import Split
from tests import builders
from tests.training.endpoints import make_endpoint
from tests.training.model_server import hangs, model_server, status
from training.clock.automation import weights_changed_at
from training.endpoints.errors import EndpointError
from training.endpoints.keys import read_key
from training.endpoints.probe import probe_endpoint
from training.endpoints.registering import EndpointRefused, change_endpoint, create_endpoint, remove_endpoint, serve_endpoint
from training.models import Endpoint
from training.runs.form import TrainForm
from training.runs.ordering import RunRefused, start_run
from training.versions.registry import serving_version
from training.wording import dollars

LOCAL = "http://127.0.0.1:8001/v1"
PLAIN = {"name": "local", "base_url": LOCAL, "model": "tiny", "concurrency": 2, "timeout_seconds": 9}
LIST = "/projects/taste/endpoints/"


@pytest.fixture
def server():
    with model_server() as running:
        yield running


# -- keys ----------------------------------------------------------------------------------------------------


def test_a_key_is_encrypted_at_rest_and_follows_a_change_of_secret_key(project, settings) -> None:
    endpoint = create_endpoint(project=project, **PLAIN, key="sk-very-secret")
    (row,) = Endpoint.objects.values()
    assert "sk-very-secret" not in str(row) and read_key(endpoint) == "sk-very-secret"
    before = settings.SECRET_KEY
    settings.SECRET_KEY = "another one, for this is what rotation does"
    with pytest.raises(EndpointError, match="SECRET_KEY has changed"):
        read_key(endpoint)
    settings.SECRET_KEY_FALLBACKS = [before]
    assert read_key(endpoint) == "sk-very-secret"


def test_a_key_from_the_environment(project, monkeypatch) -> None:
    endpoint = create_endpoint(project=project, **PLAIN, key_variable="THEIR_KEY")
    with pytest.raises(EndpointError, match="THEIR_KEY"):
        read_key(endpoint)
    monkeypatch.setenv("THEIR_KEY", "from outside")
    assert read_key(endpoint) == "from outside"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8002/v1", "https://127.0.0.1:8001/v1", "http://elsewhere.example:8001/v1"])
@pytest.mark.parametrize("key", [{"key": "sk-very-secret"}, {"key_variable": "THEIR_KEY"}], ids=["typed", "environment"])
def test_a_key_is_not_sent_to_a_server_it_was_not_given_for(project, url, key) -> None:
    endpoint = create_endpoint(project=project, **PLAIN, **key)
    with pytest.raises(EndpointRefused) as refused:
        change_endpoint(endpoint=endpoint, **PLAIN | {"base_url": url})
    assert list(refused.value.fields) == ["key"]
    endpoint.refresh_from_db()
    assert endpoint.base_url == LOCAL
    assert not change_endpoint(endpoint=endpoint, **PLAIN | {"base_url": url}, forget_key=True).has_key
    change_endpoint(endpoint=endpoint, **PLAIN | {"base_url": f"{url}/deeper"}, key="a new one")


# -- what is stored ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"base_url": "ftp://x/v1"}, "base_url"),
        ({"base_url": "http://"}, "base_url"),
        ({"base_url": "http://[::1"}, "base_url"),
        ({"base_url": "http://host:port/v1"}, "base_url"),
        ({"base_url": "http://user:secret@host/v1"}, "base_url"),
        ({"base_url": "http://host/v1?key=secret"}, "base_url"),
        ({"base_url": "http://host/v1 oops"}, "base_url"),
        ({"name": " "}, "name"),
        ({"model": ""}, "model"),
        ({"concurrency": 0}, "concurrency"),
        ({"price_in": Decimal(-1)}, "price_in"),
        ({"extra": ["no", "object"]}, "extra"),
        ({"extra": {"temperature": 3}}, "extra"),
    ],
    ids=str,
)
def test_what_cannot_be_an_endpoint_is_refused_at_its_field(project, wrong, field) -> None:
    with pytest.raises(EndpointRefused) as refused:
        create_endpoint(project=project, **PLAIN | wrong)
    assert list(refused.value.fields) == [field] and not Endpoint.objects.exists()


def test_a_name_is_taken_once_in_a_project(project) -> None:
    create_endpoint(project=project, **PLAIN)
    with pytest.raises(EndpointRefused, match="of that name"):
        create_endpoint(project=project, **PLAIN)
    create_endpoint(project=builders.make_project(), **PLAIN)


def test_an_endpoint_is_a_version_that_serves_and_is_never_trained(project, server) -> None:
    base = builders.make_version(project, serving=True)
    endpoint = make_endpoint(project, server)
    version = serve_endpoint(endpoint=endpoint)
    assert version == serving_version(project) == serve_endpoint(endpoint=endpoint) and version.number == 1
    assert version.is_endpoint and weights_changed_at(version) == Endpoint.objects.get().changed_at
    with pytest.raises(RunRefused, match="cannot be trained"):
        start_run(project=project)
    assert list(TrainForm(project=project).fields["parent"].queryset) == [base]
    with pytest.raises(ValueError):
        _ = version.path


def test_the_model_of_written_answers_stays_and_so_does_its_endpoint(project, server) -> None:
    endpoint = make_endpoint(project, server)
    version = serve_endpoint(endpoint=endpoint)
    builders.make_comparison(project, version=version)
    plain = PLAIN | {"base_url": server.url}
    with pytest.raises(EndpointRefused) as refused:
        change_endpoint(endpoint=endpoint, **plain | {"model": "another"})
    assert list(refused.value.fields) == ["model"]
    change_endpoint(endpoint=endpoint, **plain | {"model": "stub", "name": "renamed"})
    with pytest.raises(EndpointRefused, match="so it stays"):
        remove_endpoint(endpoint=endpoint)


@pytest.mark.parametrize(
    ("amount", "words"),
    [(0, "$0"), ("12.4", "$12.40"), ("0.00312", "$0.0031"), ("0.00001", "under $0.0001"), ("1234", "$1,234.00")],
)
def test_amounts_in_words(amount, words) -> None:
    assert dollars(Decimal(amount)) == words


# -- testing one ---------------------------------------------------------------------------------------------


def test_a_test_finds_out_what_a_full_server_offers(project, server) -> None:
    server.say = lambda body, index: f"Answer {body.get('seed')} of {index}." if body.get("seed") else "Plain."
    found = probe_endpoint(make_endpoint(project, server)).features
    offers = {name: found[name] for name in ("n", "logprobs", "seed", "samples", "usage", "limit", "models")}
    assert offers == {"n": True, "logprobs": True, "seed": True, "samples": True, "usage": True, "limit": "max_tokens",
                      "models": ["stub"]}  # fmt: skip
    assert "error" not in found and found["seconds"] < 5


def test_a_test_finds_out_what_a_poor_server_lacks(project, server) -> None:
    server.refuses = ("stream_options", "max_tokens", "logprobs")
    server.offers_n = False
    server.say = lambda body, index: "Always this."
    found = probe_endpoint(make_endpoint(project, server)).features
    assert (found["n"], found["logprobs"], found["seed"], found["samples"], found["usage"]) == (False,) * 5
    assert (found["limit"], found["stream_options"]) == ("max_completion_tokens", False)


def test_a_failed_test_is_kept_with_its_reason(project, server) -> None:
    endpoint = make_endpoint(project, server)
    server.always = status(401)
    with pytest.raises(EndpointError):
        probe_endpoint(endpoint)
    endpoint.refresh_from_db()
    assert "refuses the key" in endpoint.features["error"]


# -- describing ----------------------------------------------------------------------------------------------


@pytest.mark.torch
def test_an_endpoint_is_described_by_its_answers(project, server) -> None:
    from training.versions.description import SHOWN_PROMPTS, describe_version

    for _ in range(10):
        builders.make_prompt(project, split=Split.HELDOUT)
    version = serve_endpoint(endpoint=make_endpoint(project, server))
    describe_version(version=version)
    assert version.completions.filter(temperature=0).count() == SHOWN_PROMPTS
    assert (version.metrics["mean_tokens"], version.metrics["ended_share"], version.metrics["described_prompts"]) == (5, 1, 10)
    before = len(server.requests)
    describe_version(version=version)
    assert len(server.requests) == before == SHOWN_PROMPTS + 10


# -- pages ---------------------------------------------------------------------------------------------------


def fields(**changed):
    return PLAIN | {"requests_per_minute": "", "key": "", "price_in": "", "price_out": "", "extra": ""} | changed


def test_a_manager_adds_tests_and_serves_one(client, manager, project, server) -> None:
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    answer = client.post(LIST, fields(base_url=server.url, key="sk-very-secret", price_in="2.5", extra='{"top_k": 5}'))
    endpoint = Endpoint.objects.get()
    page = f"{LIST}{endpoint.pk}/"
    assert answer.url == page and endpoint.created_by == manager and endpoint.extra == {"top_k": 5}
    client.post(f"{page}test/")
    shown = client.get(page).content.decode()
    assert "Log-probabilities" in shown and "sk-very-secret" not in shown and "One is stored" in shown
    client.post(f"{page}serve/")
    assert serving_version(project).endpoint == endpoint
    assert "cannot be trained" in client.get(f"/projects/taste/versions/{serving_version(project).number}/").content.decode()
    assert client.post(f"{page}remove/", follow=True).status_code == 200 and Endpoint.objects.exists()


def test_saving_without_a_key_keeps_the_stored_one(client, manager, project) -> None:
    endpoint = create_endpoint(project=project, **PLAIN, key="sk-very-secret")
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    client.post(f"{LIST}{endpoint.pk}/", fields(name="renamed"))
    endpoint.refresh_from_db()
    assert endpoint.name == "renamed" and read_key(endpoint) == "sk-very-secret"
    client.post(f"{LIST}{endpoint.pk}/", fields(forget_key="on"))
    endpoint.refresh_from_db()
    assert not endpoint.has_key


@pytest.mark.parametrize(
    "wrong", [{"base_url": "nonsense"}, {"name": "a\0b"}, {"extra": "{"}, {"extra": "[1]"}, {"extra": '{"n": 3}'},
              {"concurrency": "x"}, {"price_in": "NaN"}, {"model": "m" * 300}, {"timeout_seconds": ""}], ids=str
)  # fmt: skip
def test_a_wrong_form_comes_back_with_what_was_typed(client, manager, project, wrong) -> None:
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    answer = client.post(LIST, fields(key="sk-typed", **wrong))
    assert answer.status_code == 422 and 'class="field-error"' in answer.content.decode() and not Endpoint.objects.exists()
    assert "sk-typed" not in answer.content.decode()


def test_a_server_that_hangs_makes_the_test_button_wait_no_longer_than_it_should(client, manager, project, server, monkeypatch):
    monkeypatch.setattr("training.views.endpoints.PATIENCE", 1)
    server.always = hangs(10)
    endpoint = make_endpoint(project, server)
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    shown = client.post(f"{LIST}{endpoint.pk}/test/", follow=True).content.decode()
    assert "The last test failed" in shown and "did not answer within 0.5 s" in shown


def test_the_list_costs_the_same_for_one_and_for_many(client, manager, project, django_assert_num_queries) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            client.get(LIST)
        return len(captured)

    serve_endpoint(endpoint=create_endpoint(project=project, **PLAIN))
    before = queries()
    for number in range(20):
        serve_endpoint(endpoint=create_endpoint(project=project, **PLAIN | {"name": f"n{number}"}))
    assert queries() == before


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command_adds_tests_and_serves(project, server, capsys) -> None:
    server.say = lambda body, index: f"{body.get('seed')} {index}"
    call_command("add_endpoint", server.url, "stub", project="taste", serve=True)
    told = capsys.readouterr().out
    assert "logprobs: yes, n: yes, seed: yes" in told and serving_version(project).endpoint.name == "stub"


def test_the_command_says_what_is_wrong(project, server) -> None:
    with pytest.raises(CommandError, match="base_url"):
        call_command("add_endpoint", "nonsense", "stub", project="taste")
    server.always = status(404)
    with pytest.raises(CommandError, match="stored, but its test failed"):
        call_command("add_endpoint", server.url, "stub", project="taste")
