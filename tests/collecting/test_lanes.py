"""In which lane the next comparison is found: shares, chance, and what happens when a lane is empty."""

import uuid
from collections import Counter

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from annotate.judging.judgements import record_judgement
from annotate.models import Comparison, Project
from annotate.models.comparison import Purpose
from annotate.projects.progress import count_pairs
from annotate.queue import lanes
from annotate.queue.claims import claim_comparison
from annotate.queue.no_work import explain_no_work
from annotate.queue.pausing import pause_project, resume_project
from tests.builders import make_comparison, make_prompt
from tests.collecting.leases import assert_places_add_up


@pytest.fixture
def shares(project):
    """A project with plenty of each kind. It is changed by `shares(gold_share=…)`."""
    for purpose in Purpose:
        for _ in range(3):
            make_comparison(project, purpose=purpose)

    def change(**fields) -> Project:
        Project.objects.filter(pk=project.pk).update(**fields)
        project.refresh_from_db()
        return project

    return change


def chances(monkeypatch, *numbers: float) -> None:
    """What chance says next."""
    following = iter(numbers)
    monkeypatch.setattr(lanes, "chance", lambda: next(following))


def work(project, person) -> Comparison | None:
    assignment = claim_comparison(project=project, annotator=person)
    if assignment:
        record_judgement(annotator=person, assignment_id=assignment.pk, key=uuid.uuid4(), choice="a")
    return assignment and assignment.comparison


def test_shares_are_what_is_drawn(project):
    project.gold_share, project.evaluation_share, project.random_share = 0.1, 0.3, 0.25
    drawn = [lanes.draw_lanes(project) for _ in range(20_000)]
    first = Counter(lane[0].purpose for lane in drawn)
    assert first[Purpose.GOLD] / 20_000 == pytest.approx(0.1, abs=0.015)
    assert first[Purpose.EVALUATE] / 20_000 == pytest.approx(0.3, abs=0.02)
    train = [lane for tried in drawn for lane in tried if lane.purpose == Purpose.TRAIN]
    assert sum(lane.start is not None for lane in train) / 20_000 == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("drawn", "purpose"), [(0.0, "gold"), (0.0999, "gold"), (0.1, "evaluate"), (0.3999, "evaluate"), (0.4, "train")]
)
def test_each_lane_hands_out_its_own_kind(shares, annotator, monkeypatch, drawn, purpose):
    project = shares(gold_share=0.1, evaluation_share=0.3, random_share=0)
    chances(monkeypatch, 0.5, drawn, 0.5)
    assert claim_comparison(project=project, annotator=annotator).comparison.purpose == purpose


def test_an_empty_lane_gives_way_but_gold_is_no_stopgap(shares, annotator):
    project = shares(gold_share=0, evaluation_share=0)
    served = [work(project, annotator) for _ in range(7)]
    assert [comparison and comparison.purpose for comparison in served] == ["train"] * 3 + ["evaluate"] * 3 + [None]
    said = explain_no_work(project=project, annotator=annotator)
    assert "has been judged" in said and "gold" not in said.lower()


def test_without_gold_or_evaluation_their_shares_go_to_training(project, annotator):
    Project.objects.update(gold_share=0.5, evaluation_share=0.5)
    project.refresh_from_db()
    pairs = [make_comparison(project) for _ in range(3)]
    assert [work(project, annotator) for _ in range(4)] == [*pairs, None]


def test_evaluation_alone_is_handed_out_whatever_its_share(project, annotator):
    Project.objects.update(evaluation_share=0)
    project.refresh_from_db()
    pair = make_comparison(project, purpose="evaluate")
    assert work(project, annotator) == pair


def test_a_random_one_comes_from_its_place_on_and_then_from_the_start(project, annotator, monkeypatch):
    pairs = {place: make_comparison(project, shuffle=place, priority=1 - place) for place in (0.1, 0.5, 0.9)}
    Project.objects.update(random_share=1, evaluation_share=0)
    project.refresh_from_db()
    chances(monkeypatch, 0.0, 0.3, 0.99, 0.0, 0.3, 0.99, 0.0, 0.3, 0.99)
    assert [work(project, annotator) for _ in range(3)] == [pairs[0.5], pairs[0.9], pairs[0.1]]


