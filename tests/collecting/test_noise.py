"""The noise of triples from how often people contradict each other: by hand, by chance, and on the Train page."""

import random
from collections import Counter

import pytest
from django.core.cache import cache
from django.urls import reverse

from annotate.quality.noise import flipped, flipped_by, measure_noise, noise_in
from tests.builders import make_comparison, make_member
from tests.collecting.judged import judge

FIRST, SECOND, TIE = 0, 1, 2  # places in `annotate.quality.tallies.OUTCOMES`


def test_by_hand():
    assert flipped(0.18) == pytest.approx(0.1) and flipped(0) == 0 and flipped(0.6) == 0.5
    assert flipped_by("majority", 0.1, 3) == pytest.approx(0.028)
    assert flipped_by("unanimous", 0.1, 3) == pytest.approx(0.001 / 0.73)
    assert flipped_by("majority", 0.1, 1) == flipped_by("every", 0.1, 5) == pytest.approx(0.1)
    assert flipped_by("majority", 0.1, 2) == pytest.approx(0.01 / 0.82)  # both wrong, of both alike
    assert flipped_by("reliability", 0.5, 3) == pytest.approx(0.5)


def test_pairs_are_counted_and_ties_are_none():
    found = noise_in(Counter({(FIRST, FIRST, SECOND): 10, (SECOND, SECOND): 20, (FIRST, TIE): 99}), rule="every", judgements=3)
    assert (found.opposite, found.of) == (20, 50) and found.per_judgement == pytest.approx(flipped(0.4))
    assert noise_in(Counter({(FIRST, SECOND): 29}), rule="every", judgements=2) is None


@pytest.mark.parametrize("wrong", [0.05, 0.2, 0.35])
def test_it_finds_the_noise_that_was_put_in(wrong):
    draw = random.Random(2)
    patterns = Counter(tuple(sorted(int(draw.random() < wrong) for _ in range(3))) for _ in range(20_000))
    found = noise_in(patterns, rule="majority", judgements=3)
    assert found.per_judgement == pytest.approx(wrong, abs=0.01)
    majorities = sum(number for pattern, number in patterns.items() if sum(pattern) > 1) / 20_000
    assert found.per_triple == pytest.approx(majorities, abs=0.01)


def test_the_train_page_suggests_it(client, project, manager):
    cache.clear()
    people = [make_member(project, "annotator") for _ in range(2)]
    for number in range(40):
        comparison = make_comparison(project, judgements_required=2)
        for place, person in enumerate(people):
            judge(comparison, person, "second" if place and number % 5 == 0 else "first")
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    html = client.get(reverse("train", args=[project.slug])).content.decode()
    found = measure_noise(project)
    assert (found.opposite, found.of) == (8, 40)
    assert f"ε ≈ {found.epsilon:.2f}" in html and "8 of 40" in html


def test_nothing_is_suggested_on_little(client, project, manager):
    cache.clear()
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    assert measure_noise(project) is None
    assert "ε ≈" not in client.get(reverse("train", args=[project.slug])).content.decode()
