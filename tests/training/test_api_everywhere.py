"""What docs/api.md says holds everywhere, tried at every address: one shape of error, pages, keys that are sent once."""

import pytest
from django.urls import get_resolver, reverse

from annotate.models import SentOnce
from tests.builders import make_member
from tests.training.test_urls_by_role import address_of, patterns
from tests.training.test_urls_by_role import place as place

METHODS = {"get", "post", "put", "patch", "delete"}
JSON = {"content_type": "application/json"}


def operations(method: str) -> list[str]:
    """The names of the addresses that take the method."""
    return sorted(name for name, taken in TAKEN.items() if method in taken)


def _taken() -> dict[str, set[str]]:
    found = {}
    for pattern in patterns(get_resolver()):
        view = getattr(pattern.callback, "cls", None)
        if pattern.name.startswith("api_") and view is not None:
            found[pattern.name] = {method for method in METHODS if hasattr(view, method)}
    return found


TAKEN = _taken()
LISTS = [name for name in operations("get") if name not in ("api_me", "api_schema")]


@pytest.fixture
def as_owner(client, place, settings):
    settings.API_RATE = settings.API_WORK_RATE = None
    client.force_login(make_member(place["project"], "owner", "visitor"), "django.contrib.auth.backends.ModelBackend")
    return client


def assert_shape(answer, status: int) -> dict:
    assert answer.status_code == status, answer.content
    told = answer.json()
    assert told.keys() == {"code", "message", "fields"} and told["message"] and isinstance(told["fields"], dict), told
    return told


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_a_method_that_it_does_not_take(as_owner, place, name) -> None:
    for method in sorted(METHODS - TAKEN[name]):
        assert_shape(getattr(as_owner, method)(address_of(name, place), {}, **({} if method == "get" else JSON)), 405)


@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_a_body_that_is_no_json(as_owner, place, method) -> None:
    for name in operations(method):
        ask, url = getattr(as_owner, method), address_of(name, place)
        for kind in ("text/plain", "application/xml", "multipart/form-data; boundary=x", "nonsense"):
            answer = ask(url, "a=b", content_type=kind)
            form = name in TAKES_FORMS and kind.startswith("multipart")
            refused = (400, 404, 409, 415) if form else (404, 409, 415)
            assert answer.status_code < 300 or answer.status_code in refused, (name, kind)
            assert answer.status_code < 300 or assert_shape(answer, answer.status_code)
        for body in ("{", "[" * 100_000, '{"a": NaN}', "\xff", '"text"', "[1]", "null", "7"):
            answer = ask(url, body.encode("latin-1"), **JSON)
            assert answer.status_code < 300 or assert_shape(answer, answer.status_code), (name, body[:20])
            assert answer.status_code < 500, (name, body[:20])


TAKES_FORMS = {"api_imports", "api_import_preview"}  # for files


@pytest.mark.parametrize("name", LISTS)
def test_pages_that_cannot_be(as_owner, place, name) -> None:
    url = address_of(name, place)
    plain = as_owner.get(url)
    is_list = plain.status_code == 200 and plain["Content-Type"] == "application/json" and "next" in plain.json()
    if not is_list:
        return
    for asked, field in (("limit=501", "limit"), ("limit=0", "limit"), ("limit=many", "limit"), ("limit=-1", "limit"),
                         ("cursor=nonsense", "cursor"), (f"cursor={'x' * 400}", "cursor"), ("cursor=%00", "cursor")):  # fmt: skip
        assert field in assert_shape(as_owner.get(f"{url}?{asked}"), 400)["fields"], asked
    assert as_owner.get(f"{url}?limit=500").status_code == 200


@pytest.mark.parametrize("name", operations("post"))
def test_a_key_that_comes_again_with_another_body(as_owner, place, name) -> None:
    url, key = address_of(name, place), {"Idempotency-Key": "once"}
    first = as_owner.post(url, "{}", headers=key, **JSON)
    if not SentOnce.objects.exists():
        assert first.status_code >= 400 or name in KEEPS_NOTHING  # refused: the key may be used for the corrected request
        return
    again = as_owner.post(url, "{}", headers=key, **JSON)
    assert (again.status_code, again["Idempotent-Replay"], again.json()) == (first.status_code, "true", first.json())
    assert assert_shape(as_owner.post(url, '{"x": 1}', headers=key, **JSON), 422)["code"] == "key_reused"
    other = reverse("api_next", args=["taste"])
    if other != url:
        assert_shape(as_owner.post(other, "{}", headers=key, **JSON), 422)
    for bad in ("", "x" * 256, "é"):
        assert_shape(as_owner.post(url, "{}", headers={"Idempotency-Key": bad}, **JSON), 400)


KEEPS_NOTHING = {"api_member_link", "api_webhooks", "api_invitations"}  # their answers hold a secret


def test_an_address_that_is_not_there(as_owner) -> None:
    for path in ("/api/v1/nothing/", "/api/v1/projects/taste/nothing/", "/api/v1/projects/taste/runs/x/"):
        assert_shape(as_owner.get(path), 404)
