"""Every address × every role. An address that is not in the table fails: decide who may open it, then add it."""

from collections.abc import Callable
from uuid import UUID

import pytest
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from annotate.models import Assignment, Judgement
from annotate.projects.guidelines import save_guidelines
from annotate.review.decisions import leave_as_it_is
from tests.builders import make_comparison, make_member, make_project, make_prompt, make_user, make_version
from tests.collecting.judged import judge
from tests.training.api_roles import API_ALSO, API_TABLE
from tests.training.roles import EVERYBODY, JUDGES, LOOKS, MANAGES, MEMBERS, ROLES, SIGN_IN, SIGNED_IN, Expected, below_project
from tests.training.rows import make_evaluation, make_run
from training.ai.annotators import create_ai_annotator

OWN = UUID(int=7)  # an assignment of the visitor's own
ID = 8_000_001  # of rows whose addresses hold one: far from those that a database counts up to by itself

TABLE = {
    **API_TABLE,
    "projects": SIGNED_IN,
    "sign_in": EVERYBODY,
    "sign_in_link": EVERYBODY,
    "sign_out": SIGNED_IN._replace(method="post"),
    "account": SIGNED_IN,
    "project_new": Expected("get", SIGN_IN, "403", "403", "403", "ok", "ok"),
    "project_archive": below_project("post", "403", "403", manager="403"),
    "tokens": SIGNED_IN,
    "token_revoke": Expected("post", SIGN_IN, *["404"] * 5),  # one's own alone
    "guidelines": MEMBERS,
    "guidelines_edit": MANAGES["get"],
    "guidelines_history": MEMBERS,
    "guidelines_read": MEMBERS._replace(method="post"),
    "compare": JUDGES["get"],
    "compare_next": JUDGES["post"],
    "compare_judge": JUDGES["post"],
    "compare_skip": JUDGES["post"],
    "compare_undo": JUDGES["post"],
    "compare_renew": JUDGES["post"],
    "project_pause": MANAGES["post"],
    "project_resume": MANAGES["post"],
    "own_work": JUDGES["get"],
    "own_judgement": JUDGES["get"],
    "own_take_up": JUDGES["post"],
    "gold": MANAGES["get"],
    "gold_pair": MANAGES["get"],
    "gold_unmark": MANAGES["post"],
    "gold_excuse": MANAGES["post"],
    "handouts": MANAGES["get"],
    "handout_release": MANAGES["post"],
    "quality": MANAGES["get"],
    "quality_table": MANAGES["get"],
    "quality_person": MANAGES["get"],
    "review": MANAGES["get"],
    "review_case": MANAGES["get"],
    "review_withdraw": MANAGES["post"],
    "review_take_back": MANAGES["post"],
    "data": MANAGES["get"],
    "data_prompts": MANAGES["post"],
    "data_upload": MANAGES["post"],
    "data_import": MANAGES["get"],
    "data_export": MANAGES["get"],
    "data_export_card": MANAGES["get"],
    "file_import": MANAGES["get"],
    "file_import_cancel": MANAGES["post"],
    "file_import_go_on": MANAGES["post"],
    "data_refused": MANAGES["get"],
    "data_undo": MANAGES["post"],
    "members": MANAGES["get"],
    "member_link": MANAGES["post"],
    "member_role": MANAGES["post"],
    "member_remove": MANAGES["post"],
    "member": MANAGES["get"],
    "member_suspend": MANAGES["post"],
    "member_exclude": MANAGES["post"],
    "member_include": MANAGES["post"],
    "invitations": MANAGES["get"],
    "invitation_revoke": MANAGES["post"],
    "join": EVERYBODY,
    "rate": JUDGES["get"],
    "webhooks": MANAGES["get"],
    "webhook": MANAGES["get"],
    "webhook_pause": MANAGES["post"],
    "webhook_secret": MANAGES["post"],
    "webhook_remove": MANAGES["post"],
    "delivery_again": MANAGES["post"],
    "project": MEMBERS,
    "train": MANAGES["get"],
    "project_settings": MANAGES["get"],
    "runs": LOOKS,
    "run": LOOKS,
    "run_events": LOOKS,
    "run_curves": LOOKS,
    "runs_compare": LOOKS,
    "run_cancel": MANAGES["post"],
    "run_resume": MANAGES["post"],
    "versions": LOOKS,
    "version": LOOKS,
    "version_describe": MANAGES["post"],
    "version_alias": MANAGES["post"],
    "version_archive": MANAGES["post"],
    "version_remove": MANAGES["post"],
    "version_download": MANAGES["get"],
    "version_judgements": LOOKS,
    "judged": MANAGES["get"],
    "playground": MANAGES["get"],
    "tryout": MANAGES["get"],
    "tryout_again": MANAGES["post"],
    "tryout_compare": MANAGES["post"],
    "version_promote": MANAGES["post"],
    "ai_annotators": MANAGES["get"],
    "ai_annotator": MANAGES["get"],
    "ai_purpose": MANAGES["post"],
    "endpoints": MANAGES["get"],
    "endpoint": MANAGES["get"],
    "endpoint_test": MANAGES["post"],
    "endpoint_serve": MANAGES["post"],
    "endpoint_remove": MANAGES["post"],
    "version_evaluate": MANAGES["post"],
    "version_best_of": MANAGES["post"],
    "version_score": MANAGES["post"],
    "evaluations": LOOKS,
    "evaluation": LOOKS,
    "evaluation_table": MANAGES["get"],
    "evaluation_stop": MANAGES["post"],
    "leaderboard": LOOKS,
    "leaderboard_table": LOOKS,
}
# The same address, another method.
ALSO = [
    ("rate", JUDGES["post"]),
    ("webhooks", MANAGES["post"]),
    ("webhook", MANAGES["post"]),
    *API_ALSO,
    ("gold_pair", MANAGES["post"]),
    ("handouts", MANAGES["post"]),
    ("train", MANAGES["post"]),
    ("playground", MANAGES["post"]),
    ("data_import", MANAGES["post"]),
    ("ai_annotator", MANAGES["post"]),
    ("ai_annotators", MANAGES["post"]),
    ("endpoint", MANAGES["post"]),
    ("endpoints", MANAGES["post"]),
    ("guidelines_edit", MANAGES["post"]),
    ("invitations", MANAGES["post"]),
    ("members", MANAGES["post"]),
    ("project_new", Expected("post", SIGN_IN, "403", "403", "403", "ok", "ok")),
    ("project_settings", MANAGES["post"]),
    ("review_case", MANAGES["post"]),
]


