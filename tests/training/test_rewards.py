"""Implicit rewards as a tool: scoring stored pairs, what contradicts the judgements, what is judged first."""

import math

import pytest
from django.core.cache import cache

from annotate.models import Comparison, Dispute
from annotate.models.prompt import Split
from tests import builders
from tests.training.rows import make_judgement, make_trained
from training.models import Score, Scoring, Version
from training.models.job import JobState
from training.rewards import implicit
from training.rewards.implicit import (
    ScoringRefused,
    agreement_of,
    contradictions,
    follow_rewards,
    has_rewards,
    level_of,
    score_what_is_new,
    start_scoring,
    unscored,
)  # fmt: skip
from training.versions.registry import promote


@pytest.fixture
def version(project) -> Version:
    version = make_trained(project, builders.make_version(project))
    promote(version=version)
    return version


def score(version: Version, comparison: Comparison, margin: float) -> Score:
    return Score.objects.create(version=version, comparison=comparison, first_reward=margin, second_reward=0.0)


def test_a_version_that_serves_no_longer_scores_nothing_by_itself(project, version, annotator, manager, monkeypatch) -> None:
    """A scoring that waited while another version was promoted must not keep the worker from what is asked for."""
    from training.rewards import scoring as scorings

    builders.make_comparison(project)
    looked: list[int] = []
    monkeypatch.setattr(scorings, "_run_scorer", lambda *given: looked.append(given[0].pk))
    waiting = start_scoring(version=version)
    promote(version=version.parent)
    scorings.run_scoring(waiting.pk)
    waiting.refresh_from_db()
    assert waiting.state == JobState.DONE and not looked and not Score.objects.exists()
    asked = start_scoring(version=version, by=manager)
    scorings.run_scoring(asked.pk)
    assert looked == [asked.pk]


# -- what is scored ----------------------------------------------------------------------------------------


def test_what_is_judged_or_waits_is_scored_once(project, version, annotator) -> None:
    judged = make_judgement(project, annotator).comparison
    waiting = builders.make_comparison(project)
    builders.make_comparison(project, state="retired")
    evaluated = make_judgement(project, annotator, purpose="evaluate").comparison
    builders.make_comparison(project, purpose="evaluate")
    builders.make_comparison(builders.make_project())
    assert list(unscored(version)) == [evaluated, waiting, judged]
    score(version, judged, 1.0)
    assert list(unscored(version)) == [evaluated, waiting] and list(unscored(version.parent)) == [evaluated, waiting, judged]


def test_a_base_model_has_no_reward(project, version) -> None:
    assert has_rewards(version) and not has_rewards(version.parent)
    with pytest.raises(ScoringRefused, match="no implicit reward"):
        start_scoring(version=version.parent)


def test_one_scoring_at_a_time(version) -> None:
    first = start_scoring(version=version)
    assert start_scoring(version=version) == first and first.beta == 0.1
    Scoring.objects.update(state="done")
    assert start_scoring(version=version) != first


# -- against the judgements --------------------------------------------------------------------------------


def test_agreement_by_hand(project, version, annotator) -> None:
    """Held out: right by 2, wrong by 1, even; a tie decides nothing, nor does what has no reward. One of training."""
    for outcome, margin in (("first", 2.0), ("second", 1.0), ("second", 0.0), ("tie", 5.0)):
        prompt = builders.make_prompt(project, split=Split.HELDOUT)
        score(version, make_judgement(project, annotator, outcome, prompt=prompt).comparison, margin)
    prompt = builders.make_prompt(project, split=Split.HELDOUT)
    Score.objects.create(version=version, comparison=make_judgement(project, annotator, prompt=prompt).comparison)
    prompt = builders.make_prompt(project, split=Split.TRAIN)
    score(version, make_judgement(project, annotator, "second", prompt=prompt).comparison, -1.0)
    heldout, train = (agreement_of(version, split=split) for split in (Split.HELDOUT, Split.TRAIN))
    assert (heldout.right, heldout.pairs, heldout.margin) == (1.5, 3, pytest.approx(1 / 3))
    assert heldout.range[0] < heldout.accuracy == 0.5 < heldout.range[1]
    assert (train.accuracy, train.pairs) == (1.0, 1) and agreement_of(version.parent, split=Split.TRAIN) is None


