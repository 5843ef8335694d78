"""Guidelines: editions that are kept, who has read which, and what changed."""

import uuid
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.judging.judgements import record_judgement
from annotate.models import GuidelinesEdition, Judgement, Membership
from annotate.projects.guidelines import GuidelinesChanged, is_unread, mark_as_read, save_guidelines
from annotate.queue.claims import claim_comparison
from annotate.text.differences import compare_texts
from tests.builders import make_comparison, make_member, make_project
from tests.collecting.test_concurrency import at_once


@pytest.fixture
def at(project):
    return lambda name: reverse(name, args=[project.slug])


def save(project, text, by=None, **fields):
    return save_guidelines(project=project, text=text, by=by, **fields)


def membership_of(user) -> Membership:
    return Membership.objects.select_related("project").get(user=user)


# -- editions ----------------------------------------------------------------------------------------------
def test_each_saved_change_is_a_row_and_the_project_has_the_newest(project, owner, manager):
    save(project, "Be kind.", owner)
    save(project, "Be kind.\nBe short.", manager, why="length")
    editions = list(GuidelinesEdition.objects.order_by("number").values_list("number", "text", "why", "by__username"))
    assert editions == [(1, "Be kind.", "", "olivia"), (2, "Be kind.\nBe short.", "length", "marek")]
    project.refresh_from_db()
    assert (project.guidelines, project.guidelines_edition.number) == ("Be kind.\nBe short.", 2)


def test_the_same_text_again_is_no_edition(project, owner):
    first = save(project, "Be kind.", owner)
    assert save(project, " Be kind.\r\n", owner) == first
    assert GuidelinesEdition.objects.count() == 1
    assert save(make_project(), "  ", owner) is None


def test_editions_of_two_projects_are_counted_apart(project, owner):
    assert save(project, "One.", owner).number == save(make_project(), "Two.", owner).number == 1


def test_who_saves_second_is_told_and_nothing_is_overwritten(project, owner, manager):
    save(project, "Old.", owner)
    save(project, "Olivia's.", owner, based_on=1)
    with pytest.raises(GuidelinesChanged) as changed:
        save(project, "Marek's.", manager, based_on=1)
    assert changed.value.newest.text == "Olivia's."
    project.refresh_from_db()
    assert project.guidelines == "Olivia's."
    assert save(project, "Both.", manager, based_on=2).number == 3


# -- reading -----------------------------------------------------------------------------------------------
def test_who_has_not_opened_the_newest_edition_is_told(project, owner, annotator):
    assert not is_unread(membership_of(annotator))
    save(project, "Be kind.", owner)
    assert is_unread(membership_of(annotator)) and not is_unread(membership_of(owner))
    mark_as_read(membership=membership_of(annotator), number=1)
    assert not is_unread(membership_of(annotator))
    save(project, "Be short.", owner)
    assert is_unread(membership_of(annotator))


@pytest.mark.parametrize("number", [1, 0, 99, -1])
def test_reading_an_older_edition_or_none_changes_nothing(project, owner, annotator, number):
    save(project, "One.", owner), save(project, "Two.", owner)
    mark_as_read(membership=membership_of(annotator), number=2)
    mark_as_read(membership=membership_of(annotator), number=number)
    assert membership_of(annotator).guidelines_read.number == 2


def test_a_judgement_knows_what_its_annotator_had_read(project, owner, annotator):
    for _ in range(3):
        make_comparison(project)
    read = []

    def judge():
        lease = claim_comparison(project=project, annotator=annotator)
        record_judgement(annotator=annotator, assignment_id=lease.pk, key=uuid.uuid4(), choice="a")
        edition = Judgement.objects.latest("pk").guidelines
        read.append(edition and edition.number)

    judge()
    save(project, "One.", owner)
    mark_as_read(membership=membership_of(annotator), number=1)
    judge()
    save(project, "Two.", owner)
    judge()
    assert read == [None, 1, 1]


# -- pages -------------------------------------------------------------------------------------------------
def test_the_compare_page_tells_of_news_until_they_are_opened(client, project, owner, annotator, at):
    make_comparison(project)
    client.force_login(annotator)
    bar = '<div class="notice notice-info" id="news" role="status" hidden>'
    assert bar in client.get(at("compare")).content.decode()
    save(project, "Be kind.", owner)
    page = client.get(at("compare")).content.decode()
    assert bar not in page and "Read them before you begin" in page and 'data-guidelines="1"' in page
    assert client.post(at("guidelines_read"), {"edition": 1}).status_code == 204
    assert bar in client.get(at("compare")).content.decode()
    save(project, "Be short.", owner, why="Length matters.")
    assert "have changed since you read them: Length matters." in client.get(at("compare")).content.decode()
    assert 'data-guidelines="2"' in client.post(at("compare_next")).content.decode()
    client.get(at("guidelines"))  # without the script
    assert bar in client.get(at("compare")).content.decode()


@pytest.mark.parametrize("edition", ["", "x", "-1", "99999999999999999999", "1\0"])
def test_an_edition_that_is_none_is_refused(client, annotator, at, edition):
    client.force_login(annotator)
    assert client.post(at("guidelines_read"), {"edition": edition}).status_code == 422