def patterns(resolver: URLResolver) -> list[URLPattern]:
    found = []
    for entry in resolver.url_patterns:
        found += patterns(entry) if isinstance(entry, URLResolver) else [entry]
    return found


def test_every_address_is_in_the_table():
    names = [pattern.name for pattern in patterns(get_resolver())]
    assert None not in names, "every address needs a name"
    assert set(names) == set(TABLE)


@pytest.fixture
def place(db) -> dict[str, object]:
    """A project with one of everything, and an argument for each part of an address."""
    project = make_project(slug="taste")
    base = make_version(project, serving=True)
    make_run(project, base)
    make_evaluation(make_version(project, parent=base), base)
    project.imports.create(number=1, file_name="others.jsonl", format="trl")
    project.file_imports.create(upload=OWN, file_name="others.jsonl", asked={})
    save_guidelines(project=project, text="Prefer the shorter one.", by=None)
    project.handouts.create(number=1, name="Batch", size=0)
    somebody = make_member(project, "annotator", "somebody")
    endpoint = project.endpoints.create(name="local", base_url="http://127.0.0.1:9/v1", model="tiny")
    brief = create_ai_annotator(project=project, name="Brief", rubric="Shorter is better.", endpoint=endpoint)
    project.invitations.create(number=1, token_sha256="0" * 64, by=somebody, expires_at=timezone.now())
    judgement = judge(make_comparison(project), somebody, "first", flags=["unsafe"])
    comparison = judgement.comparison_id
    decision = leave_as_it_is(comparison_id=comparison, by=make_member(project, "manager"))
    make_comparison(project, make_prompt(project, pk=ID), pk=ID)
    hook = project.webhooks.create(pk=ID, url="https://example.org/", events=["run.finished"])
    hook.deliveries.create(pk=ID, event="run.finished", subject="1", body="{}")
    project.generations.create(version=base, pk=ID)
    project.inquiries.create(version=base, kind="score", asked={}, by=somebody, pk=ID)
    reviewed = {"comparison": comparison, "judgement": judgement.pk, "decision": decision.pk}
    place = {"slug": "taste", "number": 1, "user_id": somebody.pk, "token": "unknown-token", "table": "people",
             "token_id": 0, "assignment": OWN, "upload": OWN, "endpoint_id": endpoint.pk, "annotator_id": brief.pk,
             "name": "model.safetensors",
             "split": "train", "username": "somebody", "id": ID,
             "webhook_id": ID, "delivery_id": ID, "delivery": ID}  # fmt: skip
    place |= {"suffix": "csv"}
    place |= {"alias": "best"}
    project.tryouts.create(
        pk=ID, first=project.versions.first(), by=somebody, messages=[], temperature=1, top_p=1, max_new_tokens=9, seed=1
    )
    return place | reviewed | {"project": project}


