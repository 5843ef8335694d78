"""Every address of the API × every role × tokens: a token may what its person may, less what its scopes leave out."""

import pytest

from annotate.models.token import Scope
from annotate.people.tokens import create_token
from tests.builders import make_member, make_user
from tests.training.roles import ROLES, Expected
from tests.training.test_urls_by_role import CASES, TABLE, address_of, told
from tests.training.test_urls_by_role import place as place

RATING = ("api_ratings", "api_rating_next", "api_rating_undo")
JUDGING = {
    "api_next",
    "api_guidelines_read",
    "api_judgements",
    "api_skip",
    "api_undo",
    "api_renew",
    *RATING,
}  # what an annotator's program needs
API = [(name, expected) for name, expected in CASES if name.startswith("api_") and name != "api_reference"]
IDS = [f"{name}-{expected.method}" for name, expected in API]


def scope_needed(name: str, method: str) -> str:
    return "read" if method == "get" else "judge" if name in JUDGING else "manage"


def ask(client, place, name: str, method: str, *, role: str, scopes: list[str]):
    user = make_user("visitor") if role == "stranger" else make_member(place["project"], role, "visitor")
    _, token = create_token(user=user, name="test", scopes=scopes)
    ask = getattr(client, method)
    return ask(address_of(name, place), {}, headers={"Authorization": f"Bearer {token}"}, **BODY[method])


BODY = {"get": {}} | {method: {"content_type": "application/json"} for method in ("post", "put", "patch", "delete")}


@pytest.mark.parametrize("role", ROLES[1:])
@pytest.mark.parametrize(("name", "expected"), API, ids=IDS)
def test_a_token_of_all_scopes_may_what_its_person_may(client, place, name: str, expected: Expected, role: str):
    answer = ask(client, place, name, expected.method, role=role, scopes=Scope.values)
    assert told(answer) == getattr(expected, role), answer.content


@pytest.mark.parametrize(("name", "expected"), API, ids=IDS)
def test_without_its_scope_an_owner_is_refused_and_with_it_alone_let_in(client, place, name: str, expected: Expected):
    needed = scope_needed(name, expected.method)
    others = [scope for scope in Scope.values if scope != needed]
    answer = ask(client, place, name, expected.method, role="owner", scopes=others)
    assert answer.status_code == 403 and answer.json()["code"] == "scope" and needed in answer.json()["message"]
    owner = place["project"].memberships.get(role="owner").user
    _, token = create_token(user=owner, name="test", scopes=[needed])
    client_method = getattr(client, expected.method)
    headers = {"Authorization": f"Bearer {token}"}
    assert told(client_method(address_of(name, place), {}, headers=headers, **BODY[expected.method])) == expected.owner


def test_pages_take_no_tokens(client, place):
    _, token = create_token(user=make_member(place["project"], "owner", "visitor"), name="test", scopes=Scope.values)
    for name in TABLE:
        if not name.startswith("api_") and TABLE[name].anonymous == "sign in":
            answer = getattr(client, TABLE[name].method)(
                address_of(name, place), {}, headers={"Authorization": f"Bearer {token}"}
            )
            assert answer.status_code == 302 and answer.url.startswith("/sign-in/"), name
