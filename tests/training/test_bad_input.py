"""Whatever is sent to an address that takes a POST: a refusal or an answer, never a fault of the server, and no row of others."""

import json

import pytest
from django import forms
from django.urls import get_resolver, reverse

from annotate.models import Membership
from annotate.models.project import Role
from tests.builders import make_member, make_project
from tests.training.test_urls_by_role import ALSO, OWN, TABLE, address_of, patterns, place, sign_in  # noqa: F401  (a fixture)
from training.models import Run

NO_FIELDS = {"tryout_again"}  # it reads none
POSTED = sorted(
    {name for name, expected in [*TABLE.items(), *ALSO] if expected.method == "post"} - NO_FIELDS | {"join", "account", "tokens"}
)
TEXTS = ("why", "rationale", "text", "name", "guidelines", "reason", "note", "notes", "edited_text", "messages")  # 4 MB together
HIDDEN = "\u202e\u2066שלום\u200b\u200d\ufeff مرحبا\u2069"  # right to left, zero width
KINDS = {
    "NUL bytes": "a\0b",
    "hidden text": HIDDEN,
    "half a surrogate pair": "x\ud83d",
    "a negative number": "-1",
    "a number that no column holds": "9" * 30,
    "no number": "NaN",
    "an endless number": "1e999",
    "digits of another script": "٣",
    "JSON": '{"a": [1]}',
}


def fields() -> list[str]:
    """Every name that a form of ours takes."""

    def below(kind: type) -> list[type]:
        return [each for child in kind.__subclasses__() for each in (child, *below(child))]

    ours = [form for form in below(forms.BaseForm) if form.__module__.startswith(("annotate", "training"))]
    names = {name for form in ours for name in getattr(form, "base_fields", {})}
    return sorted(names | {"beside", "key", "say", "archived", "decide", "action", "people", "file", "upload", "aliases", "drop"})


def odd(value: str) -> str:
    return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace") if "\ud83d" in value else value


def send(client, name: str, address: str, value: str, names: list[str]) -> int:
    given = {field: value for field in names}
    if name.startswith("api_"):
        return client.post(address, json.dumps(given), content_type="application/json").status_code
    return client.post(address, {field: odd(value) for field in names}).status_code


@pytest.mark.parametrize("name", POSTED)
def test_no_field_makes_the_server_fail(client, place, name):  # noqa: F811
    sign_in(client, place, "owner")
    names, address = fields(), address_of(name, place)
    assert len(names) > 100
    for kind, value in KINDS.items():
        assert send(client, name, address, value, names) < 500, kind
    for every_other in (names[::2], names[1::2]):
        assert send(client, name, address, "1", every_other) < 500, every_other
    assert client.post(address, {field: ["1", "2", HIDDEN] for field in names}).status_code < 500


@pytest.mark.parametrize("name", POSTED)
def test_a_megabyte_of_text_is_no_fault_of_the_server(client, place, name):  # noqa: F811
    sign_in(client, place, "owner")
    assert send(client, name, address_of(name, place), "x " * 200_000, list(TEXTS)) < 500
    assert send(client, name, address_of(name, place), "x" * 1_000_000, ["rationale"]) < 500
    assert send(client, name, address_of(name, place), "x" * 6_000_000, ["why"]) < 500


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"key": {"a": 1}}', b"[" * 20_000])
@pytest.mark.parametrize("name", [name for name in POSTED if name.startswith("api_")])
def test_a_body_that_is_no_object_is_refused_in_the_one_shape(client, place, name, body):  # noqa: F811
    sign_in(client, place, "owner")
    answer = client.post(address_of(name, place), body, content_type="application/json")
    assert answer.status_code < 500
    if answer.status_code in (400, 422):
        assert {"code", "message", "fields"} <= answer.json().keys()


IDS = ("number", "user_id", "comparison", "judgement", "decision", "webhook_id", "delivery_id", "endpoint_id", "annotator_id",
       "assignment", "id", "delivery", "username")  # fmt: skip
WITH_IDS = [
    pattern.name
    for pattern in patterns(get_resolver())
    if pattern.name in set(POSTED) - {"own_take_up"}  # which goes back to the list of one's own, and says so there
    and "slug" in pattern.pattern.converters
    and set(IDS) & set(pattern.pattern.converters)
]


@pytest.mark.parametrize("name", sorted(WITH_IDS))
def test_the_ids_of_another_project_are_no_ids_here(client, place, name):  # noqa: F811
    """An owner of one project names rows of another, of which they are no member: there is no such thing."""
    mine = make_project(slug="mine")
    client.force_login(make_member(mine, "owner"))
    json_ = {"content_type": "application/json"} if name.startswith("api_") else {}
    assert client.post(address_of(name, place | {"slug": "mine"}), {}, **json_).status_code == 404


def test_ids_in_a_body_are_held_to_the_project_too(client, place):  # noqa: F811
    """Whom a batch is for, which assignment is judged, which run is cloned: of this project, or none."""
    mine = make_project(slug="mine")
    owner = make_member(mine, "owner")
    client.force_login(owner)
    strangers = [member.user_id for member in Membership.objects.filter(project=place["project"], role=Role.ANNOTATOR)]
    batch = {"name": "Theirs", "count": 1, "people": strangers}
    assert client.post(reverse("handouts", args=["mine"]), batch).status_code == 422 and not mine.handouts.exists()
    theirs = place["project"].comparisons.first()
    shown = theirs.assignments.first().pk
    for address in ("compare_judge", "compare_skip"):
        given = {"assignment": shown, "key": OWN, "choice": "a"}
        refused = client.post(reverse(address, args=["mine"]), given, headers={"Accept": "application/json"})
        assert (refused.status_code, refused.json()["code"]) == (409, "not_yours")
    renewed = client.post(reverse("compare_renew", args=["mine"]), {"assignment": shown})
    assert renewed.json()["held"] is False
    assert Run.objects.filter(project=mine).count() == 0
