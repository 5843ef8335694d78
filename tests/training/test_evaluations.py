"""Blind evaluations: from asking for one to its verdict."""

import uuid
from collections.abc import Callable

import pytest

from annotate.consensus.exclusions import exclude_person, lift_exclusion
from annotate.consensus.triples import settle
from annotate.judging.judgements import record_judgement, take_back_last
from annotate.models import Comparison, User
from annotate.models.comparison import ComparisonState, Purpose
from annotate.models.prompt import Split
from annotate.queue.claims import claim_comparison
from tests import builders
from tests.training.judges import judge_all
from tests.training.rows import add_evaluation_pair, make_evaluation, make_trained
from training.clock import automation
from training.evaluations.ordering import (
    EvaluationRefused,
    decide,
    decide_evaluations,
    evaluate_finished_runs,
    opponent_of,
    start_evaluation,
    stop_evaluation,
)  # fmt: skip
from training.evaluations.standings import standing_of
from training.models import Evaluation, EvaluationPair, Version
from training.models.evaluation import Verdict
from training.models.job import JobState
from training.versions.registry import promote, serving_version
from training.versions.upkeep import UpkeepRefused, request_removal


@pytest.fixture
def serving(project) -> Version:
    return builders.make_version(project, serving=True)


@pytest.fixture
def newer(project, serving) -> Version:
    return make_trained(project, serving)


@pytest.fixture
def heldout(project):
    return [builders.make_prompt(project, split=Split.HELDOUT) for _ in range(6)]


def candidates(a: str, b: str) -> str:
    return "a" if "candidate" in a else "b"


def others(a: str, b: str) -> str:
    return "b" if "candidate" in a else "a"


def judge_some(project, annotator: User, choose: Callable[[str, str], str], number: int) -> None:
    for _ in range(number):
        assignment = claim_comparison(project=project, annotator=annotator)
        first, second = assignment.comparison.first.text, assignment.comparison.second.text
        a, b = (second, first) if assignment.swapped else (first, second)
        record_judgement(annotator=annotator, assignment_id=assignment.pk, key=uuid.uuid4(), choice=choose(a, b))


# -- asking for one ----------------------------------------------------------------------------------------


def test_one_is_queued_with_the_projects_settings(project, serving, newer, heldout, manager) -> None:
    project.temperature, project.evaluation_prompts, project.promotion_bar = 0.7, 4, 0.6
    project.save()
    newer.refresh_from_db()
    evaluation = start_evaluation(candidate=newer, opponent=serving, by=manager)
    assert (evaluation.number, evaluation.prompts_wanted, evaluation.temperature, evaluation.bar) == (1, 4, 0.7, 0.6)
    assert evaluation.state == JobState.QUEUED and evaluation.is_open and not evaluation.promotes
    assert automation._tasks_for(automation.tasks.evaluate, evaluation.pk).count() == 1


def test_what_makes_no_sense_is_refused(project, serving, newer, heldout) -> None:
    elsewhere = builders.make_version(builders.make_project())
    for wrong, words in (
        ({"opponent": newer}, "with itself"), ({"opponent": elsewhere}, "same project"), ({"prompts": 0}, "At least one"),
        ({"best_of": 0}, "best of 1 to"), ({"candidate": serving, "opponent": newer, "best_of": 4}, "no implicit reward"),
    ):  # fmt: skip
        with pytest.raises(EvaluationRefused, match=words):
            start_evaluation(**{"candidate": newer, "opponent": serving} | wrong)
    assert start_evaluation(candidate=newer, opponent=newer, best_of=4).best_of == 4
    start_evaluation(candidate=newer, opponent=serving)
    with pytest.raises(EvaluationRefused, match="already"):
        start_evaluation(candidate=newer, opponent=serving)
    assert Evaluation.objects.count() == 2


def test_a_version_whose_files_are_gone_answers_nothing_and_one_that_answers_keeps_its_files(
    project, serving, newer, heldout
) -> None:
    third = make_trained(project, serving)
    start_evaluation(candidate=newer, opponent=serving)
    with pytest.raises(UpkeepRefused, match="prompts of evaluation 1"):
        request_removal(version=newer)
    request_removal(version=third)
    third.refresh_from_db()
    with pytest.raises(EvaluationRefused, match="files of v2 have been deleted"):
        start_evaluation(candidate=third, opponent=serving)


