"""Statements that are kept say the same as the ORM says, on every run, and find nothing by what was asked before."""

import uuid

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from annotate.models import Assignment, Comparison, Judgement, Membership
from annotate.models.kept_queries import Given, KeptQuery, KeptUpdate, insert
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison, make_member, make_user

MEMBERS = KeptQuery(
    lambda: Membership.objects.filter(user=Given("user", int), role="annotator").select_related("project").order_by("pk")
)
TEXTS = KeptQuery(lambda: Comparison.objects.filter(pk=Given("pk", int)).values_list("prompt__messages", "created_at"))
RENAME = KeptUpdate(lambda: (Comparison.objects.filter(pk=Given("pk", int)), {"source": Given("source", str)}))
HOSTILE = "'; DROP TABLE annotate_comparison; -- %s \\ \"é\u202e"


def test_rows_come_with_their_relations_and_are_those_asked_for(project, annotator):
    other = make_member(project, "annotator")
    for user in (annotator, other, annotator):
        found = MEMBERS.all(user=user.pk)
        assert found == list(Membership.objects.filter(user=user))
        with CaptureQueriesContext(connection) as asked:
            assert [each.project.name for each in found] == [project.name]
        assert not asked.captured_queries
        assert {name: getattr(found[0], name) for name in ("joined_at", "suspended_at", "role")} == {
            "joined_at": Membership.objects.get(user=user).joined_at,
            "suspended_at": None,
            "role": "annotator",
        }
    assert MEMBERS.first(user=make_user("stranger").pk) is None


def test_values_are_those_of_the_orm(project):
    pair = make_comparison(project)
    assert TEXTS.all(pk=pair.pk) == list(Comparison.objects.filter(pk=pair.pk).values_list("prompt__messages", "created_at"))


def test_what_is_given_is_a_value_and_never_a_part_of_the_statement(project):
    pair, other = make_comparison(project), make_comparison(project)
    assert RENAME.run(pk=pair.pk, source=HOSTILE) == 1
    assert RENAME.run(pk=0, source="nobody's") == 0
    assert Comparison.objects.get(pk=pair.pk).source == HOSTILE
    assert Comparison.objects.get(pk=other.pk).source != HOSTILE


def test_a_row_is_added_once_and_a_transaction_goes_on(project, annotator):
    make_comparison(project)
    lease = claim_comparison(project=project, annotator=annotator)
    said = {"assignment": lease, "comparison": lease.comparison, "annotator": annotator, "outcome": "tie", "strength": 0}
    key = uuid.uuid4()
    with transaction.atomic():
        judgement = Judgement(key=key, rationale=HOSTILE, flags=["a"], **said)
        assert insert(judgement) and not insert(Judgement(key=key, **said))
        assert Judgement.objects.get() == judgement and not judgement._state.adding
    stored = Judgement.objects.get(pk=judgement.pk)
    assert (stored.rationale, stored.flags, stored.key, stored.created_at) == (HOSTILE, ["a"], key, judgement.created_at)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no statements that are kept by name")
@pytest.mark.django_db(transaction=True)
def test_postgresql_plans_a_statement_once(project, annotator):
    for _ in range(3):
        MEMBERS.all(user=annotator.pk)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%annotate_membership%role%'")
        assert cursor.fetchone()[0] == 1
    assert Assignment.objects.count() == 0
