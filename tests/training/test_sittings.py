"""AI annotators at work: what they judge, what their judgements are for, and that people's work is not disturbed."""

import math
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from annotate.consensus.triples import settle
from annotate.judging.judgements import record_judgement
from annotate.models import Assignment, Comparison, Judgement
from annotate.people.ai_members import change_ai_judgements
from annotate.people.sign_in import create_sign_in_link
from annotate.queue.claims import claim_comparison
from tests import builders
from tests.training.endpoints import make_endpoint
from tests.training.model_server import half, model_server, status
from training.ai import sittings
from training.ai.annotators import AiAnnotatorRefused, change_ai_annotator, create_ai_annotator
from training.ai.sittings import run_sitting, sitting_is_due, start_sitting
from training.clock import automation
from training.models import AiVerdict, Sitting
from training.models.job import JobState
from training.worker import jobs


def sides_of(body) -> tuple[str, str]:
    content = body["messages"][1]["content"]
    return tuple(content.split(f"<answer_{side}>\n")[1].split(f"\n</answer_{side}>")[0] for side in "AB")


def shorter(body, index) -> str:
    a, b = sides_of(body)
    return "A" if len(a) < len(b) else "B"


@pytest.fixture
def server():
    with model_server(shorter) as running:
        yield running


@pytest.fixture
def judge(project, server):
    endpoint = make_endpoint(project, server, price_out=10)
    return create_ai_annotator(project=project, name="Brief", rubric="Shorter is better.", endpoint=endpoint, uses_logprobs=False)


@pytest.fixture
def pairs(project) -> list[Comparison]:
    """The first answer is the shorter one in each."""
    return [make_pair(project) for _ in range(5)]


def make_pair(project, first="Short.", second="Quite a bit longer.") -> Comparison:
    prompt = builders.make_prompt(project)
    return builders.make_comparison(
        project, prompt, first=builders.make_completion(prompt, first), second=builders.make_completion(prompt, second)
    )


def sit(judge) -> Sitting:
    sitting = start_sitting(judge)
    run_sitting(sitting.pk)
    sitting.refresh_from_db()
    return sitting


def test_it_judges_all_there_is_through_the_queue(judge, pairs, server, project) -> None:
    sitting = sit(judge)
    assert (sitting.state, sitting.progress, sitting.total, sitting.divided, sitting.skipped) == (JobState.DONE, 5, 5, 0, 0)
    assert set(Judgement.objects.values_list("annotator", "outcome")) == {(judge.user_id, "first")}
    assert set(Comparison.objects.values_list("state", "free_places")) == {("done", 0)}
    assert len(server.requests) == 10 == sitting.requests and sitting.completion_tokens == 10 and sitting.cost > 0
    assert set(AiVerdict.objects.values_list("shown_first", "shown_second", "rubric__number")) == {("first", "first", 1)}
    assert len(settle(project=project).triples) == 5 and not sitting_is_due(judge)


def test_both_orders_are_asked_and_a_favourite_place_makes_ties(judge, pairs, server) -> None:
    server.say = lambda body, index: "A"
    sitting = sit(judge)
    assert sitting.divided == 5 and set(Judgement.objects.values_list("outcome", "strength")) == {("tie", 0)}
    assert set(AiVerdict.objects.values_list("shown_first", "shown_second")) == {("first", "second")}
    orders = [sides_of(request) for request in server.requests]
    assert sorted(orders) == sorted(order[::-1] for order in orders)


def test_without_a_tie_to_give_a_divided_pair_is_left_to_people(judge, pairs, server, project) -> None:
    project.allows_tie = False
    project.save()
    server.say = lambda body, index: "A"
    sitting = sit(judge)
    assert (sitting.progress, sitting.skipped) == (0, 5) and not Judgement.objects.exists()
    assert "takes no tie" in Assignment.objects.first().skip_reason
    assert set(Comparison.objects.values_list("state", "free_places")) == {("open", 1)}


def test_an_answer_that_cannot_be_read_is_asked_for_once_more_then_skipped(judge, pairs, server) -> None:
    server.say = lambda body, index: "Well, both have their merits."
    sitting = sit(judge)
    assert (sitting.progress, sitting.skipped) == (0, 5) and len(server.requests) == 20
    assert "both have their merits" in Assignment.objects.first().skip_reason and not Judgement.objects.exists()
    assert not sitting_is_due(judge)
    server.say = lambda body, index: shorter(body, index) if len(body["messages"]) == 4 else "Hm."
    make_pair(judge.project)
    assert sit(judge).progress == 1