def test_without_a_held_out_prompt_there_is_nothing_to_compare_on(project, serving, newer) -> None:
    builders.make_prompt(project, split=Split.TRAIN)
    with pytest.raises(EvaluationRefused, match="No prompt is held out"):
        start_evaluation(candidate=newer, opponent=serving)


def test_the_opponent_is_what_serves_else_the_parent(project, serving, newer) -> None:
    assert opponent_of(newer) == serving and opponent_of(serving) is None
    promote(version=newer)
    assert opponent_of(newer) == serving and opponent_of(serving) == newer


# -- how it stands -----------------------------------------------------------------------------------------


def test_counts_by_hand(project, serving, newer, annotator) -> None:
    """Four prompts: won (as first), lost (as second), tied, and one to which both say the same; one more waits."""
    evaluation = make_evaluation(newer, serving)
    for candidate_first in (True, False, True, True):
        add_evaluation_pair(evaluation, candidate_first=candidate_first)
    add_evaluation_pair(evaluation, "The same.", "The same.")
    first, second, third, _ = Comparison.objects.order_by("pk")
    for comparison, outcome in ((first, "first"), (second, "first"), (third, "tie")):
        assert claim_comparison(project=project, annotator=annotator).comparison == comparison
        assignment = comparison.assignments.get()
        assignment.swapped = False
        assignment.save()
        choice = {"first": "a", "tie": "tie"}[outcome]
        record_judgement(annotator=annotator, assignment_id=assignment.pk, key=uuid.uuid4(), choice=choice)
    standing = standing_of(evaluation)
    assert (standing.wins, standing.losses, standing.ties, standing.waiting, standing.identical) == (1, 1, 1, 1, 1)
    assert standing.rate == pytest.approx(0.5) and standing.low <= 0.5 <= standing.high and standing.bounds.holds(0.5)
    take_back_last(project=project, annotator=annotator)
    assert standing_of(evaluation).judged == 2
    judge_all(project, annotator, candidates)
    after = standing_of(evaluation)
    assert after.judged == 5 and after.outcomes == [1.0, 0.0, 1.0, 1.0, 0.5] and after.controlled.value > 0.5


def test_a_prompt_counts_when_it_has_all_its_judgements_and_as_their_mean(project, serving, newer) -> None:
    project.judgements_required = 2
    project.save()
    newer.refresh_from_db()
    evaluation = make_evaluation(newer, serving, pairs=1)
    one, two = (builders.make_member(project, "annotator") for _ in range(2))
    judge_all(project, one, candidates)
    assert standing_of(evaluation).judged == 0 and decide(evaluation=evaluation) == Verdict.NONE
    judge_all(project, two, others)
    assert standing_of(evaluation).outcomes == [0.5]


def test_answers_that_are_the_same_come_in_at_the_pace_of_the_others(project, serving, newer, annotator) -> None:
    evaluation = make_evaluation(newer, serving, pairs=4)
    for _ in range(2):
        add_evaluation_pair(evaluation, "The same.", "The same.")
    lengths = [standing_of(evaluation).judged]
    for _ in range(4):
        judge_some(project, annotator, candidates, 1)
        lengths.append(standing_of(evaluation).judged)
    assert lengths == [0, 1, 3, 4, 6]


def test_a_standing_costs_three_queries_however_many_judgements_there_are(
    project, serving, newer, annotator, django_assert_num_queries
) -> None:
    evaluation = make_evaluation(newer, serving, pairs=12)
    judge_all(project, annotator, candidates)
    with django_assert_num_queries(3):
        assert standing_of(evaluation).judged == 12


def test_who_is_excluded_or_only_sorts_the_queue_has_no_say(project, serving, newer, annotator, manager) -> None:
    evaluation = make_evaluation(newer, serving, pairs=3)
    judge_all(project, annotator, candidates)
    assert standing_of(evaluation).rate == 1.0
    exclude_person(project=project, person=annotator, why="Clicks without reading.", by=manager)
    assert standing_of(evaluation).judged == 0
    lift_exclusion(project=project, person=annotator, by=manager)
    annotator.is_ai, project.ai_judgements = True, "presort"
    annotator.save()
    project.save()
    assert standing_of(evaluation).judged == 0


# -- its verdict -------------------------------------------------------------------------------------------


