"""KTO from what people said: thumbs, both-bad pairs and pairs, from the form to the trained version."""

import json
import math

import pytest
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from annotate.consensus.singles import read_rated
from annotate.models import Rating
from annotate.models.prompt import Split
from tests.builders import make_comparison, make_completion, make_member, make_prompt
from tests.collecting.judged import judge
from training.datasets.filters import Filters
from training.datasets.kept_previews import kept_preview
from training.datasets.snapshots import NothingToTrainOn, create_dataset
from training.models import Run
from training.models.job import JobState

UNPAIRED = Filters(unpaired=True)


def thumb(project, person, good: bool, *, split: Split = Split.TRAIN, on=None, **fields) -> Rating:
    completion = on or make_completion(make_prompt(project, split=split), **fields)
    return Rating.objects.create(completion=completion, annotator=person, good=good, answered_at=timezone.now())


@pytest.fixture
def people(project):
    return [make_member(project, "annotator") for _ in range(3)]


@pytest.fixture
def said(project, people, var_dir):
    """Trained on: two pairs, a both-bad pair, three thumbs up and two down. Held out: a pair, a both-bad one, a thumb."""
    anna = people[0]
    for split, outcomes in ((Split.TRAIN, ["first", "second", "both_bad", "tie"]), (Split.HELDOUT, ["first", "both_bad"])):
        for outcome in outcomes:
            judge(make_comparison(project, make_prompt(project, split=split)), anna, outcome)
    for good in (True, True, True, False, False):
        thumb(project, anna, good)
    thumb(project, anna, True, split=Split.HELDOUT)
    project.comparisons.update(state="done")
    return project


def rows_of(dataset, name: str = "train.jsonl") -> list[dict]:
    return [json.loads(line) for line in (dataset.path / name).read_text().splitlines()]


def test_a_dataset_with_single_answers(said) -> None:
    dataset = create_dataset(project=said, filters=UNPAIRED)
    assert (dataset.train_count, dataset.heldout_count) == (2 + 2 + 5, 1 + 2 + 1)
    assert (dataset.filters["unpaired"], dataset.filters["singles"]) == (True, 10)
    singles = [row for row in rows_of(dataset) if "completion" in row]
    assert sorted(row["label"] for row in singles) == [False] * 4 + [True] * 3
    bad = [row for row in singles if row["judgements"]]
    assert len(bad) == 2 and not any(row["label"] or row["ratings"] for row in bad)
    assert set(dataset.judgements.values_list("outcome", flat=True)) == {"first", "second", "both_bad"}
    card = (dataset.path / "README.md").read_text()
    assert "| train | 9 |" in card and "rated by themselves or both bad" in card
    paired = create_dataset(project=said)
    assert paired != dataset and (paired.train_count, paired.heldout_count) == (2, 1)
    assert create_dataset(project=said, filters=UNPAIRED).train_sha256 == dataset.train_sha256


def test_most_of_those_who_rated_decide_and_the_divided_say_nothing(project, people) -> None:
    liked, divided = (make_completion(make_prompt(project)) for _ in range(2))
    for person, good in zip(people, (True, False, True), strict=True):
        thumb(project, person, good, on=liked)
    for person, good in zip(people, (True, False), strict=False):
        thumb(project, person, good, on=divided)
    (single,) = read_rated(project=project, chosen=Q())
    assert (single.text, single.good, len(single.rating_ids)) == (liked.text, True, 2)


def test_answers_of_evaluations_and_of_known_answers_never_train(project, people) -> None:
    for purpose in ("evaluate", "gold"):
        comparison = make_comparison(project, purpose=purpose)
        thumb(project, people[0], True, on=comparison.second)
        judge(comparison, people[0], "both_bad")
    with pytest.raises(NothingToTrainOn):
        create_dataset(project=project, filters=UNPAIRED)


def test_filters_hold_for_ratings_too(said, people) -> None:
    thumb(said, people[1], False)
    only = Filters(unpaired=True, people=(people[1].pk,))
    dataset = create_dataset(project=said, filters=only)
    assert [row["label"] for row in rows_of(dataset)] == [False]
    assert kept_preview(project=said, filters=Filters(unpaired=True, min_strength=2)).singles == 0


def test_a_preview_counts_a_new_thumb_at_once(said, people) -> None:
    before = kept_preview(project=said, filters=UNPAIRED)
    assert (before.train, before.singles, before.heldout, before.singles_heldout) == (9, 7, 4, 3)
    thumb(said, people[0], True)
    assert kept_preview(project=said, filters=UNPAIRED).train == 10
    assert kept_preview(project=said).train == 2


@pytest.mark.torch
def test_kto_from_the_form_to_a_version(said, base, client, manager) -> None:
    from training.runs.supervision import run_training

    client.force_login(manager)
    asked = {"preset": "small", "loss": "kto", "max_steps": 3, "batch_pairs": 4, "device": "cpu", "threads": 1}
    shown = client.get(reverse("train", args=["taste"]), asked).content.decode()
    assert "7 single answers" in shown
    answer = client.post(reverse("train", args=["taste"]), asked)
    run = Run.objects.get()
    assert answer.url == run.get_absolute_url() and run.dataset.train_count == 9
    run_training(run.pk)
    run.refresh_from_db()
    assert run.state == JobState.DONE, run.error
    losses = [event.data["loss"] for event in run.events.filter(kind="step")]
    assert len(losses) == 3 and all(math.isfinite(loss) for loss in losses)
    assert run.version.parent == base
    for name in ("run", "version", "version_judgements"):
        number = run.number if name == "run" else run.version.number
        assert client.get(reverse(name, args=["taste", number])).status_code == 200


@pytest.mark.torch
def test_kto_of_thumbs_alone(project, people, base, var_dir) -> None:
    from training.runs.ordering import start_run
    from training.runs.supervision import run_training

    for good in (True, False, True, False):
        thumb(project, people[0], good)
    quick = {"max_steps": 2, "batch_pairs": 2, "device": "cpu", "threads": 1}
    with pytest.raises(NothingToTrainOn):
        start_run(project=project, overrides=quick)
    run = start_run(project=project, overrides=quick | {"loss": "kto"})
    run_training(run.pk)
    run.refresh_from_db()
    assert run.state == JobState.DONE, run.error
