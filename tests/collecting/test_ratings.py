"""Thumbs up or down on single answers: the page, the API, KTO files in and out."""

import io
import json
import uuid

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.utils import timezone

from annotate.data.exports import export_preferences
from annotate.data.rating_imports import import_ratings
from annotate.data.undoing import undo_import
from annotate.judging.ratings import count_ratings, next_rating, rate, take_back_rating
from annotate.judging.refusals import JudgementRefused
from annotate.models import Completion, Rating
from annotate.queue.pausing import pause_project, resume_project
from tests.builders import make_comparison, make_completion, make_member, make_project, make_prompt
from tests.training.rows import make_judgement

BACKEND = "django.contrib.auth.backends.ModelBackend"
URL, API = "/projects/taste/rate/", "/api/v1/projects/taste/"
JSON = {"content_type": "application/json"}


@pytest.fixture
def rated(project):
    """A project that asks for ratings, with three answers."""
    project.asks_for_ratings = True
    project.save()
    return [make_completion(make_prompt(project), f"Answer **{number}**.") for number in range(3)]


def test_own_ratings_come_in_pages_by_program(client, project, rated, annotator):
    client.force_login(annotator, BACKEND)
    while rating := next_rating(project=project, annotator=annotator):
        rate(annotator=annotator, rating_id=rating.pk, good=True)
    Rating.objects.update(answered_at=timezone.now())  # all in one moment
    first = client.get(API + "ratings/?limit=2").json()
    rest = client.get(API + "ratings/", {"limit": 2, "cursor": first["next"]}).json()
    assert len(first["results"]) == 2 and len(rest["results"]) == 1 and rest["next"] is None
    assert len({row["id"] for row in first["results"] + rest["results"]}) == 3


def test_each_answer_is_rated_once_by_each_who_is_needed(project, rated, annotator, manager):
    project.judgements_required = 2
    project.save()
    seen = {}
    for person in (annotator, manager):
        while rating := next_rating(project=project, annotator=person):
            assert next_rating(project=project, annotator=person) == rating  # a reload shows the same
            rate(annotator=person, rating_id=rating.pk, good=True)
            seen.setdefault(person, []).append(rating.completion)
    assert all(sorted(each, key=lambda c: c.pk) == rated for each in seen.values()) and len(seen) == 2
    third = make_member(project, "annotator")
    assert next_rating(project=project, annotator=third) is None
    assert count_ratings(project) == {"good": 6, "bad": 0}


def test_one_that_somebody_looks_at_is_not_shown_to_another(project, rated, annotator, manager):
    shown = {next_rating(project=project, annotator=person).completion_id for person in (annotator, manager)}
    assert len(shown) == 2


def test_what_is_stored_first_stands_and_can_be_taken_back(project, rated, annotator):
    rating = next_rating(project=project, annotator=annotator)
    rate(annotator=annotator, rating_id=rating.pk, good=True, seconds=2.5)
    assert rate(annotator=annotator, rating_id=rating.pk, good=False).good is True
    next_rating(project=project, annotator=annotator)
    assert take_back_rating(project=project, annotator=annotator) == rating
    assert next_rating(project=project, annotator=annotator) == rating and not Rating.objects.given().exists()


def test_nobody_rates_what_was_not_shown_to_them(project, rated, annotator, manager, viewer, stranger):
    theirs = next_rating(project=project, annotator=manager)
    for person in (annotator, viewer, stranger):
        with pytest.raises(JudgementRefused, match="not shown to you"):
            rate(annotator=person, rating_id=theirs.pk, good=True)
    for person in (viewer, stranger):
        assert next_rating(project=project, annotator=person) is None


def test_a_project_that_does_not_ask_shows_nothing(project, rated, annotator, client):
    project.asks_for_ratings = False
    project.save()
    client.force_login(annotator, BACKEND)
    page = client.get(URL).content.decode()
    assert "does not ask for ratings" in page and 'href="/projects/taste/rate/"' not in page and not Rating.objects.exists()


def test_the_page_takes_answers_skips_and_undo(project, rated, annotator, client):
    client.force_login(annotator, BACKEND)
    page = client.get(URL)
    rating = Rating.objects.get()
    assert f"<strong>{rated.index(rating.completion)}</strong>" in page.content.decode()
    assert client.post(URL, {"rating": rating.pk, "say": "bad", "seconds": "3.2"}).status_code == 302
    rating.refresh_from_db()
    assert rating.good is False and rating.seconds == 3.2
    assert client.post(URL, {"say": "undo"}).status_code == 302 and not Rating.objects.given().exists()
    assert client.post(URL, {"rating": rating.pk, "say": "skip"}).status_code == 302
    assert client.post(URL, {"rating": rating.pk, "say": "good"}).status_code == 409
    for bad in ({}, {"say": "good"}, {"say": "x", "rating": rating.pk}, {"say": "good", "rating": "x"}):
        assert client.post(URL, bad).status_code == 422
    assert client.post(URL, {"say": "good", "rating": uuid.uuid4()}).status_code == 409
    assert client.post(URL, {"say": "undo"}).status_code == 409


def test_by_program(project, rated, annotator, client):
    client.force_login(annotator, BACKEND)
    shown = client.post(API + "ratings/next/", {}, **JSON).json()
    assert shown["text"].startswith("Answer") and set(shown) == {"rating", "messages", "text"}
    assert client.post(API + "ratings/", {"rating": shown["rating"], "good": True}, **JSON).status_code == 201
    assert [row["good"] for row in client.get(API + "ratings/").json()["results"]] == [True]
    assert client.post(API + "ratings/undo/", {}, **JSON).json()["rating"] == shown["rating"]
    assert client.post(API + "ratings/", {"rating": shown["rating"]}, **JSON).status_code == 201  # skipped
    assert client.post(API + "ratings/undo/", {}, **JSON).status_code == 409