def test_one_that_plainly_wins_ends_early_serves_and_leaves_nothing_in_the_queue(project, serving, newer, annotator) -> None:
    evaluation = make_evaluation(newer, serving, pairs=40, promotes=True)
    while not decide(evaluation=evaluation):
        judge_some(project, annotator, candidates, 1)
    evaluation.refresh_from_db()
    assert evaluation.verdict == Verdict.PASSED and evaluation.decided_at and 6 <= evaluation.figures["prompts"] < 25
    assert evaluation.figures["always_low"] > 0.5 and not evaluation.is_open
    states = Comparison.objects.values_list("state", flat=True)
    assert set(states) == {ComparisonState.DONE, ComparisonState.RETIRED}
    assert claim_comparison(project=project, annotator=annotator) is None
    assert serving_version(project) == newer and "evaluation 1: it wins 100 %" in project.promotions.first().why


def test_one_whose_files_are_deleted_while_it_is_judged_passes_and_does_not_serve(project, serving, newer, annotator) -> None:
    evaluation = make_evaluation(newer, serving, pairs=40, promotes=True)
    request_removal(version=newer)
    while not decide(evaluation=evaluation):
        judge_some(project, annotator, candidates, 1)
    evaluation.refresh_from_db()
    assert evaluation.verdict == Verdict.PASSED and serving_version(project) == serving


def test_one_that_cannot_pass_any_more_ends_early_too(project, serving, newer, annotator) -> None:
    evaluation = make_evaluation(newer, serving, pairs=40, promotes=True)
    judge_some(project, annotator, others, 30)
    assert decide(evaluation=evaluation) == Verdict.MISSED
    assert serving_version(project) == serving and not Comparison.objects.open().exists()


def test_one_that_stays_even_is_undecided_when_all_is_judged(project, serving, newer, annotator) -> None:
    evaluation = make_evaluation(newer, serving, pairs=6, promotes=True)
    judge_some(project, annotator, candidates, 3)
    judge_some(project, annotator, others, 2)
    decide_evaluations()
    evaluation.refresh_from_db()
    assert evaluation.verdict == Verdict.NONE
    judge_some(project, annotator, others, 1)
    decide_evaluations()
    evaluation.refresh_from_db()
    assert evaluation.verdict == Verdict.UNDECIDED and serving_version(project) == serving


def test_nobody_is_promoted_over_a_version_it_was_not_measured_against(project, serving, newer, annotator) -> None:
    evaluation = make_evaluation(newer, serving, pairs=30, promotes=True)
    judge_some(project, annotator, candidates, 30)
    third = builders.make_version(project)
    promote(version=third)
    assert decide(evaluation=evaluation) == Verdict.PASSED and serving_version(project) == third


def test_a_pair_on_somebodys_screen_is_retired_once_it_is_off_it(project, serving, newer, annotator) -> None:
    evaluation = make_evaluation(newer, serving, pairs=3)
    assignment = claim_comparison(project=project, annotator=annotator)
    assert stop_evaluation(evaluation=evaluation) and not stop_evaluation(evaluation=evaluation)
    evaluation.refresh_from_db()
    assert evaluation.verdict == Verdict.STOPPED and Comparison.objects.open().count() == 1
    record_judgement(annotator=annotator, assignment_id=assignment.pk, key=uuid.uuid4(), choice="a")
    decide_evaluations()
    assert not Comparison.objects.open().exists() and standing_of(evaluation).judged == 1


def test_one_that_still_waits_for_a_worker_is_cancelled_at_once(project, serving, newer, heldout) -> None:
    evaluation = start_evaluation(candidate=newer, opponent=serving)
    assert stop_evaluation(evaluation=evaluation)
    evaluation.refresh_from_db()
    assert evaluation.state == JobState.CANCELLED and not evaluation.is_open
    start_evaluation(candidate=newer, opponent=serving)


def test_its_judgements_never_become_triples(project, serving, newer, annotator) -> None:
    make_evaluation(newer, serving, pairs=4)
    assert judge_all(project, annotator, candidates) == 4
    assert settle(project=project).triples == []


# -- by itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "promotes"),
    [({"evaluates_finished_runs": True}, False), ({"promoting": "evaluated"}, True), ({}, None)],
    ids=["asked for", "to promote", "not wanted"],
)
def test_a_finished_runs_version_is_evaluated_once(project, serving, newer, heldout, settings, promotes) -> None:
    for name, value in settings.items():
        setattr(project, name, value)
    project.save()
    for _ in range(2):
        evaluate_finished_runs()
    found = list(Evaluation.objects.values_list("candidate", "opponent", "promotes", "started_by"))
    assert found == ([] if promotes is None else [(newer.pk, serving.pk, promotes, None)])


