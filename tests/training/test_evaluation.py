"""What a version is like, and how sure one can be of it."""

import math

import pytest

from annotate.models import Completion
from annotate.models.prompt import Split
from annotate.quality.intervals import interval_of, wilson
from tests import builders
from tests.trainer.tiny import make_tiny_model
from tests.training.rows import make_trained
from training.generation.sampling import load_policy
from training.versions import description
from training.versions.answer_figures import distinct, figures_of_answers
from training.versions.description import describe_version, kl_estimate, mean_and_error, measured_against


@pytest.fixture
def heldout(project):
    builders.make_prompt(project, split=Split.TRAIN)
    return [builders.make_prompt(project, split=Split.HELDOUT) for _ in range(10)]


@pytest.mark.torch
def test_a_version_and_its_parent_are_described_on_the_same_held_out_prompts(base, heldout, var_dir) -> None:
    make_tiny_model(var_dir / "models" / "child", seed=1)
    child = builders.make_version(base.project, parent=base, directory="models/child")
    describe_version(version=child)
    base.refresh_from_db()
    for version in (base, child):
        greedy = version.completions.filter(temperature=0)
        assert greedy.count() == description.SHOWN_PROMPTS and {c.prompt.split for c in greedy} == {Split.HELDOUT}
        assert 0 < version.metrics["mean_tokens"] <= base.project.max_new_tokens
        assert 0 <= version.metrics["ended_share"] <= 1 and version.metrics["described_prompts"] == 10
    assert child.metrics["kl"] > 0 and child.metrics["kl_error"] > 0 and "kl" not in base.metrics
    assert set(base.completions.values_list("prompt", flat=True)) == set(child.completions.values_list("prompt", flat=True))
    assert Completion.objects.count() == 2 * description.SHOWN_PROMPTS


@pytest.mark.torch
def test_a_grandchild_is_measured_against_the_base_and_its_reference(base, heldout, var_dir) -> None:
    for name, seed in (("child", 1), ("grandchild", 2)):
        make_tiny_model(var_dir / "models" / name, seed=seed)
    child = make_trained(base.project, base, directory="models/child")
    grandchild = make_trained(base.project, child, directory="models/grandchild")
    assert measured_against(child) == {"kl": base} and measured_against(grandchild) == {"kl": base, "kl_reference": child}
    base.project.temperature = 0.7
    base.project.save()
    describe_version(version=grandchild)
    found = grandchild.metrics
    assert found["kl"] > 0 and found["kl_reference"] > 0 and found["kl"] != found["kl_reference"]
    assert found["kl_reference_error"] > 0 and found["mean_tokens_error"] >= 0 and found["drawn"] == 10
    assert 0 < found["distinct_1"] <= found["distinct_2"] <= 1
    policy, prompts = load_policy(grandchild.path), [prompt.messages for prompt in description.fixed_prompts(base.project, 16)]
    expected = kl_estimate(policy, load_policy(child.path), prompts, seed=grandchild.pk, max_new_tokens=12)
    assert found["kl_reference"] == pytest.approx(expected.mean, abs=1e-4)


@pytest.mark.torch
def test_describing_twice_changes_nothing_and_one_cut_short_is_completed(base, heldout) -> None:
    describe_version(version=base)
    before = base.metrics
    assert describe_version(version=base).metrics == before and Completion.objects.count() == description.SHOWN_PROMPTS
    base.metrics = {}
    base.save()
    Completion.objects.first().delete()
    assert describe_version(version=base).metrics["mean_tokens"] == before["mean_tokens"]
    assert Completion.objects.count() == description.SHOWN_PROMPTS


@pytest.mark.torch
def test_without_held_out_prompts_there_is_nothing_to_describe(base) -> None:
    assert describe_version(version=base).metrics["described_prompts"] == 0 and "described_at" in base.metrics


@pytest.mark.torch
@pytest.mark.parametrize("others", [0, 3])
def test_prompts_longer_than_the_context_are_left_out_of_a_description(base, project, var_dir, others) -> None:
    make_tiny_model(var_dir / "models" / "child", seed=1)
    child = builders.make_version(project, parent=base, directory="models/child")
    for text in ["word " * 600] + [f"Question {number}?" for number in range(others)]:
        builders.make_prompt(project, text, split=Split.HELDOUT)
    describe_version(version=child)
    assert child.completions.count() == others and "described_at" in child.metrics and ("kl" in child.metrics) == bool(others)


@pytest.mark.torch
def test_kl_from_itself_is_nothing_and_from_another_is_positive(base, var_dir) -> None:
    other = load_policy(make_tiny_model(var_dir / "models" / "other", seed=1))
    policy = load_policy(base.path)
    prompts = [[{"role": "user", "content": f"Question {n}?"}] for n in range(64)]
    same = kl_estimate(policy, policy, prompts, max_new_tokens=8)
    assert same.mean == pytest.approx(0, abs=1e-4) and same.count == 64
    apart = kl_estimate(policy, other, prompts, max_new_tokens=8)
    assert apart.mean > 3 * apart.error > 0
    assert apart == kl_estimate(policy, other, prompts, max_new_tokens=8)
    assert apart != kl_estimate(policy, other, prompts, max_new_tokens=8, seed=99)


def test_how_varied_answers_are() -> None:
    assert distinct(["a b a"], 1) == pytest.approx(2 / 3) and distinct(["a b a"], 2) == 1.0
    assert distinct(["A b.", "a B."], 1) == 0.5 and distinct(["A b.", "a B."], 2) == 0.5
    assert distinct(["word"], 2) is None and distinct([], 1) is None


def test_figures_of_answers_by_hand() -> None:
    found = figures_of_answers(["a b", "a"], [2, 4], [True, False])
    assert found == {
        "drawn": 2, "mean_tokens": 3.0, "mean_tokens_error": 1.0, "ended_share": 0.5, "distinct_1": 0.6667, "distinct_2": 1.0,
    }  # fmt: skip


def test_the_error_of_a_mean() -> None:
    estimate = mean_and_error([1.0, 3.0])
    assert (estimate.mean, estimate.error, estimate.count) == (2.0, pytest.approx(1.0), 2)
    assert mean_and_error([1.0]).error == math.inf


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    [(0.8, 10, 0.490, 0.943), (0.0, 10, 0.0, 0.278), (1.0, 10, 0.722, 1.0), (0.5, 100, 0.404, 0.596), (0.0, 0, 0.0, 1.0)],
)
def test_wilsons_interval(share, count, low, high) -> None:
    assert wilson(share, count) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


def test_an_interval_in_words() -> None:
    assert (interval_of(0.8, 10), interval_of(1.0, 10)) == ("49–94 %", "72–100 %")
    assert interval_of(0.8, 0) == interval_of(None, 10) == ""