@pytest.mark.parametrize(
    ("grades", "strength", "outcome", "margin", "against"),
    [
        (2, 1, "first", -1.2, True), (2, 1, "second", 1.2, True), (2, 1, "first", -1.0, False), (2, 1, "second", -3.0, False),
        (4, 1, "first", -3.0, False), (4, 2, "first", -3.0, True), (8, 2, "first", -3.0, False), (8, 3, "first", -3.0, True),
        (2, 0, "tie", 3.0, False),
    ],
)  # fmt: skip
def test_a_contradiction_is_a_strong_judgement_against_a_sure_version(
    project, version, annotator, grades, strength, outcome, margin, against
) -> None:
    judgement = make_judgement(project, annotator, outcome)
    judgement.strength = strength
    judgement.save()
    judgement.assignment.grades = grades
    judgement.assignment.save()
    score(version, judgement.comparison, margin)
    assert contradictions(version) == ({judgement.comparison_id} if against else set())


def test_contradictions_go_to_review_and_leave_it_with_the_version(project, version, annotator) -> None:
    judgement = make_judgement(project, annotator, "first")
    score(version, judgement.comparison, -2.0)
    follow_rewards(project=project)
    assert Dispute.objects.waiting("against_reward").get().comparison == judgement.comparison
    follow_rewards(project=project)
    assert Dispute.objects.count() == 1
    promote(version=version.parent)
    follow_rewards(project=project)
    assert not Dispute.objects.filter(against_reward=True).exists()


def test_a_judgement_taken_back_contradicts_nothing(project, version, annotator) -> None:
    judgement = make_judgement(project, annotator, "first")
    score(version, judgement.comparison, -2.0)
    judgement.withdrawn_at = "2026-01-01T00:00Z"
    judgement.save()
    assert contradictions(version) == set()


# -- in the queue ------------------------------------------------------------------------------------------


def test_levels_of_uncertainty() -> None:
    assert [level_of(margin) for margin in (0.0, 0.4, -0.4, 1.0, 2.0, 3.0, -50.0)] == [0.75, 0.75, 0.75, 0.5, 0.0, 0.0, 0.0]
    assert all(level_of(margin) == level_of(-margin) for margin in (0.1, 0.6, 1.3))
    sure = 1 / (1 + math.exp(-1.0))
    assert level_of(1.0) == math.floor(4 * (1 - abs(2 * sure - 1))) / 4


def test_what_the_version_is_least_sure_of_comes_first(project, version) -> None:
    sure, unsure, unscored_one = (builders.make_comparison(project, version=version, priority=1.0) for _ in range(3))
    others = builders.make_comparison(project, version=version.parent, priority=0.0)
    judged = builders.make_comparison(project, version=version, state="done", free_places=0)
    for comparison, margin in ((sure, 4.0), (unsure, 0.1), (others, 0.0), (judged, 0.0)):
        score(version, comparison, margin)
    follow_rewards(project=project)
    found = dict(Comparison.objects.values_list("pk", "priority"))
    assert found == {sure.pk: 1.0, unsure.pk: 1.75, unscored_one.pk: 1.0, others.pk: 0.0, judged.pk: 0.0}


def test_the_clock_lets_the_serving_version_score_what_is_new(project, version, annotator) -> None:
    def look() -> int:
        cache.clear()
        score_what_is_new()
        return Scoring.objects.count()

    assert look() == 0
    judgement = make_judgement(project, annotator, "first")
    assert look() == look() == 1
    Scoring.objects.update(state="failed")
    assert look() == 1  # by hand from here on
    Scoring.objects.update(state="done")
    score(version, judgement.comparison, -2.0)
    assert look() == 1 and Dispute.objects.filter(against_reward=True).count() == 1


def test_what_follows_is_looked_at_only_when_somebody_has_judged(project, version, annotator, monkeypatch) -> None:
    cache.clear()
    looked = []
    monkeypatch.setattr(implicit, "follow_rewards", lambda **_: looked.append(1))
    for _ in range(2):
        cache.delete(f"rewards-looked-at:{project.pk}")
        score_what_is_new()
    assert len(looked) == 1
    make_judgement(project, annotator)
    cache.delete(f"rewards-looked-at:{project.pk}")
    score_what_is_new()
    assert len(looked) == 2


# -- its card ----------------------------------------------------------------------------------------------


