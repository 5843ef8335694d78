"""What a dataset made now would hold, of projects with too many judgements for a page to read: kept, or told from a sample."""

from dataclasses import replace

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotate.consensus.exclusions import exclude_person, lift_exclusion
from annotate.data.undoing import undo_import
from annotate.gold.known_answers import mark_gold, unmark_gold
from annotate.judging.ratings import Rating
from annotate.models import PreferenceImport, Project
from annotate.models.judgement import Outcome
from annotate.models.prompt import Split
from annotate.models.scale import Grades
from annotate.projects import progress
from annotate.quality import counts
from annotate.review.decisions import settle_comparison, take_back_decision, withdraw_judgement
from tests.builders import make_comparison, make_completion, make_member, make_prompt, make_version
from tests.collecting.judged import judge
from tests.training.rows import make_run
from training.clock import kept_figures
from training.datasets import kept_previews
from training.datasets.filters import Filters
from training.datasets.kept_previews import kept_preview
from training.datasets.previews import about, preview_dataset
from training.generation import unanswered
from training.models.preview import PreviewBlock

OVERVIEW, TRAIN, MEMBERS, DATA = (f"/projects/taste/{page}" for page in ("", "train/", "members/", "data/"))


@pytest.fixture(autouse=True)
def much(monkeypatch):
    """Two judgements are too many for a page to read, two pairs and prompts are many, and four comparisons make a block."""
    monkeypatch.setattr(counts, "AT_ONCE", 2)
    monkeypatch.setattr(counts, "BLOCK", 4)
    monkeypatch.setattr(progress, "LARGE", 2)
    monkeypatch.setattr(unanswered, "MANY", 2)


@pytest.fixture
def bob(project):
    return make_member(project, "annotator", "bob")


def tick() -> None:
    """All that the clock counts, until nothing is left."""
    for part in (kept_figures.count_pairs, kept_figures.note_answered):
        cache.clear()
        part()
    project = Project.objects.get(slug="taste")
    for module in (counts, kept_previews):
        while module.count_on(project=project, seconds=0):
            pass


def judge_some(project, *people, number=12) -> list:
    """Of every three pairs one is a tie and one held out."""
    judged = []
    for turn in range(number):
        prompt = make_prompt(project, split=Split.HELDOUT if turn % 3 == 2 else Split.TRAIN)
        pair = make_comparison(project, prompt, judgements_required=len(people))
        judged += [judge(pair, person, "tie" if turn % 3 == 1 else "first") for person in people]
    return judged


def counted(project, **asked):
    """As pages show it, and counted honestly."""
    cache.clear()
    since = asked.get("since")
    honest = preview_dataset(project=project, **asked | {"since": since and since.dataset})
    return replace(kept_preview(project=project, **asked), at=None), honest


def test_whatever_happens_to_judgements_the_kept_count_is_the_honest_one(project, annotator, bob, manager):
    first, *rest = judge_some(project, annotator, bob)
    tick()
    kept, honest = counted(project)
    assert kept == honest and kept.train > 0 and kept.heldout > 0 and kept.without["tie"] > 0 and kept_preview(project=project).at

    def still_right(change) -> None:
        before = honest
        made = change()
        project.refresh_from_db()
        tick()
        kept, after = counted(project)
        assert kept == after != before, change
        return made, after

    _, honest = still_right(lambda: judge_some(project, annotator, number=1))
    decision, honest = still_right(lambda: withdraw_judgement(judgement=first, by=manager, why="No."))
    _, honest = still_right(lambda: take_back_decision(decision=decision, by=manager))
    tie = next(each for each in rest if each.outcome == "tie").comparison
    asked = {"outcome": Outcome.SECOND, "strength": 1, "grades": Grades.TWO, "why": "Look."}
    decision, honest = still_right(lambda: settle_comparison(comparison_id=tie.pk, by=manager, **asked))
    _, honest = still_right(lambda: take_back_decision(decision=decision, by=manager))
    _, honest = still_right(lambda: mark_gold(comparison=tie, low=1, high=4, by=manager))
    _, honest = still_right(lambda: unmark_gold(comparison=tie))
    _, honest = still_right(lambda: exclude_person(project=project, person=annotator, why="x", by=manager))
    _, honest = still_right(lambda: lift_exclusion(project=project, person=annotator, by=manager))
    _, honest = still_right(lambda: Project.objects.filter(pk=project.pk).update(consensus="every"))


def test_an_import_that_is_undone_is_counted_out(project, annotator):
    batch = PreferenceImport.objects.create(project=project, number=1, file_name="x.jsonl", format="trl")
    for judgement in judge_some(project, annotator):
        if judgement.pk % 2:
            type(judgement).objects.filter(pk=judgement.pk).update(batch=batch)
            type(judgement.comparison).objects.filter(pk=judgement.comparison_id).update(batch=batch)
    tick()
    before = counted(project)[1]
    undo_import(batch=batch)
    tick()
    kept, honest = counted(project)
    assert kept == honest and honest.train + honest.heldout < before.train + before.heldout