def test_certainty_becomes_strength_on_a_graded_scale(judge, project, server, pairs) -> None:
    project.grades = 6
    project.save()
    judge.uses_logprobs = True
    judge.save()

    def certain(body, index):
        a, b = sides_of(body)
        p_a = 0.95 if len(a) < len(b) else 0.05
        return {"text": "A" if p_a > 0.5 else "B", "logprobs": {"A": math.log(p_a), "B": math.log(1 - p_a)}}

    server.say = certain
    sit(judge)
    assert set(Judgement.objects.values_list("strength", flat=True)) == {3}
    assert all(share == pytest.approx(0.95) for share in AiVerdict.objects.values_list("preference", flat=True))
    assert {request["top_logprobs"] for request in server.requests} == {20}


def test_log_probabilities_that_do_not_come_though_promised_leave_the_letter_and_a_middle_grade(judge, project, server, pairs):
    project.grades = 6
    project.save()
    judge.uses_logprobs = True
    judge.save()
    server.offers_logprobs = False
    assert sit(judge).progress == 5
    assert set(Judgement.objects.values_list("outcome", "strength")) == {("first", 2)}
    assert set(AiVerdict.objects.values_list("preference", flat=True)) == {None}


def test_what_broke_off_is_paid_for(judge, pairs, server, project) -> None:
    server.say = lambda body, index: "Verdict and more"
    server.always = half(1)
    sitting = sit(judge)
    assert sitting.state == JobState.FAILED and "half-way" in sitting.error and not Judgement.objects.exists()
    assert sitting.requests == sitting.completion_tokens == len(server.requests) and sitting.cost > 0


def test_a_reason_is_kept_as_rationale(judge, pairs, server) -> None:
    judge.gives_reasons = True
    judge.save()
    server.say = lambda body, index: f"It says less.\nVerdict: {shorter(body, index)}"
    sit(judge)
    assert set(Judgement.objects.values_list("rationale", flat=True)) == {"It says less."}


def test_of_a_reason_without_end_the_beginning_is_kept(judge, pairs, server) -> None:
    """A server that heeds no limit: were the judgement refused, the same pair would be asked about, and paid for, for ever."""
    judge.gives_reasons = True
    judge.save()
    server.say = lambda body, index: f"{'Long. ' * 2000}\nVerdict: {shorter(body, index)}"
    assert sit(judge).progress == 5 == Judgement.objects.count()
    assert {len(rationale) for rationale in Judgement.objects.values_list("rationale", flat=True)} == {10_000}


def test_a_judgement_knows_its_edition_of_the_rubric(judge, pairs, server) -> None:
    sit(judge)
    change_ai_annotator(annotator=judge, name="Brief", rubric="Shorter is better. ", uses_logprobs=False)
    assert judge.rubrics.count() == 1  # the same text is no new edition
    change_ai_annotator(annotator=judge, name="Brief", rubric="Longer is better.", uses_logprobs=False)
    make_pair(judge.project)
    sit(judge)
    assert [verdict.rubric.number for verdict in AiVerdict.objects.order_by("pk")] == [1] * 5 + [2]
    assert "Longer is better." in server.requests[-1]["messages"][0]["content"]


# -- what the judgements are for -----------------------------------------------------------------------------


def person_judges(project, person, outcome="b") -> Judgement:
    lease = claim_comparison(project=project, annotator=person)
    choice = outcome if not lease.swapped else {"a": "b", "b": "a"}[outcome]
    return record_judgement(annotator=person, assignment_id=lease.pk, key=uuid.uuid4(), choice=choice)


def test_only_presorting_takes_no_place_gives_no_triple_and_brings_the_doubtful_first(judge, pairs, server, project, annotator):
    change_ai_judgements(project=project, to="presort")
    doubtful = make_pair(project, "Same one.", "Same two.")
    server.say = lambda body, index: "A" if "Same" in sides_of(body)[0] else shorter(body, index)
    assert sit(judge).progress == 6
    assert set(Comparison.objects.values_list("state", "free_places")) == {("open", 1)}
    assert not settle(project=project).triples
    project.random_share = project.gold_share = project.evaluation_share = 0
    project.save()
    assert claim_comparison(project=project, annotator=annotator).comparison == doubtful
    for _ in range(6):
        person_judges(project, annotator)
    triples = settle(project=project).triples
    assert len(triples) == 6 and {triple.chosen for triple in triples} == {"Quite a bit longer.", "Same two."}


def test_what_they_are_for_can_be_changed_back_and_forth_and_places_follow(judge, pairs, project) -> None:
    sit(judge)
    assert change_ai_judgements(project=project, to="presort") == 5
    assert set(Comparison.objects.values_list("state", "free_places")) == {("open", 1)} and not settle(project=project).triples
    assert change_ai_judgements(project=project, to="count") == 5
    assert (
        set(Comparison.objects.values_list("state", "free_places")) == {("done", 0)} and len(settle(project=project).triples) == 5
    )
    assert change_ai_judgements(project=project, to="count") == 0


