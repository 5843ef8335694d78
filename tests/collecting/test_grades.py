"""The graded scale: the row on the screen, the click, the row in the database and the line in the file are one answer."""

import io
import json
import re
import uuid

import pytest
from django.urls import reverse

from annotate.consensus.triples import settle
from annotate.formats import trl
from annotate.forms import JudgementForm
from annotate.judging.offer import VALUES, offers_of, read_value
from annotate.models import Assignment, Judgement
from annotate.models.scale import Grades
from tests.builders import make_comparison, make_completion, make_prompt

# By hand: (value, label, key, margin) from left to right. None: no triple.
ROWS = {
    2: [("a", "A is better", "ArrowLeft", 1), ("tie", "Tie", "t", None), ("both_bad", "Both bad", "x", None),
        ("b", "B is better", "ArrowRight", 1)],
    4: [("a2", "A significantly better", "1", 2), ("a1", "A slightly better", "2", 1), ("tie", "Tie", "t", None),
        ("both_bad", "Both bad", "x", None), ("b1", "B slightly better", "3", 1), ("b2", "B significantly better", "4", 2)],
    6: [("a3", "A significantly better", "1", 3), ("a2", "A better", "2", 2), ("a1", "A slightly better", "3", 1),
        ("tie", "Tie", "t", None), ("both_bad", "Both bad", "x", None),
        ("b1", "B slightly better", "4", 1), ("b2", "B better", "5", 2), ("b3", "B significantly better", "6", 3)],
    8: [("a4", "A significantly better", "1", 4), ("a3", "A better", "2", 3), ("a2", "A slightly better", "3", 2),
        ("a1", "A negligibly better or unsure", "4", 1), ("tie", "Tie", "t", None), ("both_bad", "Both bad", "x", None),
        ("b1", "B negligibly better or unsure", "5", 1), ("b2", "B slightly better", "6", 2), ("b3", "B better", "7", 3),
        ("b4", "B significantly better", "8", 4)],
}  # fmt: skip
CLICKS = [(grades, *answer) for grades, row in ROWS.items() for answer in row]


@pytest.mark.parametrize("grades", ROWS)
def test_the_row_from_left_to_right(project, grades):
    row = offers_of(project=project, grades=Grades(grades))
    assert [(offer.value, offer.label, offer.keys[0]) for offer in row] == [answer[:3] for answer in ROWS[grades]]
    keys = [key for offer in row for key in offer.keys]
    assert len(keys) == len(set(keys))


def test_what_is_not_offered_is_not_in_the_row(project):
    project.allows_tie = project.allows_both_bad = False
    assert [offer.value for offer in offers_of(project=project, grades=Grades.FOUR)] == ["a2", "a1", "b1", "b2"]


def test_every_button_is_a_value_that_the_form_takes():
    assert {answer[1] for answer in CLICKS} == set(VALUES)
    assert read_value("b3") == ("b", 3) and read_value("a") == ("a", None) and read_value("both_bad") == ("both_bad", None)
    for nonsense in ("a5", "a0", "tie1", "c1", "a11", "b-1", ""):
        form = JudgementForm({"assignment": uuid.uuid4(), "key": uuid.uuid4(), "choice": nonsense})
        assert not form.is_valid() and set(form.errors) == {"choice"}


@pytest.mark.parametrize("swapped", [False, True], ids=["first-left", "second-left"])
@pytest.mark.parametrize(
    ("grades", "value", "label", "key", "margin"), CLICKS, ids=[f"{grades}-{value}" for grades, value, *_ in CLICKS]
)
def test_what_is_clicked_is_stored_exported_and_told(client, project, annotator, grades, value, label, key, margin, swapped):
    """argilla#5712: every ranking was stored as 1, 2, 3 whatever was clicked."""
    project.grades = grades
    project.save()
    prompt = make_prompt(project)
    make_comparison(project, prompt, first=make_completion(prompt, "one"), second=make_completion(prompt, "two"))
    client.force_login(annotator)
    address = reverse("compare", args=[project.slug])
    client.get(address)
    Assignment.objects.update(swapped=swapped)
    page = client.get(address).content.decode()
    assert re.search(rf'<button class="choice[^>]* value="{value}" data-label="{label}" aria-keyshortcuts="{key}', page)
    shown = dict(zip("ab", re.findall(r"data-raw hidden>(.*?)</pre>", page), strict=True))
    sent = {"assignment": Assignment.objects.get().pk, "key": uuid.uuid4(), "choice": value}
    assert client.post(reverse("compare_judge", args=[project.slug]), sent).status_code == 302

    judgement = Judgement.objects.get()
    stream = io.StringIO()
    trl.write(settle(project=project).triples, stream)
    if margin is None:
        assert (judgement.outcome, judgement.strength, stream.getvalue()) == (value, 0, "")
    else:
        line = json.loads(stream.getvalue())
        assert judgement.strength == margin == line["margin"]
        assert line["chosen"][0]["content"] == shown[value[0]] != line["rejected"][0]["content"]

    undone = client.post(reverse("compare_undo", args=[project.slug]))
    assert f"Taken back: “{label}”. Judge this pair again." in undone.content.decode()


def test_an_answer_without_its_strength_is_refused_with_words_and_kept(client, project, annotator):
    """A program that knows two grades only: nothing is guessed, and the pair stays theirs."""
    project.grades = 8
    project.save()
    make_comparison(project)
    client.force_login(annotator)
    pair = client.post(reverse("api_next", args=[project.slug]), {}, content_type="application/json").json()
    assert pair["grades"] == 8
    sent = {"assignment": pair["assignment"], "key": str(uuid.uuid4()), "choice": "a"}
    address = reverse("api_judgements", args=[project.slug])
    refused = client.post(address, sent, content_type="application/json")
    assert refused.status_code == 400 and "4 (significantly better)" in refused.json()["message"]
    assert client.post(address, sent | {"strength": 3}, content_type="application/json").status_code == 201
    assert Judgement.objects.get().strength == 3


def test_a_page_with_the_old_row_is_taken_after_the_setting_has_changed(client, project, annotator):
    make_comparison(project)
    client.force_login(annotator)
    client.get(reverse("compare", args=[project.slug]))
    project.grades = 8
    project.save()
    sent = {"assignment": Assignment.objects.get().pk, "key": uuid.uuid4(), "choice": "b"}
    answer = client.post(reverse("compare_judge", args=[project.slug]), sent, HTTP_ACCEPT="application/json")
    assert answer.status_code == 200 and Judgement.objects.get().strength == 1
