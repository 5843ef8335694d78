"""Many people at once: nobody gets what another has, nothing is stored twice, nothing accepted is lost."""

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from typing import Any

import pytest
from django.db import connection, transaction

from annotate.consensus.triples import settle
from annotate.data.prompts import import_prompts
from annotate.judging.judgements import JudgementRefused, record_judgement, take_back_last
from annotate.models import Assignment, Comparison, Judgement, Membership, Prompt
from annotate.models.comparison import Purpose
from annotate.people.members import MemberRefused, remove_member
from annotate.people.sign_in import create_sign_in_link, redeem
from annotate.queue.claims import claim_comparison, release_lapsed, skip_comparison, supersede
from annotate.queue.places import lock_comparison
from tests.builders import make_comparison, make_member, make_project, make_user, make_version
from tests.collecting.leases import assert_places_add_up, overbooked, run_out

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Runs the calls in threads that start together, each with a database connection of its own."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            start.wait(timeout=30)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return [future.result() for future in [threads.submit(run, call) for call in calls]]


def judge(assignment: Assignment, choice: str = "a", key: uuid.UUID | None = None) -> Judgement:
    return record_judgement(annotator=assignment.annotator, assignment_id=assignment.pk, key=key or uuid.uuid4(), choice=choice)


class Worker:
    """One annotator who prefetches, submits twice now and then, skips and takes back."""

    def __init__(self, project, person, seed: int) -> None:
        self.project, self.person = project, person
        self.random = random.Random(seed)
        self.served: list[int] = []
        self.accepted: set[int] = set()
        self.withdrawn = 0

    def __call__(self) -> None:
        while shown := claim_comparison(project=self.project, annotator=self.person):
            self.served.append(shown.comparison_id)
            claim_comparison(project=self.project, annotator=self.person, beside=shown)
            assert Assignment.objects.live().filter(annotator=self.person).count() <= 2
            self.answer(shown)
            if self.random.random() < 0.25:  # often enough that some do, however the threads are scheduled
                self.take_back()

    def take_back(self) -> None:
        """The last judgement, or the last skip if nobody has taken its place."""
        try:
            again = take_back_last(project=self.project, annotator=self.person)
        except JudgementRefused:
            return
        if again:
            self.withdrawn += again.judgements.exists()
            self.accepted.add(judge(again, "b").pk)

    def answer(self, shown: Assignment) -> None:
        if self.random.random() < 0.1:
            skip_comparison(annotator=self.person, assignment_id=shown.pk)
            return
        if self.random.random() < 0.3:
            keys = [uuid.uuid4()] * 2 if self.random.random() < 0.5 else [uuid.uuid4(), uuid.uuid4()]
            stored = at_once(*(partial(judge, shown, choice, key) for key, choice in zip(keys, "ab", strict=True)))
            assert stored[0].pk == stored[1].pk
        else:
            stored = [judge(shown, self.random.choice("ab"))]
        self.accepted.add(stored[0].pk)


def test_sixteen_annotators_with_double_submits_skips_and_undos():
    project = make_project(judgements_required=3)
    for _ in range(16):
        make_comparison(project)
    workers = [Worker(project, make_member(project, "annotator"), seed) for seed in range(16)]
    over, watched = threading.Event(), []

    def watch() -> None:
        while not over.is_set():
            watched.append(overbooked())
            time.sleep(0.02)
        connection.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        at_once(*workers)
    finally:
        over.set()
        watcher.join()

    assert len(watched) > 3
    assert set(watched) == {0}
    assert_places_add_up()
    for worker in workers:
        assert max(Counter(worker.served).values(), default=0) <= 1, "a comparison was served twice to one person"
    accepted = set().union(*(worker.accepted for worker in workers))
    assert set(Judgement.objects.values_list("pk", flat=True)) == accepted
    standing = set(Judgement.objects.standing().values_list("pk", flat=True))
    assert len(accepted) - len(standing) == sum(worker.withdrawn for worker in workers) > 0
    # Every one that stands and could decide is in what is exported: with three votes for two sides, all that are complete.
    settlement = settle(project=project)
    complete = Judgement.objects.standing().filter(comparison__state="done").values_list("pk", flat=True)
    assert {pk for triple in settlement.triples for pk in triple.judgement_ids} == set(complete)
    assert (
        Counter(settlement.counts).total() == Comparison.objects.filter(state="open", judgements__isnull=False).distinct().count()
    )


def test_lanes_by_chance_and_by_priority_do_not_get_in_each_others_way():
    """Few comparisons and many people, who meet at them from all sides: no deadlock, no place too many, none left over."""
    project = make_project(judgements_required=3, random_share=0.5, evaluation_share=0.4, gold_share=0.2)
    people = [make_member(project, "annotator") for _ in range(8)]
    for purpose in Purpose:
        for _ in range(4):
            make_comparison(project, purpose=purpose, judgements_required=8 if purpose == Purpose.GOLD else 3)

    def work(person) -> Counter:
        served: Counter = Counter()
        while shown := claim_comparison(project=project, annotator=person):
            served[shown.comparison_id] += 1
            assert overbooked() == 0
            judge(shown)
        return served

    served = at_once(*(partial(work, person) for person in people))
    assert all(set(counts.values()) <= {1} for counts in served)
    done = Comparison.objects.exclude(purpose=Purpose.GOLD).values_list("state", flat=True)
    assert list(done) == ["done"] * 8
    assert_places_add_up()