def test_thumbs_from_a_product_are_pushed_once(project, manager, client):
    client.force_login(manager, BACKEND)
    rows = [{"prompt": "Why?", "text": "So.", "good": True}, {"prompt": "Why?", "text": "No.", "good": False, "annotator": "x"}]
    said = client.post(API + "ratings/push/", {"ratings": rows}, **JSON).json()
    assert (said["added"], said["known"], said["batch"]) == (2, 0, 1)
    assert client.post(API + "ratings/push/", {"ratings": rows}, **JSON).json()["known"] == 2
    contrary = [{"prompt": "How?", "text": "So.", "good": True}, {"prompt": "Why?", "text": "So.", "good": False}]
    refused = client.post(API + "ratings/push/", {"ratings": contrary}, **JSON)
    assert refused.status_code == 400 and "1" in refused.json()["fields"]["ratings"] and Rating.objects.count() == 2
    undo_import(batch=project.imports.get(number=1))
    assert not Rating.objects.exists() and not Completion.objects.exists() and not project.prompts.exists()


# -- files -------------------------------------------------------------------------------------------------------


def written(project) -> list[dict]:
    stream = io.StringIO()
    export_preferences(project=project, format="trl-kto", stream=stream)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_file_of_single_answers_goes_in_and_comes_back_out(project, db):
    rows = [
        {"prompt": [{"role": "user", "content": "Why?"}], "completion": [{"role": "assistant", "content": text}], "label": label,
         "annotator": who}
        for text, label, who in (("So.", True, "a"), ("No.", False, "a"), ("So.", False, "b"), ("😀\n\n", True, "b"))
    ]  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows) + '{"prompt": "x", "completion": "y"}\n'
    report = import_ratings(project=project, stream=io.BytesIO(text.encode()), file_name="kto.jsonl")
    assert (report.batch.judgements, report.batch.refused, report.refused[0].line) == (4, 1, 5)
    given = [(row["prompt"], row["completion"], row["label"]) for row in rows]
    assert sorted(map(str, given)) == sorted(str((row["prompt"], row["completion"], row["label"])) for row in written(project))
    again = make_project()
    stream = io.BytesIO("".join(json.dumps(row) + "\n" for row in written(project)).encode())
    import_ratings(project=again, stream=stream, file_name="out.jsonl")
    assert count_ratings(again) == count_ratings(project) == {"good": 2, "bad": 2}
    assert not project.comparisons.exists()


def test_both_bad_gives_two_undesirable_answers(project, annotator):
    make_judgement(project, annotator, "both_bad")
    assert [row["label"] for row in written(project)] == [False, False]


def test_rated_answers_can_still_be_compared(project, rated, annotator):
    make_comparison(project, rated[0].prompt, first=rated[0])
    while rating := next_rating(project=project, annotator=annotator):
        rate(annotator=annotator, rating_id=rating.pk, good=True)
    assert {row.get("rating") is not None for row in written(project)} == {True}


def test_an_uploaded_file_is_kept_unpaired_if_that_is_ticked(project, manager, client):
    client.force_login(manager, BACKEND)
    rows = [{"prompt": "Why?", "completion": text, "label": label} for text, label in (("So.", True), ("No.", False))]
    file = SimpleUploadedFile("kto.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    look = client.post("/projects/taste/data/upload/", {"file": file})
    assert "by itself, as a rating" in client.get(look.url).content.decode()
    upload = look.url.partition("upload=")[2]
    client.post("/projects/taste/data/import/", {"upload": upload, "single": "on"})
    assert count_ratings(project) == {"good": 1, "bad": 1} and not project.comparisons.exists()


def test_the_command_does_the_same(project, tmp_path):
    (tmp_path / "kto.jsonl").write_text('{"prompt": "Why?", "completion": "So.", "label": true}\n')
    call_command("import_preferences", tmp_path / "kto.jsonl", project="taste", single=True)
    assert count_ratings(project) == {"good": 1, "bad": 0}


def test_nothing_is_shown_while_the_work_is_paused_or_theirs_is_suspended(client, project, rated, annotator, manager):
    first = next_rating(project=project, annotator=annotator)
    pause_project(project=project, by=manager, reason="Back on Monday")
    assert next_rating(project=project, annotator=annotator) == first  # what is on the screen can be answered
    rate(annotator=annotator, rating_id=first.pk, good=True)
    client.force_login(annotator)
    assert "Back on Monday" in client.get(URL).content.decode()
    resume_project(project=project)
    second = next_rating(project=project, annotator=annotator)
    project.memberships.filter(user=annotator).update(suspended_at=timezone.now())
    page = client.get(URL).content.decode()
    assert "suspended" in page and "say" in page and str(second.pk) not in page
    assert take_back_rating(project=project, annotator=annotator) is None
    assert rate(annotator=annotator, rating_id=second.pk, good=False).good is False  # it was on its way


def test_a_page_made_for_another_person_takes_back_nothing_of_who_is_signed_in_now(client, project, rated, annotator, manager):
    own = next_rating(project=project, annotator=manager)
    rate(annotator=manager, rating_id=own.pk, good=True)
    client.force_login(annotator)
    stale = client.get(URL).content.decode()
    assert f'name="person" value="{annotator.pk}"' in stale
    client.force_login(manager)
    refused = client.post(URL, {"say": "undo", "person": annotator.pk})
    assert refused.status_code == 403 and "Somebody else has signed in" in refused.content.decode()
    assert Rating.objects.get(pk=own.pk).good is True
    assert client.post(URL, {"say": "undo", "person": manager.pk}).status_code == 302 and not Rating.objects.given().exists()