def test_the_versions_page_tells_and_offers(client, manager, project, version, annotator) -> None:
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    judgement = make_judgement(project, annotator, "first")
    page = client.get(version.get_absolute_url()).content.decode()
    assert "Its own preferences" in page and "Score 1 pair" in " ".join(page.split())
    answer = client.post("/projects/taste/versions/1/score/", follow=True)
    assert "as soon as a worker is free" in answer.content.decode() and Scoring.objects.get().started_by == manager
    score(version, judgement.comparison, -2.0)
    Scoring.objects.update(state="done", figures=implicit.figures_of_rewards(version))
    page = client.get(version.get_absolute_url()).content.decode()
    assert f"/review/{judgement.comparison_id}/" in page and "of 1 scored pair" in page
    answer = client.post("/projects/taste/versions/0/score/", follow=True)
    assert "was not trained here" in answer.content.decode()
    assert "Its own preferences" not in client.get("/projects/taste/versions/0/").content.decode()


# -- the worker's part -------------------------------------------------------------------------------------


@pytest.fixture
def trained(base, var_dir, project) -> Version:
    from tests.trainer.tiny import make_tiny_model

    make_tiny_model(var_dir / "models" / "child", seed=1)
    version = make_trained(project, base, directory="models/child")
    promote(version=version)
    return version


@pytest.mark.torch
def test_pairs_are_scored_as_the_trainer_does(project, base, trained, annotator) -> None:
    from training.generation.sampling import encode_prompt, load_policy
    from training.generation.sampling import score as slow_score
    from training.rewards.scoring import run_scoring

    short = make_judgement(project, annotator, "second").comparison
    long = builders.make_comparison(project, builders.make_prompt(project, "word " * 600))
    prompt = builders.make_prompt(project)
    same = builders.make_comparison(
        project, prompt, first=builders.make_completion(prompt, "Same."), second=builders.make_completion(prompt, " Same. ")
    )
    scoring = start_scoring(version=trained)
    run_scoring(scoring.pk)
    scoring.refresh_from_db()
    assert (scoring.state, scoring.total, scoring.progress, scoring.left_out) == (JobState.DONE, 3, 3, 2), scoring.error
    found = Score.objects.get(comparison=short)
    policy, reference = load_policy(trained.path), load_policy(base.path)
    ids = encode_prompt(policy.tokenizer, short.prompt.messages)
    end = policy.tokenizer.eos_token_id
    pairs = [(ids, [*policy.tokenizer(side.text)["input_ids"], end]) for side in (short.first, short.second)]
    expected = [
        0.1 * (mine - theirs)
        for mine, theirs in zip(slow_score(policy.model, pairs), slow_score(reference.model, pairs), strict=True)
    ]
    assert [found.first_reward, found.second_reward] == pytest.approx(expected, abs=1e-4)
    assert Score.objects.filter(comparison__in=[long, same], first_reward=None).count() == 2
    assert scoring.figures["scored"] == 1 and not unscored(trained).exists()
    assert not (scoring.project.pk and list((trained.path.parents[1] / "scores").iterdir()))


@pytest.mark.torch
@pytest.mark.parametrize("by_hand", [True, False])
def test_what_starts_by_itself_takes_a_part_at_a_time(project, base, trained, annotator, manager, monkeypatch, by_hand) -> None:
    from training.rewards import scoring

    monkeypatch.setattr(scoring, "BY_ITSELF", 1)
    for _ in range(2):
        make_judgement(project, annotator)
    scoring.run_scoring(start_scoring(version=trained, by=manager if by_hand else None).pk)
    assert Score.objects.count() == (2 if by_hand else 1)


@pytest.mark.torch
def test_a_scorer_that_fails_tells_why(project, base, trained, annotator) -> None:
    from training.rewards.scoring import run_scoring

    make_judgement(project, annotator)
    Version.objects.filter(pk=base.pk).update(directory="models/gone")
    scoring = start_scoring(version=trained)
    run_scoring(scoring.pk)
    scoring.refresh_from_db()
    assert scoring.state == JobState.FAILED and "gone does not exist" in scoring.error and not Score.objects.exists()


@pytest.mark.torch
def test_a_scorer_ends_with_its_worker_and_starts_again(project, base, trained, annotator) -> None:
    from training.rewards.scoring import run_scoring
    from training.worker.stopping import Stopped

    make_judgement(project, annotator)
    scoring = start_scoring(version=trained)

    def stop() -> None:
        raise Stopped

    run_scoring(scoring.pk, check=stop)
    scoring.refresh_from_db()
    assert scoring.state == JobState.QUEUED and not Score.objects.exists()
    run_scoring(scoring.pk)
    assert Score.objects.count() == 1
