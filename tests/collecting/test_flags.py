"""Flags: a project's own list, ticked beside an answer."""

import uuid

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from annotate.judging.flags import LONGEST, MOST, check_flags, read_flags
from annotate.judging.judgements import JudgementRefused, record_judgement
from annotate.models import Assignment, Judgement
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison, posted_settings

JSON = {"HTTP_ACCEPT": "application/json"}


@pytest.fixture
def flagging(client, project, annotator):
    """judge(**fields): the annotator's answer to a pair of a project with three flags."""
    project.flags = ["unsafe", "wrong language", "cut, off"]
    project.save()
    make_comparison(project)
    client.force_login(annotator)
    client.get(reverse("compare", args=[project.slug]))

    def judge(script: bool = True, **fields):
        sent = {"assignment": Assignment.objects.get().pk, "key": uuid.uuid4(), "choice": "a"} | fields
        return client.post(reverse("compare_judge", args=[project.slug]), sent, **(JSON if script else {}))

    return judge


def test_a_list_as_lines():
    assert read_flags(" unsafe \r\n\n wrong   language\nunsafe\n\0\n") == ["unsafe", "wrong language"]
    assert read_flags("") == []


def test_a_list_that_is_too_long_or_has_too_long_a_name():
    check_flags(["x" * LONGEST] * MOST)
    with pytest.raises(ValidationError) as refused:
        check_flags([*map(str, range(MOST)), "x" * (LONGEST + 1)])
    assert len(refused.value.messages) == 2


@pytest.mark.parametrize("sent", [["cut, off", "unsafe"], ["cut, off\nunsafe"]], ids=["a form", "the script"])
def test_what_is_ticked_is_stored_in_the_lists_order(flagging, sent):
    assert flagging(flags=sent).status_code == 200
    assert Judgement.objects.get().flags == ["unsafe", "cut, off"]


def test_nothing_ticked(flagging):
    assert flagging().status_code == 200
    assert Judgement.objects.get().flags == []


def test_a_flag_that_is_not_or_no_longer_offered_is_refused_with_words_and_the_rest_kept(flagging):
    answer = flagging(script=False, flags=["unsafe", "rude\0"], rationale="because")
    page = answer.content.decode()
    assert answer.status_code == 422 and not Judgement.objects.exists()
    assert "“rude” is not, or no longer, a flag of this project. Its flags are: unsafe, wrong language, cut, off" in page
    assert 'value="unsafe" checked' in page and "because" in page


@pytest.mark.parametrize("flags", ["unsafe", [1], None, {"unsafe": 1}])
def test_flags_that_are_no_list_of_texts(flagging, project, annotator, flags):
    lease = claim_comparison(project=project, annotator=annotator)
    with pytest.raises(JudgementRefused) as refused:
        record_judgement(annotator=annotator, assignment_id=lease.pk, key=uuid.uuid4(), choice="a", flags=flags)
    assert refused.value.code == "unknown_flag"


def test_undo_brings_the_ticks_back(flagging, client, project):
    flagging(flags=["wrong language"])
    pair = client.post(reverse("compare_undo", args=[project.slug]), **JSON).json()["pair"]
    assert 'value="wrong language" checked' in pair and 'value="unsafe" checked' not in pair


def test_a_project_without_flags_shows_none(client, annotator, project):
    make_comparison(project)
    client.force_login(annotator)
    assert 'class="flags"' not in client.get(reverse("compare", args=[project.slug])).content.decode()


def test_by_program(flagging, client, project):
    pair = client.post(reverse("api_next", args=[project.slug]), {}, content_type="application/json").json()
    assert pair["flags"] == ["unsafe", "wrong language", "cut, off"]
    sent = {"assignment": pair["assignment"], "key": str(uuid.uuid4()), "choice": "tie", "flags": ["unsafe"]}
    answer = client.post(reverse("api_judgements", args=[project.slug]), sent, content_type="application/json")
    assert answer.status_code == 201 and Judgement.objects.get().flags == ["unsafe"]


def test_the_settings_keep_them_as_lines(client, owner, project):
    client.force_login(owner)
    address = reverse("project_settings", args=[project.slug])
    fields = posted_settings(project)
    assert client.post(address, fields | {"flags": "unsafe\r\nwrong language\r\n"}).status_code == 302
    project.refresh_from_db()
    assert project.flags == ["unsafe", "wrong language"]
    assert ">\nunsafe\nwrong language</textarea>" in client.get(address).content.decode()
    refused = client.post(address, fields | {"flags": "x" * 41})
    assert refused.status_code == 422 and "longer than 40 characters" in refused.content.decode()
    assert client.post(address, posted_settings(project, flags="")).status_code == 302
    project.refresh_from_db()
    assert project.flags == []
