"""Counts by hand, and as many queries for thirty comparisons as for one."""

import json
import uuid
from datetime import timedelta

from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotate.judging.judgements import record_judgement, take_back_last
from annotate.models import Judgement
from annotate.projects.progress import Pairs, count_pairs, progress_of
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison, make_member, make_project, make_prompt


def judge(project, person):
    lease = claim_comparison(project=project, annotator=person)
    return record_judgement(annotator=person, assignment_id=lease.pk, key=uuid.uuid4(), choice="a")


def test_nothing_yet(project):
    assert set(progress_of(project=project).values()) == {0}


def test_pairs_are_judged_waiting_or_retired_and_those_on_a_screen_wait(project, annotator):
    assert count_pairs(project) == Pairs(judged=0, waiting=0, free=0, retired=0)
    for _ in range(3):
        make_comparison(project)
    make_comparison(project, state="retired")
    judge(project, annotator)
    claim_comparison(project=project, annotator=annotator)
    pairs = count_pairs(project)
    assert pairs == Pairs(judged=1, waiting=2, free=1, retired=1) and pairs.all == 4


def test_counts(project, annotator):
    bob = make_member(project, "annotator")
    prompts = [make_prompt(project, split=split) for split in ("train", "train", "heldout")]
    for prompt in prompts:
        make_comparison(project, prompt)
    make_comparison(project, prompts[0], state="retired")
    make_comparison(make_project())
    yesterday = judge(project, annotator)
    Judgement.objects.filter(pk=yesterday.pk).update(created_at=timezone.now() - timedelta(days=1))
    judge(project, bob)
    judge(project, annotator)
    judged_today = progress_of(project=project, annotator=annotator)
    take_back_last(project=project, annotator=annotator)
    progress = progress_of(project=project, annotator=annotator)
    assert (judged_today["mine_today"], judged_today["mine"], judged_today["done"]) == (1, 2, 3)
    assert progress == {
        "mine_today": 0,
        "mine": 1,
        "judgements": 2,
        "done": 2,
        "open": 1,
        "leased": 1,
        "prompts_train": 2,
        "prompts_heldout": 1,
    }
    assert json.loads(json.dumps(progress)) == progress
    assert progress_of(project=project)["mine"] == 0


def test_as_many_queries_for_thirty_as_for_one(project, annotator):
    def queries():
        cache.clear()
        with CaptureQueriesContext(connection) as captured:
            progress_of(project=project, annotator=annotator)
        return len(captured)

    make_comparison(project)
    one = queries()
    for _ in range(29):
        make_comparison(project)
        judge(project, annotator)
    assert queries() == one == 8