def test_places_of_chance_are_spread(project):
    places = [make_comparison(project).shuffle for _ in range(60)]
    assert len(set(places)) == 60 and min(places) < 0.3 < 0.7 < max(places)  # fails once in a billion runs


def test_among_equals_the_first_pair_of_every_prompt_comes_first(project, annotator):
    one, other = make_prompt(project), make_prompt(project)
    twice = [make_comparison(project, one, round=number) for number in range(2)]
    once = make_comparison(project, other)
    urgent = make_comparison(project, one, round=2, priority=1)
    assert [work(project, annotator) for _ in range(4)] == [urgent, twice[0], once, twice[1]]


def test_rounds_count_the_pairs_that_a_prompt_has(project):
    prompt, other = make_prompt(project), make_prompt(project)
    make_comparison(project, prompt), make_comparison(project, prompt, state="done")
    make_comparison(project, prompt, state="retired")
    assert Comparison.objects.rounds_of([prompt, other]) == {prompt.pk: 2}


def test_what_waits_is_not_gold(shares):
    assert count_pairs(shares()).waiting == 6


@pytest.mark.parametrize(
    "wrong",
    [{"gold_share": -0.1}, {"evaluation_share": 1.1}, {"random_share": 1.1}, {"gold_share": 0.6, "evaluation_share": 0.5}],
)
def test_the_database_refuses_shares_that_are_none(project, wrong):
    with pytest.raises(IntegrityError), transaction.atomic():
        Project.objects.filter(pk=project.pk).update(**wrong)
    for name, value in wrong.items():
        setattr(project, name, value)
    with pytest.raises(ValidationError):
        project.full_clean()


@pytest.mark.parametrize("gold", [0.1, 0.3, 0.7, 0.05, 0.9])
def test_gold_and_evaluation_may_be_everything(project, gold):
    project.gold_share, project.evaluation_share = gold, round(1 - gold, 8)
    project.full_clean()
    project.save()


# -- pausing -----------------------------------------------------------------------------------------------


def test_a_pause_hands_out_nothing_and_takes_what_is_on_screens(project, annotator, manager):
    for _ in range(3):
        make_comparison(project)
    shown = claim_comparison(project=project, annotator=annotator)
    pause_project(project=project, by=manager, reason=" New guidelines\0. ")
    assert claim_comparison(project=project, annotator=annotator) == shown
    assert claim_comparison(project=project, annotator=annotator, beside=shown) is None
    record_judgement(annotator=annotator, assignment_id=shown.pk, key=uuid.uuid4(), choice="a")
    assert claim_comparison(project=project, annotator=annotator) is None
    assert "paused: “New guidelines.”" in explain_no_work(project=project, annotator=annotator)
    resume_project(project=project)
    assert claim_comparison(project=project, annotator=annotator)
    assert_places_add_up()


def test_the_pause_button(client, project, manager, annotator):
    make_comparison(project)
    client.force_login(manager)
    settings, overview = f"/projects/{project.slug}/settings/", f"/projects/{project.slug}/"
    assert "Pause the work" in client.get(settings).content.decode()
    page = client.post(f"/projects/{project.slug}/pause/", {"reason": "Back on <Monday>"}, follow=True).content.decode()
    assert "marek paused it" in page and "Back on &lt;Monday&gt;" in page
    assert "The work is paused" in client.get(overview).content.decode()
    client.force_login(annotator)
    assert "Back on &lt;Monday&gt;" in client.get(f"/projects/{project.slug}/compare/").content.decode()
    client.force_login(manager)
    page = client.post(f"/projects/{project.slug}/pause/", {"reason": "x" * 301}, follow=True).content.decode()
    assert "Nothing is paused: Ensure this value has at most 300" in page and "Back on" in page
    assert "The work goes on." in client.post(f"/projects/{project.slug}/resume/", follow=True).content.decode()
    client.force_login(annotator)
    assert "Answer A" in client.get(f"/projects/{project.slug}/compare/").content.decode().replace("</span>", "").replace(
        '<span class="visually-hidden">', ""
    )
