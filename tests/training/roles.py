"""Who may open an address: the words in which the tables of tests/training/test_urls_by_role.py and api_roles.py say it."""

from typing import NamedTuple

ROLES = ("anonymous", "stranger", "annotator", "viewer", "manager", "owner")


class Expected(NamedTuple):
    """What GET (or, where an address only takes it, an empty POST) answers to each of ROLES. `ok` is anything but a
    refusal: the request came through to the view's own rules, which have their own tests."""

    method: str
    anonymous: str
    stranger: str
    annotator: str
    viewer: str
    manager: str
    owner: str


SIGN_IN = "sign in"
EVERYBODY = Expected("get", "ok", "ok", "ok", "ok", "ok", "ok")
SIGNED_IN = Expected("get", SIGN_IN, "ok", "ok", "ok", "ok", "ok")


def below_project(method: str, annotator: str, viewer: str, manager: str = "ok", anonymous: str = SIGN_IN) -> Expected:
    return Expected(method, anonymous, "404", annotator, viewer, manager, "ok")


MEMBERS = below_project("get", "ok", "ok")
JUDGES = {method: below_project(method, "ok", "403") for method in ("get", "post")}
LOOKS = below_project("get", "403", "ok")
MANAGES = {method: below_project(method, "403", "403") for method in ("get", "post")}
API_JUDGES = {method: below_project(method, "ok", "403", anonymous="401") for method in ("get", "post")}
API_LOOKS = below_project("get", "403", "ok", anonymous="401")
API_MANAGES = below_project("post", "403", "403", anonymous="401")
API_KEPT = API_MANAGES._replace(method="get")
API_SIGNED_IN = SIGNED_IN._replace(anonymous="401")
API_MEMBERS = MEMBERS._replace(anonymous="401")
