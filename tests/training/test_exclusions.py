"""A person's judgements are left out of what is made from now on; what was made stays, and says so."""

import uuid
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.consensus.exclusions import exclude_person, excluded_people, lift_exclusion
from annotate.consensus.judged import read_judged
from annotate.consensus.triples import Reading, settle
from annotate.gold.known_answers import mark_gold
from annotate.judging.judgements import record_judgement
from annotate.models import Exclusion
from annotate.models.prompt import Split
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison, make_member, make_project, make_prompt, make_version
from tests.collecting.judged import judge
from tests.collecting.test_concurrency import at_once
from tests.training.rows import make_run, make_trained
from training.datasets.kept_previews import kept_preview
from training.datasets.snapshots import create_dataset
from training.datasets.trained_on import uses_of


@pytest.fixture
def bob(project):
    return make_member(project, "annotator", "bob")


@pytest.fixture
def pair(project):
    """A comparison that needs two judgements."""

    def make(*outcomes, people=()):
        comparison = make_comparison(project, make_prompt(project, split=Split.TRAIN), judgements_required=max(1, len(outcomes)))
        for person, outcome in zip(people, outcomes, strict=True):
            judge(comparison, person, outcome)
        return comparison

    return make


def triples(project) -> list[tuple[int, int]]:
    """(comparison, number of judgements it rests on)"""
    return [(each.comparison_id, len(each.judgement_ids)) for each in Reading(project=project)]


def test_what_they_said_decides_nothing_and_the_others_decide(project, owner, annotator, bob, pair):
    alone = pair("first", people=[bob])
    both = pair("first", "second", people=[annotator, bob])
    assert triples(project) == [(alone.pk, 1)]
    exclude_person(project=project, person=bob, why="Clicked at random.", by=owner)
    assert triples(project) == [(both.pk, 1)]
    assert [comparison.id for comparison in read_judged(project=project)] == [both.pk]
    assert sum(settle(project=project).counts.values()) == 0
    assert lift_exclusion(project=project, person=bob, by=owner)
    assert triples(project) == [(alone.pk, 1)]


def test_a_pair_that_still_waits_for_judgements_waits(project, owner, annotator, bob):
    comparison = make_comparison(project, make_prompt(project, split=Split.TRAIN), judgements_required=3)
    judge(comparison, annotator, "first"), judge(comparison, bob, "first")
    exclude_person(project=project, person=bob, why="x", by=owner)
    assert triples(project) == [] and settle(project=project).counts["incomplete"] == 1


def test_judgements_to_come_are_left_out_too_and_other_projects_are_not(project, owner, bob, pair):
    exclude_person(project=project, person=bob, why="x", by=owner)
    pair("first", people=[bob])
    elsewhere = make_project()
    judge(make_comparison(elsewhere), bob, "first")
    assert triples(project) == [] and len(triples(elsewhere)) == 1


def test_who_when_and_why_stay(project, owner, manager, bob):
    exclude_person(project=project, person=bob, why="Clicked at random.\0", by=owner)
    exclude_person(project=project, person=bob, why="again", by=manager)
    assert excluded_people(project) == {bob.pk} and Exclusion.objects.count() == 1
    lift_exclusion(project=project, person=bob, by=manager)
    assert not lift_exclusion(project=project, person=bob, by=manager)
    row = Exclusion.objects.get()
    assert (row.why, row.by, row.lifted_by, excluded_people(project)) == ("Clicked at random.", owner, manager, frozenset())
    exclude_person(project=project, person=bob, why="again", by=manager)
    assert Exclusion.objects.count() == 2


def test_the_preview_follows_at_once(project, owner, annotator, bob, pair):
    pair("first", people=[annotator]), pair("first", people=[bob])
    assert kept_preview(project=project).train == 2
    exclude_person(project=project, person=bob, why="x", by=owner)
    assert kept_preview(project=project).train == 1
    lift_exclusion(project=project, person=bob, by=owner)
    assert kept_preview(project=project).train == 2


@pytest.fixture
def folders(tmp_path, settings):
    settings.VAR_DIR, settings.DATASETS_DIR = tmp_path, tmp_path / "datasets"