def test_the_drawer_gets_the_text_alone(client, project, owner, annotator, at):
    save(project, "Be *kind*.", owner)
    client.force_login(annotator)
    answer = client.get(at("guidelines"), headers={"HX-Request": "true"})
    assert "<em>kind</em>" in answer.content.decode() and "<html" not in answer.content.decode()
    assert "HX-Request" in answer["Vary"]


def test_writing_in_the_browser(client, project, manager, at):
    client.force_login(manager)
    assert client.post(at("guidelines_edit"), {"text": "Be kind.", "why": "first", "based_on": 0}).url == at("guidelines")
    edition = GuidelinesEdition.objects.get()
    assert (edition.text, edition.why, edition.by) == ("Be kind.", "first", manager)


def test_a_conflict_shows_their_changes_and_keeps_my_text(client, project, owner, manager, at):
    save(project, "Old.", owner)
    client.force_login(manager)
    client.get(at("guidelines_edit"))
    save(project, "Hers.", owner)
    answer = client.post(at("guidelines_edit"), {"text": "Mine.", "based_on": 1})
    page = answer.content.decode()
    assert answer.status_code == 409 and "olivia has saved edition 2" in page
    assert ">\nMine.</textarea>" in page and "Hers" in page and 'name="based_on" value="2"' in page
    assert client.post(at("guidelines_edit"), {"text": "Mine.", "based_on": 2}).status_code == 302


@pytest.mark.parametrize("text", ["x" * 50_001, "nul\0"])
def test_text_that_cannot_be_saved_comes_back(client, project, owner, at, text):
    client.force_login(owner)
    answer = client.post(at("guidelines_edit"), {"text": text, "based_on": 0})
    assert answer.status_code == 422 and "field-error" in answer.content.decode()
    assert not GuidelinesEdition.objects.exists()


def test_the_history_shows_who_changed_what(client, project, owner, viewer, at):
    save(project, "Be kind.\nBe long.", owner)
    save(project, "Be kind.\nBe short.", owner, why="people asked")
    client.force_login(viewer)
    page = client.get(at("guidelines_history")).content.decode()
    for words in ("Edition 2", "people asked", "<del>Be <b>long</b>.</del>", "<ins>Be <b>short</b>.</ins>"):
        assert words in page, words
    assert "Edition 1, the first" in client.get(at("guidelines_history"), {"edition": 1}).content.decode()
    assert client.get(at("guidelines_history"), {"edition": 3}).status_code == 404
    for odd in ("x", "-1", "9" * 30, "٣", "\0"):
        assert client.get(at("guidelines_history"), {"edition": odd, "before": odd}).status_code == 200


def test_the_history_is_paged_and_asks_the_database_as_often_for_many(client, project, owner, at):
    client.force_login(owner)

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            client.get(at("guidelines_history"))
        return len(asked)

    save(project, "0", owner), save(project, "1", owner)
    few = queries()
    for number in range(2, 45):
        save(project, str(number), owner)
    assert queries() == few
    page = client.get(at("guidelines_history"), {"before": 26}).content.decode()
    assert "Edition 25" in page and "Edition 6" in page and "Edition 5<" not in page and "?before=6" in page


# -- differences -------------------------------------------------------------------------------------------
def told(before, after):
    return [(line.kind, "".join(text for text, _ in line.parts) or line.count) for line in compare_texts(before, after)]


def test_differences_by_hand():
    before, after = "a\nb\nc\nd\ne\nf\ng\nh", "a\nb\nc\nd\ne\nF\nextra\ng\nh"
    assert told(before, after) == [
        ("left_out", 3), ("same", "d"), ("same", "e"), ("removed", "f"), ("added", "F"), ("added", "extra"), ("same", "g"),
        ("same", "h"),
    ]  # fmt: skip
    assert told("a", "a") == [] and told("", "a") == [("added", "a")] and told("a", "") == [("removed", "a")]


def test_words_that_differ_are_marked_and_nothing_of_the_text_is_lost():
    removed, added = compare_texts("the red apple", "the green apple")
    assert removed.parts == (("the ", False), ("red", True), (" apple", False))
    assert added.parts == (("the ", False), ("green", True), (" apple", False))


def test_huge_texts_are_compared_without_waiting():
    lines = compare_texts("\n".join(map(str, range(5000))), "\n".join(map(str, range(1, 5001))))
    assert len(lines) == 10_000
    assert compare_texts("x y " * 5000, "x z " * 5000)[0].kind == "removed"


# -- at once -----------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_two_managers_save_at_once_and_one_is_told():
    project = make_project()
    people = [make_member(project, "manager") for _ in range(2)]
    save(project, "Old.", people[0])

    def write(person) -> str:
        try:
            return save(make_project_again(project), f"By {person.username}.", person, based_on=1).text
        except GuidelinesChanged as changed:
            return f"told of edition {changed.newest.number}"

    told = at_once(*(partial(write, person) for person in people))
    assert sorted(text == "told of edition 2" for text in told) == [False, True]
    assert list(GuidelinesEdition.objects.order_by("number").values_list("number", flat=True)) == [1, 2]


def make_project_again(project):
    return type(project).objects.get(pk=project.pk)
