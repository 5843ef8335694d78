"""A manager who also annotates stays blind: no pair whose judgements they have seen, no answer changed after they saw them."""

import uuid

import pytest
from django.urls import reverse

from annotate.judging.judgements import (
    JudgementRefused,
    change_judgement,
    record_judgement,
    take_back_last,
    take_up_skipped,
)
from annotate.models import Assignment, Judgement
from annotate.queue.claims import claim_comparison, skip_comparison
from tests.builders import make_comparison
from tests.collecting.judged import judge


@pytest.fixture
def contested(project, annotator):
    """One judgement of the two that it needs, by somebody else."""
    comparison = make_comparison(project, judgements_required=2)
    judge(comparison, annotator, "first")
    return comparison


def look(client, person, comparison, page: str = "review_case"):
    client.force_login(person)
    answer = client.get(reverse(page, args=[comparison.project.slug, comparison.pk]))
    assert answer.status_code == 200
    return answer


def places(comparison) -> int:
    comparison.refresh_from_db()
    return comparison.free_places


def test_a_pair_seen_in_review_is_not_handed_out_to_who_saw_it(client, project, contested, manager, owner):
    look(client, manager, contested)
    assert claim_comparison(project=project, annotator=manager) is None
    assert claim_comparison(project=project, annotator=owner).comparison == contested


@pytest.mark.parametrize("page", ["gold_pair", "judged"])
def test_nor_one_whose_answers_they_saw_elsewhere(client, project, contested, manager, page):
    look(client, manager, contested, page)
    look(client, manager, contested, page)
    assert claim_comparison(project=project, annotator=manager) is None and places(contested) == 1


def test_a_pair_on_the_screen_goes_back_to_the_queue_and_its_answer_is_refused(client, project, contested, manager):
    shown = claim_comparison(project=project, annotator=manager)
    assert places(contested) == 0
    look(client, manager, contested)
    assert places(contested) == 1
    compare = {name: reverse(f"compare_{name}", args=[project.slug]) for name in ("renew", "judge")}
    lost = client.post(compare["renew"], {"assignment": shown.pk}).json()
    assert lost["held"] is False and "in review" in lost["message"]
    given = {"assignment": shown.pk, "key": uuid.uuid4(), "choice": "a"}
    refused = client.post(compare["judge"], given, headers={"Accept": "application/json"})
    assert refused.status_code == 409 and refused.json()["code"] == "seen"
    assert Judgement.objects.count() == 1 and places(contested) == 1


def test_what_they_had_said_before_stands_as_it_is(client, project, contested, manager):
    assignment = claim_comparison(project=project, annotator=manager)
    record_judgement(annotator=manager, assignment_id=assignment.pk, key=uuid.uuid4(), choice="tie")
    look(client, manager, contested)
    with pytest.raises(JudgementRefused, match="stands"):
        change_judgement(annotator=manager, assignment_id=assignment.pk, key=uuid.uuid4(), choice="a")
    with pytest.raises(JudgementRefused, match="stands"):
        take_back_last(project=project, annotator=manager)
    assert Judgement.objects.standing().get(annotator=manager).outcome == "tie"


def test_a_skip_of_it_is_not_taken_up_again(client, project, contested, manager):
    skipped = skip_comparison(annotator=manager, assignment_id=claim_comparison(project=project, annotator=manager).pk)
    look(client, manager, contested)
    for again in (
        lambda: take_up_skipped(annotator=manager, assignment_id=skipped.pk),
        lambda: take_back_last(project=project, annotator=manager),
    ):
        with pytest.raises(JudgementRefused, match="do not judge it any more"):
            again()


def test_a_look_at_ones_own_judgement_alone_tells_nothing_new(client, project, manager):
    comparison = make_comparison(project)
    judge(comparison, manager, "first")
    look(client, manager, comparison)
    assert not Assignment.objects.filter(seen_at__isnull=False).exists()
    assert take_back_last(project=project, annotator=manager)