def test_what_is_new_since_a_run_is_counted_with_it(project, annotator):
    judged = judge_some(project, annotator)
    run = make_run(project, make_version(project), state="done")
    run.dataset.judgements.set(judged)
    tick()
    assert counted(project, since=run)[0].new == 0
    judge_some(project, annotator, number=3)
    tick()
    kept, honest = counted(project, since=run)
    assert kept == honest and kept.new == 1


def test_only_what_has_changed_is_read_again(project, annotator, monkeypatch):
    monkeypatch.setattr(counts, "OVERLAP", 0)
    monkeypatch.setattr(counts, "SLACK", counts.SLACK * 0)
    judge_some(project, annotator, number=16)
    tick()
    before = dict(PreviewBlock.objects.values_list("number", "read_at"))
    newest = judge_some(project, annotator, number=1)[0]
    tick()
    read = {number for number, at in PreviewBlock.objects.values_list("number", "read_at") if before.get(number) != at}
    assert read == {newest.comparison_id // 4} and len(before) >= 4


def test_until_the_clock_has_come_it_is_told_from_a_sample_and_said(client, owner, project, annotator):
    make_version(project, serving=True)
    judge_some(project, annotator, number=40)
    sample = kept_preview(project=project, seconds=0)
    assert sample.is_sample and sample.share < 0.2 and sample.train > 0 and not sample.at
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    before = client.get(TRAIN).content.decode()
    tick()
    assert "As counted" in client.get(TRAIN).content.decode() and "As counted" in client.get(OVERVIEW).content.decode()
    assert "As counted" not in before


def test_filters_of_a_middling_project_are_counted_to_the_end(project, annotator, bob):
    judge_some(project, annotator)
    judge_some(project, bob, number=6)
    tick()
    kept, honest = counted(project, filters=Filters(people=(bob.pk,)))
    kept = kept_preview(project=project, filters=Filters(people=(bob.pk,)), seconds=60)
    assert kept == honest and not kept.is_sample and 0 < kept.train < counted(project)[0].train


def test_the_form_asks_again_for_what_the_page_told_from_a_sample(client, owner, project, annotator, monkeypatch):
    make_version(project, serving=True)
    judge_some(project, annotator, number=40)
    tick()
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    monkeypatch.setattr("training.views.train.SAMPLE_SECONDS", 0)
    filled = {"preset": "small", "people": annotator.pk}
    cache.clear()
    page = client.get(TRAIN, filled).content.decode()
    assert "told from" in page and 'hx-trigger="load, input' in page
    part = client.get(TRAIN, filled, headers={"HX-Request": "true"}).content.decode()
    assert "told from" not in part and f"<dd>{counted(project)[0].train}</dd>" in part


def test_the_api_and_the_command_say_how_it_was_counted(client, owner, project, annotator, capsys):
    make_version(project, serving=True)
    judge_some(project, annotator)
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")

    def told() -> dict:
        cache.clear()
        return client.post("/api/v1/projects/taste/runs/", {"dry_run": True}, content_type="application/json").json()

    assert (told()["counted_at"], told()["share"]) == (None, 1)  # all of it could be read in time
    tick()
    assert told()["counted_at"] and told()["train_count"] == preview_dataset(project=project).train
    call_command("train", "--project", "taste", "--dry-run")
    assert "; as counted at " in capsys.readouterr().out


def test_ratings_are_in_it_where_the_loss_learns_from_them(project, annotator):
    judge_some(project, annotator)
    for good in (True, True, False):
        completion = make_completion(make_prompt(project, split=Split.TRAIN))
        Rating.objects.create(completion=completion, annotator=annotator, good=good, answered_at=project.created_at)
    tick()
    kept = kept_preview(project=project, filters=Filters(unpaired=True), seconds=60)
    assert kept == preview_dataset(project=project, filters=Filters(unpaired=True)) and kept.singles == 3


@pytest.mark.parametrize("page", [OVERVIEW, TRAIN, MEMBERS, DATA])
def test_as_many_queries_for_much_as_for_more_and_no_judged_pair_is_read(client, owner, project, annotator, bob, page):
    make_version(project, serving=True)
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")
    numbers = []
    for more in (4, 30):
        judge_some(project, annotator, bob, number=more)
        tick()
        cache.clear()
        with CaptureQueriesContext(connection) as queries:
            assert client.get(page).status_code == 200
        numbers.append(len(queries))
    assert numbers[0] == numbers[1]
    assert not [each["sql"] for each in queries if '"annotate_prompt"."messages"' in each["sql"]]


def test_the_clock_keeps_it(project, annotator):
    judge_some(project, annotator)
    kept_figures.count_quality(), kept_figures.count_previews()
    assert kept_preview(project=project).at


def test_about():
    assert [about(number) for number in (0, 7, 99, 812_345, 1999)] == [0, 7, 99, 810_000, 2000]
