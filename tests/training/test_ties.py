"""DPO with ties from what people said: a pair without a winner trains where the loss learns from it, and nowhere else."""

import io
import json
import math

import pytest
from django.urls import reverse

from annotate.formats import trl
from annotate.models import Decision
from annotate.models.judgement import Outcome
from annotate.models.prompt import Split
from tests.builders import make_comparison, make_completion, make_member, make_prompt
from tests.collecting.judged import judge
from training.datasets.filters import Filters
from training.datasets.kept_previews import kept_preview
from training.datasets.snapshots import create_dataset
from training.models import Run
from training.models.job import JobState

TIES = Filters(ties=True)


@pytest.fixture
def anna(project):
    return make_member(project, "annotator")


@pytest.fixture
def said(project, anna, var_dir):
    """Trained on: two pairs and three ties, one of them of two equal answers; a both-bad pair. Held out: a pair and a tie."""
    for split, outcomes in ((Split.TRAIN, ["first", "second", "tie", "tie", "both_bad"]), (Split.HELDOUT, ["first", "tie"])):
        for outcome in outcomes:
            judge(make_comparison(project, make_prompt(project, split=split)), anna, outcome)
    prompt = make_prompt(project, split=Split.TRAIN)
    equal = [make_completion(prompt, text) for text in ("The same.", "The same. ")]
    judge(make_comparison(project, prompt, first=equal[0], second=equal[1]), anna, "tie")
    project.comparisons.update(state="done")
    return project


def rows_of(dataset, name: str = "train.jsonl") -> list[dict]:
    return [json.loads(line) for line in (dataset.path / name).read_text().splitlines()]


def test_a_dataset_with_ties(said) -> None:
    dataset = create_dataset(project=said, filters=TIES)
    assert (dataset.train_count, dataset.heldout_count) == (4, 2)
    assert (dataset.filters["ties"], dataset.filters["tied"]) == (True, 3)
    ties = [row for row in rows_of(dataset) if row.get("tie")]
    assert [(row["margin"], row["weight"], len(row["judgements"])) for row in ties] == [(0.0, 1.0, 1)] * 2
    assert set(dataset.judgements.values_list("outcome", flat=True)) == {"first", "second", "tie"}
    assert "3 of its pairs: neither answer was preferred" in (dataset.path / "README.md").read_text()
    read = list(trl.read(io.BytesIO((dataset.path / "train.jsonl").read_bytes())))
    assert [row.outcome for row in read].count(Outcome.TIE) == 2 and {row.strength for row in read if row.outcome == "tie"} == {0}


def test_other_datasets_have_none(said) -> None:
    dataset = create_dataset(project=said)
    assert (dataset.train_count, dataset.counts["tie"]) == (2, 4)
    assert not any("tie" in row for row in rows_of(dataset))


def test_a_least_strength_leaves_ties_out(said) -> None:
    preview = kept_preview(project=said, filters=Filters(ties=True, min_strength=2))
    assert preview.ties == preview.ties_heldout == 0


def test_what_a_manager_settled_as_a_tie_rests_on_who_said_so(project, anna, manager, var_dir) -> None:
    comparison = make_comparison(project, make_prompt(project, split=Split.TRAIN))
    judge(comparison, anna, "first")
    said_so = judge(comparison, make_member(project, "annotator"), "tie")
    Decision.objects.create(comparison=comparison, by=manager, kind="settled", outcome="tie")
    dataset = create_dataset(project=project, filters=TIES)
    (row,) = rows_of(dataset)
    assert row["tie"] and row["settled"] and row["judgements"] == [said_so.pk]


@pytest.mark.torch
def test_from_the_form_to_a_version(said, base, client, manager) -> None:
    from training.runs.supervision import run_training

    client.force_login(manager)
    asked = {"preset": "small", "loss": "dpo_ties", "max_steps": 3, "batch_pairs": 4, "device": "cpu", "threads": 1}
    assert "Of these, 2 ties and 1 held out" in client.get(reverse("train", args=["taste"]), asked).content.decode()
    client.post(reverse("train", args=["taste"]), asked)
    run = Run.objects.get()
    assert run.dataset.train_count == 4
    run_training(run.pk)
    run.refresh_from_db()
    assert run.state == JobState.DONE, run.error
    losses = [event.data["loss"] for event in run.events.filter(kind="step")]
    # At the start all margins are 0: a preference costs -log sigma(-1), a tie twice that less log(e^2 - 1); half are ties.
    preferred = math.log1p(math.e)
    assert losses[0] == pytest.approx((preferred + 2 * preferred - math.log(math.expm1(2))) / 2, abs=1e-4)
    assert client.get(reverse("version", args=["taste", run.version.number])).status_code == 200
