"""Filling the queue: whose pairs, on which prompts, how many, and what a crash leaves."""

import pytest
from django_tasks_db.models import DBTaskResult

from annotate.models import Comparison, Completion
from annotate.models.prompt import Split
from tests import builders
from tests.trainer.tiny import make_tiny_model
from tests.training.rows import make_run, make_trained
from training import tasks
from training.clock import automation
from training.clock.automation import generation_is_due
from training.generation import pairs as generating
from training.generation.filling import seed_of
from training.generation.pairs import choose_prompts, run_generation, sample_pairs
from training.generation.sampling import Request, Sample, load_policy, sample
from training.models import Generation
from training.models.job import JobState
from training.rewards.best_of import rewards_of
from training.versions import registry
from training.worker import jobs

pytestmark = pytest.mark.torch


@pytest.fixture
def prompts(project):
    project.queue_low, project.queue_high = 3, 5
    project.save()
    return [builders.make_prompt(project, split=split) for split in [Split.TRAIN, Split.HELDOUT] * 4]


def generate(base) -> Generation:
    generation = Generation.objects.create(project=base.project, version=base)
    run_generation(generation.pk)
    generation.refresh_from_db()
    return generation


@pytest.fixture
def answers(monkeypatch):
    """Replace the model: a list of texts by call, or a function from requests to samples."""

    def say(what) -> None:
        def fake(model, tokenizer, requests, **options):
            texts = what(requests)
            return [text if isinstance(text, Sample) else Sample(text, (1, 2), "stop", -1.0) for text in texts]

        monkeypatch.setattr(generating, "sample", fake)

    return say


def test_the_queue_is_filled_to_its_high_mark_from_both_splits(base, prompts) -> None:
    generation = generate(base)
    assert (generation.state, generation.progress, generation.total) == (JobState.DONE, 5, 5)
    comparisons = Comparison.objects.select_related("first", "second", "prompt")
    assert comparisons.count() == 5 == len({c.prompt_id for c in comparisons})
    for comparison in comparisons:
        assert comparison.first.version == comparison.second.version == base
        assert comparison.first.text.strip() != comparison.second.text.strip()
        assert comparison.first.seed != comparison.second.seed
        assert comparison.first.prompt_id == comparison.second.prompt_id == comparison.prompt_id
        assert comparison.free_places == comparison.judgements_required == 1


def test_each_completion_can_be_made_again(base, prompts) -> None:
    generate(base)
    policy = load_policy(base.path)
    for kept in Completion.objects.all():
        request = Request(kept.prompt.messages, kept.seed, kept.temperature, kept.top_p, kept.max_new_tokens)
        again = sample(policy.model, policy.tokenizer, [request])[0]
        assert (again.text, again.token_count, again.finish_reason) == (kept.text, kept.token_count, kept.finish_reason)
        assert again.logprob == pytest.approx(kept.logprob, abs=1e-4) and kept.dtype == policy.dtype


def test_nothing_is_made_while_the_queue_is_above_its_low_mark(base, prompts) -> None:
    for _ in range(3):
        builders.make_comparison(base.project)
    assert generate(base).progress == 0 and Comparison.objects.count() == 3


def test_prompts_without_a_pair_of_the_version_are_chosen_those_with_fewest_first(base, project) -> None:
    older = builders.make_version(project)
    seen, seen_by_older, new = (builders.make_prompt(project) for _ in range(3))
    builders.make_comparison(project, seen, version=base)
    builders.make_comparison(project, seen_by_older, version=older)
    assert choose_prompts(version=base, count=3, seed=1) == [new, seen_by_older]
    assert choose_prompts(version=base, count=3, seed=1, besides=[new.pk]) == [seen_by_older]
    builders.make_comparison(project, new, version=base, state="retired")
    builders.make_comparison(project, seen_by_older, version=base, purpose="evaluate")
    assert choose_prompts(version=base, count=3, seed=1) == [seen_by_older]


def test_with_few_prompts_each_gets_one_pair_and_the_clock_rests_until_something_changes(base, project, answers) -> None:
    answers(lambda requests: [str(request.seed) for request in requests])
    few = [builders.make_prompt(project) for _ in range(3)]
    generation = generate(base)
    assert (generation.state, generation.progress, generation.total) == (JobState.DONE, 3, 3)
    assert not generation_is_due(project)
    Comparison.objects.update(free_places=0, state="done")
    assert not generation_is_due(project)
    few.append(builders.make_prompt(project))
    assert generation_is_due(project) and generate(base).total == 1 and not generation_is_due(project)
    registry.promote(version=builders.make_version(project))
    assert generation_is_due(project) and Comparison.objects.count() == len(few)


def test_ties_between_prompts_are_shuffled_by_the_seed(base, prompts) -> None:
    orders = {tuple(p.pk for p in choose_prompts(version=base, count=8, seed=seed)) for seed in (1, 1, 2, 3)}
    assert len(orders) == 3