@pytest.mark.parametrize("same_key", [True, False])
def test_the_same_assignment_submitted_by_eight_threads_is_one_row(same_key):
    project = make_project()
    person = make_member(project, "annotator")
    for _ in range(5):
        make_comparison(project)
        shown = claim_comparison(project=project, annotator=person)
        keys = [uuid.uuid4()] * 8 if same_key else [uuid.uuid4() for _ in range(8)]
        stored = at_once(*(partial(judge, shown, choice, key) for key, choice in zip(keys, "abab" * 2, strict=True)))
        assert len({judgement.pk for judgement in stored}) == 1
        assert Judgement.objects.filter(assignment=shown).count() == 1
    assert_places_add_up()


def test_two_tabs_that_ask_at_once_get_the_same_pair():
    project = make_project()
    person = make_member(project, "annotator")
    for _ in range(10):
        make_comparison(project)
    for _ in range(4):
        served = at_once(*[partial(claim_comparison, project=project, annotator=person)] * 6)
        assert len({assignment.pk for assignment in served}) == 1
        assert Assignment.objects.live().count() == 1
        following = at_once(*[partial(claim_comparison, project=project, annotator=person, beside=served[0])] * 6)
        assert len({assignment.pk for assignment in following}) == 1
        assert Assignment.objects.live().count() == 2
        judge(served[0]), judge(following[0])


def test_the_last_places_go_to_as_many_as_there_are():
    """Nobody is told that there is no work while there is a place, because another's claim had it locked."""
    project = make_project()
    people = [make_member(project, "annotator") for _ in range(6)]
    for _ in range(10):
        comparison = make_comparison(project, judgements_required=4)
        served = at_once(*(partial(claim_comparison, project=project, annotator=person) for person in people))
        got = [assignment for assignment in served if assignment]
        assert [assignment.comparison_id for assignment in got] == [comparison.pk] * 4
        for assignment in got:
            judge(assignment)
    assert_places_add_up()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one lock for the whole database")
def test_a_claim_passes_over_a_comparison_that_another_transaction_holds():
    project = make_project()
    held, free = make_comparison(project, priority=1), make_comparison(project)
    person = make_member(project, "annotator")
    is_held, is_claimed = threading.Event(), threading.Event()

    def hold() -> bool:
        with transaction.atomic():
            lock_comparison(held.pk)
            is_held.set()
            return is_claimed.wait(timeout=10)

    def claim() -> Assignment | None:
        is_held.wait(timeout=10)
        assignment = claim_comparison(project=project, annotator=person)
        is_claimed.set()
        return assignment

    claimed_in_time, assignment = at_once(hold, claim)
    assert claimed_in_time
    assert assignment.comparison == free


def test_leases_that_run_out_in_the_middle_lose_no_answer():
    project = make_project(judgements_required=2)
    for _ in range(12):
        make_comparison(project)
    people = [make_member(project, "annotator") for _ in range(8)]
    accepted = []

    def work(person, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(12):
            if shown := claim_comparison(project=project, annotator=person):
                if chance.random() < 0.5:
                    run_out(shown)
                    release_lapsed()
                    time.sleep(chance.random() / 50)  # time for somebody else to take the place, or not
                accepted.append(judge(shown).pk)

    at_once(*(partial(work, person, seed) for seed, person in enumerate(people)))
    assert set(Judgement.objects.values_list("pk", flat=True)) == set(accepted)
    assert len(accepted) == len(set(accepted)) == Assignment.objects.filter(state="judged").count()
    assert Judgement.objects.filter(late=True).exists()
    assert_places_add_up()


def test_a_promotion_amid_claims_retires_nothing_that_somebody_works_on():
    project = make_project()
    old, new = make_version(project), make_version(project)
    people = [make_member(project, "annotator") for _ in range(6)]
    for _ in range(5):
        for _ in range(8):
            make_comparison(project, version=old)
        calls = [partial(claim_comparison, project=project, annotator=person) for person in people]
        *served, _ = at_once(*calls, partial(supersede, project=project, version_id=new.pk))
        assert not Comparison.objects.filter(state="retired", assignments__state="leased").exists()
        assert_places_add_up()
        for assignment in filter(None, served):
            judge(assignment)


def test_a_link_followed_by_eight_at_once_signs_in_one():
    person = make_user()
    for _ in range(5):
        token = create_sign_in_link(user=person).rstrip("/").rsplit("/", 1)[1]
        users = at_once(*[partial(redeem, token=token)] * 8)
        assert users.count(None) == 7


def test_two_owners_who_leave_at_once():
    for _ in range(5):
        project = make_project()
        owners = [make_member(project, "owner") for _ in range(2)]

        def leave(owner, project=project) -> bool:
            try:
                remove_member(project=project, user=owner)
            except MemberRefused:
                return False
            return True

        assert sorted(at_once(*(partial(leave, owner) for owner in owners))) == [False, True]
        assert Membership.objects.filter(project=project, role="owner").count() == 1


def test_the_same_prompts_imported_twice_at_once():
    project = make_project()
    content = b"\n".join(b'{"prompt": "Question %d"}' % number for number in range(1200))
    at_once(*[lambda: import_prompts(project=project, stream=BytesIO(content))] * 3)
    assert Prompt.objects.count() == 1200
