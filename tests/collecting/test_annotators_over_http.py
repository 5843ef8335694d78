"""Sixteen annotators at once, over HTTP, as the compare page does it: nothing handed out twice, nothing lost."""

import random
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from django.conf import settings
from django.db import connection

from annotate.consensus.triples import settle
from annotate.models import Judgement
from annotate.people.sign_in import create_sign_in_link
from bench.demo.people import Page, Person
from tests import builders
from tests.collecting.leases import overbooked

ANNOTATORS = 16
REQUIRED = 3
COMPARISONS = 24

pytestmark = pytest.mark.django_db(transaction=True)


class Annotator(Person):
    """Sends each answer as an impatient person on a bad line does: sometimes twice, sometimes from two tabs at once."""

    def __init__(self, link: str, project: str, seed: int) -> None:
        super().__init__(link, project)
        self.random = random.Random(seed)
        self.accepted: list[str] = []
        self.seen: list[str] = []

    def work(self) -> None:
        """Until the queue has nothing for them."""
        while True:
            pair = self.next_pair()
            if not pair.assignment:
                return
            self.seen.append(pair.assignment)
            choice = self.random.choice(["a", "b", "tie", "both_bad"])
            self.send(pair, choice)

    def send(self, pair: Page, choice: str) -> None:
        key = str(uuid.uuid4())
        answer = {"assignment": pair.assignment, "key": key, "choice": choice, "seconds": "2"}
        retried = self.random.random() < 0.3
        with ThreadPoolExecutor(2) as tabs:
            sent = [tabs.submit(self.post, f"{self.project}/compare/judge/", answer, "application/json")]
            if retried:
                sent.append(tabs.submit(self.post, f"{self.project}/compare/judge/", answer, "application/json"))
            assert all(request.result().status_code == 200 for request in sent)
        if self.random.random() < 0.2:  # another key for the same pair: answered with what is stored
            self.post(f"{self.project}/compare/judge/", {**answer, "key": str(uuid.uuid4())}, "application/json")
        self.accepted.append(key)


def test_sixteen_annotators(live_server, monkeypatch) -> None:
    monkeypatch.setattr(settings, "BASE_URL", live_server.url)
    project = builders.make_project(slug="rush", judgements_required=REQUIRED)
    version = builders.make_version(project, serving=True)
    for _ in range(COMPARISONS):
        builders.make_comparison(project, version=version)
    people = [builders.make_member(project, "annotator") for _ in range(ANNOTATORS)]
    annotators = [Annotator(create_sign_in_link(user=person), "rush", seed=number) for number, person in enumerate(people)]

    watched: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            watched.append(overbooked())
            time.sleep(0.05)
        connection.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(ANNOTATORS) as crowd:
        done = [crowd.submit(annotator.work) for annotator in annotators]
        for each in done:
            each.result()
    over.set()
    watcher.join()

    assert watched and max(watched) == 0
    judged = Counter(Judgement.objects.standing().values_list("comparison_id", flat=True))
    assert set(judged.values()) == {REQUIRED} and len(judged) == COMPARISONS
    pairs = list(Judgement.objects.values_list("comparison_id", "annotator_id"))
    assert len(pairs) == len(set(pairs))
    assert all(len(annotator.seen) == len(set(annotator.seen)) for annotator in annotators)

    accepted = {key for annotator in annotators for key in annotator.accepted}
    stored = {str(key) for key in Judgement.objects.values_list("key", flat=True)}
    assert len(stored) == COMPARISONS * REQUIRED
    assert stored <= accepted | stored and accepted <= stored, "an accepted answer is not stored under the key it was sent with"
    settlement = settle(project=project)
    exported = {pk for triple in settlement.triples for pk in triple.judgement_ids}
    decided = {triple.comparison_id for triple in settlement.triples}
    assert exported == set(Judgement.objects.filter(comparison_id__in=decided).values_list("pk", flat=True))
    assert len(decided) + sum(settlement.counts.values()) == COMPARISONS


def test_a_stranger_gets_no_work_over_http(live_server, monkeypatch) -> None:
    monkeypatch.setattr(settings, "BASE_URL", live_server.url)
    project = builders.make_project(slug="private")
    builders.make_comparison(project)
    stranger = Person(create_sign_in_link(user=builders.make_user()), "private")
    with pytest.raises(requests.HTTPError) as refusal:
        stranger.next_pair()
    assert refusal.value.response.status_code == 404