def test_nothing_is_evaluated_by_itself_without_a_held_out_prompt_or_an_opponent(project) -> None:
    project.evaluates_finished_runs = True
    project.save()
    base = builders.make_version(project)
    evaluate_finished_runs()
    make_trained(project, base)
    evaluate_finished_runs()
    assert not Evaluation.objects.exists()


# -- the worker's part -------------------------------------------------------------------------------------


@pytest.fixture
def two_models(base, var_dir, project):
    from tests.trainer.tiny import make_tiny_model

    make_tiny_model(var_dir / "models" / "child", seed=1)
    for split in [Split.HELDOUT] * 5 + [Split.TRAIN] * 5:
        builders.make_prompt(project, split=split)
    base.project.refresh_from_db()
    return make_trained(project, base, directory="models/child"), base


def answer(evaluation: Evaluation, **options) -> None:
    from training.evaluations.answers import run_evaluation

    run_evaluation(evaluation.pk, **options)
    evaluation.refresh_from_db()
    assert evaluation.state == JobState.DONE, evaluation.error


@pytest.mark.torch
def test_both_answer_the_same_held_out_prompts(project, two_models) -> None:
    newer, older = two_models
    evaluation = start_evaluation(candidate=newer, opponent=older, prompts=4)
    answer(evaluation)
    pairs = list(EvaluationPair.objects.select_related("prompt", "candidate", "opponent", "comparison"))
    assert len(pairs) == 4 and evaluation.progress == evaluation.total == 8 and evaluation.is_judged
    for pair in pairs:
        assert pair.prompt.split == Split.HELDOUT and pair.candidate.version == newer and pair.opponent.version == older
        assert {pair.comparison.first, pair.comparison.second} == {pair.candidate, pair.opponent}
        assert pair.comparison.purpose == Purpose.EVALUATE and pair.comparison.free_places == 1
        assert pair.candidate.temperature == project.temperature and pair.candidate.prompt == pair.prompt


@pytest.mark.torch
def test_answers_with_the_same_settings_are_used_again_and_others_are_not(project, two_models) -> None:
    newer, older = two_models
    first = start_evaluation(candidate=newer, opponent=older)
    answer(first)
    stop_evaluation(evaluation=first)
    written = newer.completions.count(), older.completions.count()
    assert written == (5, 5)
    again = start_evaluation(candidate=newer, opponent=older)
    answer(again)
    assert (newer.completions.count(), older.completions.count()) == written and again.pairs.count() == 5
    project.temperature = 0.8
    project.save()
    newer.project.refresh_from_db()
    stop_evaluation(evaluation=again)
    answer(start_evaluation(candidate=newer, opponent=older))
    assert (newer.completions.count(), older.completions.count()) == (10, 10)


@pytest.mark.torch
def test_one_that_is_taken_up_again_goes_on_where_it_was(project, two_models) -> None:
    from training.worker import jobs
    from training.worker.stopping import Stopped

    newer, older = two_models
    evaluation = start_evaluation(candidate=newer, opponent=older)

    def until_the_other_has_answered() -> None:
        if older.completions.exists():
            raise Stopped

    from training.evaluations.answers import run_evaluation

    run_evaluation(evaluation.pk, check=until_the_other_has_answered)
    evaluation.refresh_from_db()
    assert evaluation.state == JobState.QUEUED and not EvaluationPair.objects.exists()
    kept = set(older.completions.values_list("pk", flat=True))
    assert len(kept) == 5
    assert jobs.claim(kind=Evaluation, pk=evaluation.pk + 1) is None
    answer(evaluation)
    assert set(older.completions.values_list("pk", flat=True)) == kept and evaluation.pairs.count() == 5


@pytest.mark.torch
def test_versions_that_say_the_same_tie_and_nobody_is_asked(project, two_models, var_dir) -> None:
    newer, older = two_models
    answer(start_evaluation(candidate=newer, opponent=older))
    for mine, theirs in zip(newer.completions.order_by("prompt"), older.completions.order_by("prompt"), strict=True):
        mine.text = f" {theirs.text}\n"
        mine.save()
    stop_evaluation(evaluation=Evaluation.objects.get())
    evaluation = start_evaluation(candidate=newer, opponent=older)
    answer(evaluation)
    assert not Comparison.objects.filter(evaluation_pair__evaluation=evaluation).exists()
    assert decide(evaluation=evaluation) == Verdict.UNDECIDED and evaluation.figures["rate"] == 0.5