def test_pairs_of_the_version_promoted_last_come_first(base, prompts, project) -> None:
    generate(base)
    first = Comparison.objects.latest("pk").priority
    newer = builders.make_version(project, name="newer", directory=base.directory)
    registry.promote(version=newer)
    Comparison.objects.all().update(free_places=0)
    generate(newer)
    assert Comparison.objects.latest("pk").priority > first


def test_an_identical_pair_is_sampled_again_then_dropped_and_counted(base, prompts, answers) -> None:
    seeds = []

    def same(requests):
        seeds.extend(request.seed for request in requests)
        return ["The same.", " The same.\n"] * (len(requests) // 2)

    answers(same)
    generation = generate(base)
    assert Comparison.objects.count() == 0 and generation.state == JobState.FAILED and "temperature" in generation.error
    assert generation.dropped_identical == 8 and generation.resampled == 16
    assert len(set(seeds)) == len(seeds) == 8 * 3 * 2


def test_an_empty_answer_is_dropped_and_a_second_try_may_succeed(base, prompts, answers) -> None:
    calls = []

    def empty_at_first(requests):
        calls.append(len(requests))
        return ["  ", "B"] * (len(requests) // 2) if len(calls) == 1 else ["A", "B"] * (len(requests) // 2)

    answers(empty_at_first)
    generation = generate(base)
    assert (generation.state, generation.progress, generation.dropped_empty, generation.resampled) == (JobState.DONE, 5, 0, 2)
    assert calls[:2] == [4, 4]


def test_a_prompt_the_model_cannot_take_is_counted_and_stops_nothing(base, prompts, answers) -> None:
    answers(
        lambda requests: [
            Sample(error="Too long. Shorten the prompt.") if r.messages == prompts[0].messages else f"{r.seed}" for r in requests
        ]
    )
    base.project.queue_high = 8
    base.project.save()
    generation = generate(base)
    assert (generation.state, generation.progress, generation.dropped_refused) == (JobState.DONE, 7, 1)


def test_when_every_prompt_is_refused_it_fails_with_the_reason(base, prompts, answers) -> None:
    answers(lambda requests: [Sample(error="Too long. Shorten the prompt.")] * len(requests))
    generation = generate(base)
    assert generation.state == JobState.FAILED and "Shorten the prompt" in generation.error


def test_a_generation_that_is_taken_up_again_repeats_nothing(base, prompts, monkeypatch) -> None:
    """As after kill -9 between two batches: the row says running, and no worker is there."""
    generation = Generation.objects.create(project=base.project, version=base)
    store = generating._store

    def dies(generation, pairs, policy):
        if generation.progress:
            raise SystemExit
        store(generation, pairs, policy)

    with monkeypatch.context() as patch:
        patch.setattr(generating, "_store", dies)
        patch.setattr(jobs, "release", lambda **_: None)
        with pytest.raises(SystemExit):
            run_generation(generation.pk)
    assert Comparison.objects.count() == 2
    Generation.objects.update(heartbeat_at="2020-01-01T00:00Z")
    assert jobs.requeue_stale() == [generation]
    run_generation(generation.pk)
    generation.refresh_from_db()
    assert (generation.state, generation.progress, generation.total) == (JobState.DONE, 5, 5)
    assert Comparison.objects.count() == 5 == len(set(Comparison.objects.values_list("prompt", flat=True)))
    assert len(set(Completion.objects.values_list("seed", flat=True))) == Completion.objects.count() == 10


def test_a_worker_that_lost_its_claim_writes_nothing(base, prompts, answers) -> None:
    def steal(requests):
        Generation.objects.update(claim=None, state=JobState.QUEUED)
        return [str(request.seed) for request in requests]

    answers(steal)
    generation = generate(base)
    assert generation.state == JobState.QUEUED and not Comparison.objects.exists() and not Completion.objects.exists()


def test_cancelling_stops_between_two_tokens(base, prompts, settings, monkeypatch) -> None:
    settings.HEARTBEAT_SECONDS = 0
    generation = Generation.objects.create(project=base.project, version=base)
    claim = jobs.claim

    def claim_and_cancel(**options):
        job = claim(**options)
        jobs.request_cancel(job=Generation.objects.get(pk=job.pk))
        return job

    monkeypatch.setattr(jobs, "claim", claim_and_cancel)
    run_generation(generation.pk)
    generation.refresh_from_db()
    assert generation.state == JobState.CANCELLED and not Comparison.objects.exists()


def test_it_ends_when_another_version_serves(base, prompts, answers) -> None:
    newer = builders.make_version(base.project)

    def promote_meanwhile(requests):
        registry.promote(version=newer)
        return [str(request.seed) for request in requests]

    answers(promote_meanwhile)
    assert generate(base).progress == 2
    assert set(Comparison.objects.values_list("priority", flat=True)) == {1.0}  # not above the new version's


def test_a_prompt_longer_than_the_models_context_is_dropped_with_the_reason(base, project) -> None:
    long = builders.make_prompt(project, "word " * 600)
    generation = generate(base)
    assert generation.state == JobState.FAILED and generation.dropped_refused == 1
    assert "and the model takes 512 with its answer. Shorten the prompt." in generation.error
    builders.make_prompt(project)
    generation = generate(base)
    assert (generation.state, generation.progress, generation.dropped_refused) == (JobState.DONE, 1, 1)
    assert not long.comparisons.exists() and not long.completions.exists()


def test_a_queued_one_of_a_version_that_no_longer_serves_ends_without_loading_it(base, prompts) -> None:
    registry.promote(version=builders.make_version(base.project))
    (base.path / "config.json").unlink()  # loading it would fail
    generation = generate(base)
    assert (generation.state, generation.progress, Comparison.objects.count()) == (JobState.DONE, 0, 0)


def test_a_version_that_cannot_be_loaded_fails_with_the_reason(base, prompts) -> None:
    (base.path / "config.json").unlink()
    generation = generate(base)
    assert generation.state == JobState.FAILED and "config.json" in generation.error


def test_a_run_that_waits_for_the_worker_goes_first_and_nothing_is_lost(base, prompts) -> None:
    run = make_run(base.project, base, state=JobState.QUEUED)
    generation = generate(base)
    assert (generation.state, generation.progress, Comparison.objects.count()) == (JobState.QUEUED, 2, 2)
    assert tasks.train.priority > tasks.generate.priority
    run.delete()
    run_generation(generation.pk)
    generation.refresh_from_db()
    assert (generation.state, generation.progress, Comparison.objects.count()) == (JobState.DONE, 5, 5)


def test_the_description_of_what_a_run_has_made_goes_first_once_the_queue_is_not_low(base, prompts, project) -> None:
    waiting = tasks.describe_version.using(priority=tasks.AFTER_A_RUN).enqueue(0)
    project.queue_low = 2
    project.save()
    generation = generate(base)
    assert (generation.state, generation.progress) == (JobState.QUEUED, 2)
    DBTaskResult.objects.filter(pk=waiting.id).delete()
    tasks.describe_version.enqueue(0)  # a base model's, for which nobody waits
    run_generation(generation.pk)
    generation.refresh_from_db()
    assert (generation.state, generation.progress) == (JobState.DONE, 5)


def test_while_the_queue_is_low_its_pairs_go_before_a_description(base, prompts) -> None:
    tasks.describe_version.using(priority=tasks.AFTER_A_RUN).enqueue(0)
    generation = generate(base)
    assert generation.progress == 5  # after the first batch, of 2, the queue is below its low mark, 3


@pytest.mark.torch
def test_a_pair_is_the_best_and_the_worst_of_several_by_implicit_reward(base, prompts, project, var_dir) -> None:
    make_tiny_model(var_dir / "models" / "child", seed=1)
    child = make_trained(project, base, directory="models/child")
    project.answers_per_pair = 6
    policy, some = load_policy(child.path), list(project.prompts.all()[:3])
    pairs = sample_pairs(policy, some, project=project, seed=1, version=child)
    for prompt, pair in pairs.good:
        seeds = [seed_of(1, 0, prompt.pk, 0, side) for side in range(6)]
        requests = [Request(prompt.messages, seed, project.temperature, project.top_p, project.max_new_tokens) for seed in seeds]
        answers = [each for each in sample(policy.model, policy.tokenizer, requests) if each.text.strip()]
        rewards = dict(zip([answer.text for answer in answers], rewards_of(child, policy, prompt, answers), strict=True))
        chosen = {rewards[answer.text] for _, answer in pair}
        assert chosen == {min(rewards.values()), max(rewards.values())}
    assert len(pairs.good) == 3
    of_base = sample_pairs(load_policy(base.path), some, project=project, seed=1)
    assert [request.seed for request, _ in of_base.good[0][1]] == [seed_of(1, 0, some[0].pk, 0, side) for side in (0, 1)]


@pytest.mark.torch
@pytest.mark.parametrize(("trained", "best_of"), [(True, 4), (False, 1)], ids=["trained here", "base model"])
def test_what_a_pair_was_drawn_from_is_kept(base, prompts, project, var_dir, trained, best_of) -> None:
    version = base
    if trained:
        make_tiny_model(var_dir / "models" / "child", seed=1)
        version = make_trained(project, base, directory="models/child")
        registry.promote(version=version)
    type(project).objects.update(answers_per_pair=4)
    run_generation(automation.start_generation(version.project).pk)
    found = Completion.objects.filter(version=version).values_list("best_of", flat=True)
    assert found and set(found) == {best_of}
