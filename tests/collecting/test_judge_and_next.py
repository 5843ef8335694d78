"""One request judges and brings the next pair; counts in the bar are exact, or of a large project a few seconds old."""

import uuid

import pytest
from django.core.cache import cache

from annotate.models import Assignment
from annotate.projects import progress
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison

JSON = {"HTTP_ACCEPT": "application/json"}


@pytest.fixture
def at_work(client, project, annotator):
    """Three comparisons, one on the screen; judge(**fields) sends an answer to it."""
    for number in range(3):
        make_comparison(project, priority=-number)
    shown = claim_comparison(project=project, annotator=annotator)
    client.force_login(annotator)

    def judge(**fields):
        sent = {"assignment": shown.pk, "key": uuid.uuid4(), "choice": "a"} | fields
        return client.post(f"/projects/{project.slug}/compare/judge/", sent, **JSON)

    return judge


def test_the_answer_to_a_judgement_brings_the_next_pair(at_work):
    pair = at_work(then="next").json()["pair"]
    (leased,) = Assignment.objects.filter(state="leased")
    assert f'data-assignment="{leased.pk}"' in pair


def test_the_pair_beside_is_not_brought_again(at_work, project, annotator):
    beside = claim_comparison(project=project, annotator=annotator, beside=Assignment.objects.get())
    pair = at_work(then="next", beside=beside.pk).json()["pair"]
    following = Assignment.objects.filter(state="leased").exclude(pk=beside.pk).get()
    assert f'data-assignment="{following.pk}"' in pair


def test_nothing_is_leased_unless_it_is_asked_for(at_work):
    assert "pair" not in at_work().json()
    assert not Assignment.objects.filter(state="leased").exists()


def test_a_refused_answer_brings_nothing(at_work):
    refused = at_work(then="next", choice="nonsense")
    assert refused.status_code == 422 and "pair" not in refused.json()
    assert at_work(then="whatever").status_code == 422


def test_sent_again_it_brings_the_same_pair(at_work):
    key = uuid.uuid4()
    pairs = [at_work(key=key, then="next").json()["pair"] for _ in range(2)]
    shown = [pair.split('data-assignment="')[1][:36] for pair in pairs]
    assert shown[0] == shown[1] and Assignment.objects.filter(state="leased").count() == 1


def test_at_the_end_of_the_queue_no_pair_comes(at_work, project):
    project.comparisons.filter(free_places=1).update(state="done", free_places=0)
    answer = at_work(then="next").json()
    assert answer["message"] == "Saved." and "pair" not in answer


def test_counts_of_a_large_project_are_kept_for_a_moment(at_work, project, monkeypatch):
    cache.clear()
    assert at_work().json()["progress"] == {"mine_today": 1, "done": 1, "open": 2}
    monkeypatch.setattr(progress, "LARGE", 3)
    assert progress.recent_pairs(project).judged == 1
    project.comparisons.update(state="done", free_places=0)
    with monkeypatch.context() as reading:
        reading.setattr(cache, "set_many", None)  # what is read is not kept for another while: it would never be counted
        assert progress.recent_pairs(project).judged == 1 and progress.count_pairs(project).judged == 3
    cache.clear()
    assert progress.recent_pairs(project).judged == 3