def test_what_was_trained_before_stays_and_is_shown(client, project, owner, annotator, bob, pair, folders):
    pair("first", people=[annotator]), pair("first", people=[bob]), pair("second", people=[bob])
    base = make_version(project)
    before = create_dataset(project=project)
    trained = make_trained(project, base, run=make_run(project, base, dataset=before))
    exclude_person(project=project, person=bob, why="Clicked at random.", by=owner)
    after = create_dataset(project=project)
    assert (before.train_count, after.train_count) == (3, 1)
    assert after.filters["people_left_out"] == 1 and "people_left_out" not in before.filters
    (use,) = uses_of(project=project, person=bob)
    assert (use.dataset, use.judgements, use.versions) == (before, 2, (trained,))
    assert [each.dataset for each in uses_of(project=project, person=annotator)] == [after, before]
    client.force_login(owner)
    page = client.get(reverse("member", args=[project.slug, bob.pk])).content.decode()
    for words in (f">{before}<", f">{trained}</a>", "Clicked at random.", "Left out", "Let them count again"):
        assert words in page, words


# -- pages -------------------------------------------------------------------------------------------------
def test_in_the_browser(client, project, manager, bob):
    client.force_login(manager)
    address = reverse("member_exclude", args=[project.slug, bob.pk])
    for odd in ("", "   ", "x" * 2001, "a\0"):
        assert "Nothing was changed" in client.post(address, {"why": odd}, follow=True).content.decode()
    assert not Exclusion.objects.exists()
    assert "left out of everything" in client.post(address, {"why": "Asleep"}, follow=True).content.decode()
    assert "left out" in client.get(reverse("members", args=[project.slug])).content.decode()
    client.post(reverse("member_include", args=[project.slug, bob.pk]))
    assert not excluded_people(project)


def test_somebody_who_has_left_can_still_be_left_out(client, project, owner, bob, stranger, pair):
    pair("first", people=[bob])
    project.memberships.filter(user=bob).delete()
    client.force_login(owner)
    assert "no longer a member" in client.get(reverse("member", args=[project.slug, bob.pk])).content.decode()
    client.post(reverse("member_exclude", args=[project.slug, bob.pk]), {"why": "x"})
    assert excluded_people(project) == {bob.pk}
    for name in ("member", "member_exclude", "member_include"):
        ask = client.get if name == "member" else client.post
        assert ask(reverse(name, args=[project.slug, stranger.pk]), {"why": "x"}).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_two_managers_leave_somebody_out_at_once():
    project = make_project()
    people = [make_member(project, "manager") for _ in range(2)]
    bad = make_member(project, "annotator")
    rows = at_once(*(partial(exclude_person, project=project, person=bad, why="x", by=person) for person in people))
    assert rows[0] == rows[1] and Exclusion.objects.count() == 1


# -- the table of members ----------------------------------------------------------------------------------
def test_the_table_shows_who_is_at_work_and_how(client, project, owner, annotator, bob, pair):
    for number in range(4):
        pair("first", "first" if number else "second", people=[annotator, bob])
    judged = annotator.judgements.all()
    judged.update(seconds=12)
    client.force_login(owner)
    page = client.get(reverse("members", args=[project.slug])).content.decode()
    assert "12 s" in page and "75 %" in page
    assert page.count("badge-running") == 0


def test_the_table_shows_how_many_known_answers_were_right(client, project, manager, annotator):
    project.gold_share, project.evaluation_share = 1, 0
    project.save()
    client.force_login(manager)
    for accepted in ({"low": 1, "high": 4}, {"low": -4, "high": -1}):
        mark_gold(comparison=make_comparison(project), by=manager, **accepted)
    assert "Known answers" not in client.get(reverse("members", args=[project.slug])).content.decode()
    for _ in range(2):
        lease = claim_comparison(project=project, annotator=annotator)
        choice = "b" if lease.swapped else "a"  # the first is better
        record_judgement(annotator=annotator, assignment_id=lease.pk, key=uuid.uuid4(), choice=choice)
    page = client.get(reverse("members", args=[project.slug])).content.decode()
    assert "Known answers" in page and '50 % <span class="muted">of 2</span>' in page


def test_a_persons_page_leads_to_their_figures_once_there_are_some(client, project, owner, bob, pair):
    client.force_login(owner)
    address, figures = (reverse(name, args=[project.slug, bob.pk]) for name in ("member", "quality_person"))
    assert figures not in client.get(address).content.decode()
    pair("first", people=[bob])
    assert figures in client.get(address).content.decode() and client.get(figures).status_code == 200


def test_the_table_asks_the_database_as_often_for_two_as_for_thirty(client, project, owner, annotator):
    client.force_login(owner)
    address = reverse("members", args=[project.slug])

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert client.get(address).status_code == 200
        return len(asked)

    few = queries()
    for _ in range(28):
        judge(make_comparison(project), make_member(project, "annotator"), "first")
    assert queries() == few