def address_of(name: str, place: dict[str, object]) -> str:
    (pattern,) = [pattern for pattern in patterns(get_resolver()) if pattern.name == name]
    wanted = {key: place[key] for key in pattern.pattern.converters}
    if name.startswith(("version", "api_version")) and "number" in wanted:
        wanted["number"] = 0
    if "tryout" in name and "number" in wanted:
        wanted["number"] = ID
    return reverse(name, kwargs=wanted)


def sign_in(client, place: dict[str, object], role: str) -> None:
    if role != "anonymous":
        user = make_user("visitor") if role == "stranger" else make_member(place["project"], role, "visitor")
        judged = {"comparison": make_comparison(place["project"]), "annotator": user}
        own = Assignment.objects.create(pk=OWN, **judged, swapped=False, state="judged", expires_at=timezone.now())
        Judgement.objects.create(assignment=own, **judged, outcome="first")
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")


def told(answer) -> str:
    if answer.status_code == 302 and answer.url.startswith("/sign-in/?next="):
        return SIGN_IN
    if answer.status_code in (401, 403, 404, 405) or answer.status_code >= 500:
        return str(answer.status_code)
    return "ok"


CASES = [(name, expected) for name, expected in TABLE.items()] + ALSO


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("name", "expected"), CASES, ids=[f"{name}-{expected.method}" for name, expected in CASES])
def test_who_may(client, place, name: str, expected: Expected, role: str):
    sign_in(client, place, role)
    ask: Callable = getattr(client, expected.method)
    json = {"content_type": "application/json"} if name.startswith("api_") and expected.method != "get" else {}
    answer = ask(address_of(name, place), {}, **json)
    assert told(answer) == getattr(expected, role), (answer.status_code, getattr(answer, "url", ""))


@pytest.mark.parametrize("name", [name for name, expected in TABLE.items() if expected.stranger == "404"])
def test_a_project_that_does_not_exist_looks_like_one_that_is_not_yours(client, place, name: str):
    sign_in(client, place, "stranger")
    method = getattr(client, TABLE[name].method)
    json = {"content_type": "application/json"} if name.startswith("api_") and TABLE[name].method == "post" else {}
    not_mine, not_there = (method(address_of(name, place | {"slug": slug}), {}, **json) for slug in ("taste", "nowhere"))
    assert not_mine.status_code == not_there.status_code == 404
