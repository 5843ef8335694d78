"""What a pair is for does not show in the work that the server does for it, which takes time that could be measured."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.gold.known_answers import mark_gold
from annotate.models import Assignment, Comparison, Judgement, Project
from annotate.models.comparison import Purpose
from tests.builders import make_comparison, make_member

SCRIPT = {"Accept": "application/json"}


def given_out(project, purpose: str, manager) -> list[Comparison]:
    """Four pairs of that kind alone, and a queue that hands out that kind first."""
    Comparison.objects.all().delete()
    shares = {Purpose.GOLD: (1.0, 0.0), Purpose.EVALUATE: (0.0, 1.0), Purpose.TRAIN: (0.0, 0.0)}
    gold_share, evaluation_share = shares[purpose]
    Project.objects.update(gold_share=gold_share, evaluation_share=evaluation_share)
    project.refresh_from_db()
    made = [make_comparison(project, shuffle=1.0, purpose="train" if purpose == "gold" else purpose) for _ in range(4)]
    if purpose == "gold":
        for comparison in made:
            mark_gold(comparison=comparison, low=-4, high=4, by=manager)
    return made


def work(client, project) -> list[tuple[str, int]]:
    """A morning on the compare page and in the API, with the number of queries of each request."""

    def at(name: str) -> str:
        return reverse(name, args=[project.slug])

    counts = []

    def counted(name: str, send) -> dict:
        with CaptureQueriesContext(connection) as captured:
            answer = send()
        assert answer.status_code in (200, 201), answer.content
        counts.append((name, len(captured)))
        return answer

    def newest():
        return str(Assignment.objects.filter(state="leased").latest("leased_at").pk)

    client.get(at("compare"))  # what is remembered for a session is remembered now
    first = newest()
    counted("page", lambda: client.get(at("compare")))
    counted("next", lambda: client.post(at("compare_next"), {"beside": first}, headers=SCRIPT))
    second = newest()
    counted("renew", lambda: client.post(at("compare_renew"), {"assignment": first}, headers=SCRIPT))
    answer = {"assignment": first, "key": uuid.uuid4(), "choice": "a", "then": "next", "beside": second}
    counted("judge and next", lambda: client.post(at("compare_judge"), answer, headers=SCRIPT))
    counted("judge again", lambda: client.post(at("compare_judge"), answer, headers=SCRIPT))
    plain = {"assignment": second, "key": uuid.uuid4(), "choice": "tie", "rationale": "They say the same."}
    counted("judge", lambda: client.post(at("compare_judge"), plain, headers=SCRIPT))
    counted("undo", lambda: client.post(at("compare_undo"), headers=SCRIPT))
    counted("skip", lambda: client.post(at("compare_skip"), {"assignment": second}, headers=SCRIPT))
    counted("api next", lambda: client.post(at("api_next"), {}, content_type="application/json"))
    by_api = {"assignment": newest(), "key": str(uuid.uuid4()), "choice": "b"}
    counted("api judge", lambda: client.post(at("api_judgements"), by_api, content_type="application/json"))
    counted("own work", lambda: client.get(at("own_work")))
    assert Judgement.objects.standing().count() == 2
    return counts


@pytest.mark.parametrize(("required", "at_most"), [(1, 0), (1, 4), (3, 0), (3, 5)])
def test_each_request_takes_the_same_queries_whatever_the_pair_is_for(client, project, manager, required, at_most):
    project.judgements_required, project.judgements_at_most = required, at_most
    project.save()
    found = {}
    for purpose in Purpose.values:
        Judgement.objects.all().delete()
        Assignment.objects.all().delete()
        given_out(project, purpose, manager)
        client.force_login(make_member(project, "annotator"))
        found[purpose] = work(client, project)
        assert set(Assignment.objects.values_list("comparison__purpose", flat=True)) == {purpose}
    assert found["gold"] == found["train"] and found["evaluate"] == found["train"]
