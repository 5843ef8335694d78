"""Edited answers: from the page to the triples, exports and back."""

import io
import json
import uuid

import pytest
from django.urls import reverse

from annotate.consensus.triples import settle
from annotate.data.exports import export_preferences
from annotate.data.imports import import_preferences
from annotate.formats.trl import rows_of
from annotate.judging.edits import MAX_EDIT
from annotate.judging.judgements import JudgementRefused, record_judgement
from annotate.models import Judgement
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison, make_completion, make_member, make_project, make_prompt, make_version
from tests.collecting.judged import judge

BETTER, WORSE, EDITED = "It is raining.", "Rain it does.", "It is raining hard."


@pytest.fixture
def editing(project):
    project.allows_edit = True
    project.save()
    return project


@pytest.fixture
def comparison(editing):
    prompt = make_prompt(editing)
    version = make_version(editing)
    first = make_completion(prompt, BETTER, version, finish_reason="length")
    return make_comparison(editing, prompt, first=first, second=make_completion(prompt, WORSE, version))


def answer(annotator, project, choice="first", **given) -> Judgement:
    assignment = claim_comparison(project=project, annotator=annotator)
    wanted = choice if choice in ("tie", "both_bad") else "a" if (choice == "first") != assignment.swapped else "b"
    return record_judgement(annotator=annotator, assignment_id=assignment.pk, key=uuid.uuid4(), choice=wanted, **given)


def test_an_edit_beats_both(editing, annotator, comparison):
    judgement = answer(annotator, editing, edited_text=f"  {EDITED}\r\n")
    triples = settle(project=editing).triples
    assert [(t.chosen, t.rejected, t.edited) for t in triples] == [
        (BETTER, WORSE, False), (EDITED, BETTER, True), (EDITED, WORSE, True),
    ]  # fmt: skip
    assert {t.judgement_ids for t in triples} == {(judgement.pk,)} and {t.comparison_id for t in triples} == {comparison.pk}
    assert [(t.chosen_truncated, t.rejected_truncated) for t in triples] == [(True, False), (False, True), (False, False)]
    assert [t.chosen_version_id is None for t in triples] == [False, True, True]
    assert [row.get("edited") for t in triples for row in rows_of(t)] == [None, True, True]


@pytest.mark.parametrize("text", ["", "   \n", BETTER, f"\r\n{BETTER}  "])
def test_empty_or_as_it_was_is_no_edit(editing, annotator, comparison, text):
    assert answer(annotator, editing, edited_text=text).edited_text == ""
    assert len(settle(project=editing).triples) == 1


@pytest.mark.parametrize(("choice", "text", "allowed", "said"), [
    ("first", "x" * (MAX_EDIT + 1), True, "under 50,000"), ("tie", EDITED, True, "choose a side"),
    ("both_bad", EDITED, True, "choose a side"), ("first", EDITED, False, "does not, or no longer"), ("first", 7, True, "under"),
])  # fmt: skip
def test_what_an_edit_is_refused_for(editing, annotator, comparison, choice, text, allowed, said):
    editing.allows_edit = allowed
    editing.save()
    with pytest.raises(JudgementRefused, match=said) as refused:
        answer(annotator, editing, choice, edited_text=text)
    assert refused.value.fields["edited_text"] and not Judgement.objects.exists()


def test_nul_and_half_a_surrogate_are_left_out(editing, annotator, comparison):
    assert answer(annotator, editing, edited_text="It\0 rains\ud800.").edited_text == "It rains?."


def test_the_edit_of_who_was_outvoted_or_withdrawn_teaches_nothing(editing, comparison):
    comparison.judgements_required = comparison.free_places = 3
    comparison.save()
    people = [make_member(editing, "annotator") for _ in range(3)]
    judge(comparison, people[0], "first"), judge(comparison, people[1], "first")
    judge(comparison, people[2], "second", edited_text="Rain, it does it.")
    assert [t.edited for t in settle(project=editing).triples] == [False]


def test_what_the_other_answer_says_already_is_not_taught_against_itself(editing, comparison, annotator):
    judge(comparison, annotator, "first", edited_text=WORSE)
    assert [t.edited for t in settle(project=editing).triples] == [False]


def test_out_to_a_file_and_in_again(editing, annotator, comparison):
    answer(annotator, editing, edited_text=EDITED)
    stream = io.StringIO()
    export_preferences(project=editing, format="judgements", stream=stream)
    assert json.loads(stream.getvalue())["edited_text"] == EDITED
    other = make_project()
    import_preferences(project=other, stream=io.BytesIO(stream.getvalue().encode()), file_name="x.jsonl")
    assert [(t.chosen, t.rejected) for t in settle(project=other).triples] == [
        (BETTER, WORSE), (EDITED, BETTER), (EDITED, WORSE),
    ]  # fmt: skip


def test_the_triples_go_out_in_each_format_that_trains(editing, annotator, comparison):
    answer(annotator, editing, edited_text=EDITED)
    for format in ("trl", "openai", "hh", "ultrafeedback", "llama-factory"):
        assert export_preferences(project=editing, format=format, stream=io.StringIO()).rows == 3


def test_the_page_offers_it_only_where_it_is_allowed_and_a_refused_form_keeps_it(client, project, annotator):
    make_comparison(project)
    client.force_login(annotator, "django.contrib.auth.backends.ModelBackend")
    page = reverse("compare", args=[project.slug])
    assert "data-edit-text" not in client.get(page).content.decode()
    project.allows_edit = True
    project.save()
    assert "data-edit-text" in client.get(page).content.decode()
    assignment = claim_comparison(project=project, annotator=annotator)
    sent = {"assignment": assignment.pk, "key": uuid.uuid4(), "choice": "tie", "edited_text": "Kept as I wrote it."}
    refused = client.post(reverse("compare_judge", args=[project.slug]), sent)
    assert refused.status_code == 422 and "Kept as I wrote it." in refused.content.decode()


def test_undo_brings_the_edit_back(client, editing, annotator, comparison):
    answer(annotator, editing, edited_text=EDITED)
    client.force_login(annotator, "django.contrib.auth.backends.ModelBackend")
    answered = client.post(reverse("compare_undo", args=[editing.slug]), HTTP_ACCEPT="application/json")
    assert EDITED in answered.json()["pair"]


def test_a_manager_sees_it_in_review(client, editing, manager, annotator, comparison):
    judge(comparison, annotator, "first", edited_text=EDITED, flags=["unsafe"])
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    assert EDITED in client.get(reverse("review_case", args=[editing.slug, comparison.pk])).content.decode()