@pytest.mark.torch
def test_a_missing_model_fails_in_words(project, two_models) -> None:
    newer, older = two_models
    Version.objects.filter(pk=newer.pk).update(directory="models/gone")
    evaluation = start_evaluation(candidate=newer, opponent=older)
    from training.evaluations.answers import run_evaluation

    run_evaluation(evaluation.pk)
    evaluation.refresh_from_db()
    assert evaluation.state == JobState.FAILED and "gone" in evaluation.error and not evaluation.is_open


@pytest.mark.torch
def test_best_of_n_is_the_one_with_the_greatest_implicit_reward(project, two_models) -> None:
    from training.generation.sampling import Request, encode_prompt, load_policy, sample, score
    from training.rewards.best_of import best_and_worst, best_by_reward, rewards_of

    newer, older = two_models
    answer(start_evaluation(candidate=newer, opponent=newer, best_of=4))
    assert newer.completions.filter(best_of=4).count() == newer.completions.filter(best_of=1).count() == 5
    policy, prompt = load_policy(newer.path), project.prompts.heldout().first()
    requests = [Request(prompt.messages, seed, max_new_tokens=8) for seed in range(6)]
    drawn = list(zip(requests, sample(policy.model, policy.tokenizer, requests), strict=True))
    rewards = rewards_of(newer, policy, prompt, [each for _, each in drawn])
    ids = encode_prompt(policy.tokenizer, prompt.messages)
    for (_, each), reward in zip(drawn, rewards, strict=True):
        (theirs,) = score(load_policy(older.path).model, [(ids, each.token_ids)])
        assert reward == pytest.approx(each.logprob - theirs, abs=1e-3)
    least, most = min(rewards), max(rewards)
    assert {rewards[drawn.index(each)] for each in best_and_worst(newer, policy, prompt, drawn)} == {least, most}
    assert len(set(rewards)) > 1 and rewards[drawn.index(best_by_reward(newer, policy, prompt, drawn))] == max(rewards)


@pytest.mark.torch
def test_the_curve_of_best_of_n(project, two_models) -> None:
    """A judge who likes what the reward likes: the more to choose from, the oftener it wins; of one, it wins as often as not."""
    from training.generation.sampling import Sample, load_policy
    from training.rewards.best_of import curve, rewards_of

    newer, _ = two_models
    policy, prompts = load_policy(newer.path), list(project.prompts.select_related("project"))

    def reward(text: str) -> float:
        ids = tuple(policy.tokenizer(text, add_special_tokens=False)["input_ids"])
        return rewards_of(newer, policy, prompts[0], [Sample(text, ids)])[0] if ids else 0.0

    found = curve(newer, policy, prompts, lambda a, b: float(reward(a) > reward(b)), numbers=(1, 4, 16), seed=3)
    rates = [rate for rate, _, _ in found.values()]
    assert list(found) == [1, 4, 16] and rates[0] < rates[2] and all(low <= rate <= high for rate, low, high in found.values())
    assert found == curve(newer, policy, prompts, lambda a, b: float(reward(a) > reward(b)), numbers=(1, 4, 16), seed=3)


@pytest.mark.torch
def test_from_a_finished_run_to_a_promotion_that_two_people_decide(project, base, var_dir) -> None:
    """Nobody presses a button: the clock asks, a worker answers, two people judge among other pairs, the clock decides."""
    from tests.trainer.tiny import make_tiny_model
    from training.evaluations.answers import run_evaluation

    for split in [Split.HELDOUT] * 14 + [Split.TRAIN] * 2:
        builders.make_prompt(project, split=split)
    type(project).objects.update(promoting="evaluated", judgements_required=2, evaluation_share=0.5, max_new_tokens=12)
    project.refresh_from_db()
    make_tiny_model(var_dir / "models" / "child", seed=1)
    newer = make_trained(project, base, directory="models/child")
    for _ in range(3):
        builders.make_comparison(project, builders.make_prompt(project, split=Split.TRAIN), version=base)
    automation.tick()
    evaluation = Evaluation.objects.get()
    run_evaluation(evaluation.pk)
    ours = set(newer.completions.values_list("text", flat=True))
    for _ in range(2):
        judge_all(project, builders.make_member(project, "annotator"), lambda a, b: "a" if a in ours else "b")
    automation.tick()
    evaluation.refresh_from_db()
    assert evaluation.verdict == Verdict.PASSED and evaluation.figures["prompts"] == 14, evaluation.figures
    assert serving_version(project) == newer and "wins 100 %" in project.promotions.first().why
    assert not Comparison.objects.open().filter(purpose=Purpose.EVALUATE).exists()
