"""The OpenAPI document against the API: whatever it allows to be sent is answered as it says, and never with a 500."""

import logging

import pytest
import schemathesis
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from annotate.api.about import document
from annotate.models.token import Scope
from annotate.people.tokens import create_token
from config.wsgi import application
from tests.builders import make_member
from tests.training.test_urls_by_role import place as place

EXAMPLES = {GenerationMode.POSITIVE: 6, GenerationMode.NEGATIVE: 3}  # of each operation
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
PLACES = {"slug": "taste", "number": 1, "username": "somebody", "split": "train", "name": "config.json", "alias": "best"}
BY_ID = ("id", "delivery", "comparison", "decision", "endpoint_id", "annotator_id")
GONE = {
    "delete_endpoint",
    "delete_member",
    "delete_webhook",
    "post_archive_project",
}  # they would take the ground from under the others

NOUNS = """projects members prompts completions comparisons next judgements datasets runs events cancel versions promote files
    generate generations evaluations score gold handouts review endpoints
    ai playground aliases invitations guidelines pause imports uploads leaderboard"""

schema = schemathesis.openapi.from_dict(document())
OPERATIONS = [result.ok() for result in schema.get_all_operations()]


def test_the_document_has_what_the_issue_names():
    paths = " ".join(document()["paths"])
    for noun in NOUNS.split():
        assert f"/{noun}/" in paths, noun
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["description"], (method, path)
            assert {"401", "403", "429"} <= operation["responses"].keys(), (method, path)


def test_the_document_is_valid_and_made_without_a_warning(tmp_path):
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.definition.raw["operationId"])
def test_no_500_and_no_undocumented_answer(place, operation, mode, as_it_runs):
    owner = make_member(place["project"], "owner", "visitor")
    _, token = create_token(user=owner, name="test", scopes=Scope.values)
    there = PLACES | {name: place[name] for name in BY_ID} | {"upload": str(place["upload"])}
    name = operation.definition.raw["operationId"]

    @settings(
        max_examples=EXAMPLES[mode], deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: schemathesis.Case) -> None:
        parameters = case.path_parameters or {}
        for known in ({}, {key: there[key] for key in parameters if key in there}):  # as generated, and at what is there
            if known and name in GONE:
                continue
            case.path_parameters = parameters | known
            response = case.call(app=application, headers={"Authorization": f"Bearer {token}"}, base_url="http://127.0.0.1")
            case.validate_response(response, checks=CHECKS)

    try:
        answers()
    except Unsatisfiable:
        assert mode == GenerationMode.NEGATIVE  # nothing of it can be wrong


@pytest.fixture
def as_it_runs(settings):
    """No throttle, no log of what is refused, and the test's transaction stays in its connection."""
    settings.API_RATE = settings.API_WORK_RATE = None
    logging.disable(logging.WARNING)
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)
    logging.disable(logging.NOTSET)