def test_mixed_with_people_each_takes_one_place(judge, project, annotator) -> None:
    project.judgements_required = 2
    project.save()
    make_pair(project)
    sit(judge)
    assert Comparison.objects.get().free_places == 1
    person_judges(project, annotator, "a")
    assert Comparison.objects.get().state == "done" and len(settle(project=project).triples) == 1


def test_ignored_ones_rest(judge, pairs, project) -> None:
    change_ai_judgements(project=project, to="ignore")
    automation.tick()
    assert not Sitting.objects.exists()
    change_ai_judgements(project=project, to="count")
    automation.tick()
    assert Sitting.objects.get().state == JobState.QUEUED


# -- when things go wrong ------------------------------------------------------------------------------------


def test_a_server_that_fails_fails_the_sitting_and_nothing_is_lost(judge, pairs, server) -> None:
    server.always = status(401)
    sitting = sit(judge)
    assert sitting.state == JobState.FAILED and "refuses the key" in sitting.error and not Judgement.objects.exists()
    assert not sitting_is_due(judge)
    Sitting.objects.update(finished_at=timezone.now() - timedelta(minutes=2))
    assert sitting_is_due(judge)
    server.always = None
    assert sit(judge).progress == 5


def test_one_that_is_taken_up_again_judges_nothing_twice(judge, pairs, server, monkeypatch) -> None:
    """As after kill -9 in the middle of the second pair."""
    sitting, record, count = start_sitting(judge), sittings._record, iter(range(10))

    def dies(*given):
        if next(count) == 1:
            raise SystemExit
        record(*given)

    with monkeypatch.context() as patch:
        patch.setattr(sittings, "_record", dies)
        patch.setattr(jobs, "release", lambda **_: None)
        with pytest.raises(SystemExit):
            run_sitting(sitting.pk)
    assert Judgement.objects.count() == 1
    Sitting.objects.update(heartbeat_at="2020-01-01T00:00Z")
    jobs.requeue_stale()
    run_sitting(sitting.pk)
    sitting.refresh_from_db()
    assert (sitting.state, sitting.progress, Judgement.objects.count()) == (JobState.DONE, 5, 5)
    assert set(Comparison.objects.values_list("state", "free_places")) == {("done", 0)}


def test_one_that_is_switched_off_stops(judge, pairs) -> None:
    sitting = start_sitting(judge)
    change_ai_annotator(annotator=judge, name="Brief", rubric="Shorter is better.", is_on=False)
    run_sitting(sitting.pk)
    assert not Judgement.objects.exists() and not sitting_is_due(judge)


def test_nobody_signs_in_as_an_ai_annotator(judge, client, settings, manager) -> None:
    link = create_sign_in_link(user=judge.user).replace(settings.BASE_URL, "")
    client.post(link)
    assert "_auth_user_id" not in client.session
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    assert client.post(f"/projects/taste/members/{judge.user_id}/link/").status_code == 409


@pytest.mark.parametrize(
    ("wrong", "field"), [({"name": " "}, "name"), ({"rubric": ""}, "rubric"), ({"endpoint": None}, "speaker"),
                         ({"temperature": 9}, "temperature"), ({"gives_reasons": True, "uses_logprobs": True}, "uses_logprobs")]
)  # fmt: skip
def test_what_cannot_be_an_ai_annotator_is_refused_at_its_field(project, server, wrong, field) -> None:
    given = {"name": "Brief", "rubric": "Shorter.", "endpoint": make_endpoint(project, server)} | wrong
    with pytest.raises(AiAnnotatorRefused) as refused:
        create_ai_annotator(project=project, **given)
    assert list(refused.value.fields) == [field]


@pytest.mark.torch
def test_a_version_here_judges_too(project, base, pairs) -> None:
    judge = create_ai_annotator(project=project, name="Tiny", rubric="Shorter is better.", version=base)
    sitting = sit(judge)
    assert (sitting.state, sitting.progress + sitting.skipped) == (JobState.DONE, 5), sitting.error
    assert sitting.requests >= 10 and sitting.cost == 0


def test_people_see_nothing_of_it_before_they_judge(judge, project, server, annotator, client) -> None:
    project.judgements_required = 2
    project.save()
    make_pair(project)
    judge.gives_reasons = True
    judge.save()
    server.say = lambda body, index: f"Unmistakable reason.\nVerdict: {shorter(body, index)}"
    sit(judge)
    assert Judgement.objects.get().rationale == "Unmistakable reason."
    client.force_login(annotator, "django.contrib.auth.backends.ModelBackend")
    shown = client.get("/projects/taste/compare/").content.decode()
    told = client.post("/api/v1/projects/taste/next/", {}, content_type="application/json").content.decode()
    assert "Quite a bit longer." in shown and "Quite a bit longer." in told
    for words in ("Unmistakable", "Brief", judge.user.username):
        assert words not in shown and words not in told
    assert client.get("/projects/taste/ai/").status_code == 403
