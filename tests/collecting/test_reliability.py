"""Reliability-weighted consensus: against a case by hand, a second implementation, and what the database makes of it."""

import random

import numpy as np
import pytest

from annotate.consensus.triples import settle
from annotate.consensus.verdicts import NoTriple, Vote, by_reliability
from annotate.models import Dispute
from annotate.models.judgement import Outcome
from annotate.models.project import Consensus
from annotate.models.scale import Grades, LeastGrade
from annotate.quality.reliability import Estimate, estimate, is_current, refresh_estimate, reliability_in, stored_estimate
from annotate.review.decisions import settle_comparison
from tests.builders import make_comparison, make_member
from tests.collecting.judged import judge

FIRST, SECOND, TIE, BAD = Outcome.FIRST, Outcome.SECOND, Outcome.TIE, Outcome.BOTH_BAD


def em(given, known=None, iterations=100, tolerance=1e-5, least=1e-10):
    """Dawid and Skene's EM in plain loops over numpy arrays, written from the paper: E(posterior), M(shares, errors)."""
    tasks, people, labels = (sorted({row[place] for row in given}) for place in range(3))
    task, person, label = (
        np.array([names.index(row[place]) for row in given]) for place, names in ((0, tasks), (1, people), (2, labels))
    )
    q_TK = np.zeros((len(tasks), len(labels)))
    for t, k in zip(task, label, strict=True):
        q_TK[t, k] += 1
    q_TK /= q_TK.sum(axis=1, keepdims=True)

    def correct():
        for name, truth in (known or {}).items():
            q_TK[tasks.index(name)] = [truth == each for each in labels]

    def m_step():
        errors_WGT = np.zeros((len(people), len(labels), len(labels)))
        for t, w, g in zip(task, person, label, strict=True):
            errors_WGT[w, g] += q_TK[t]
        given_WG = {(w, g) for w, g in zip(person, label, strict=True)}
        for w in range(len(people)):
            for g in range(len(labels)):
                errors_WGT[w, g] = np.clip(errors_WGT[w, g], least, None) if (w, g) in given_WG else 0.0
        return errors_WGT / errors_WGT.sum(axis=1, keepdims=True)

    correct()
    priors, errors, before = q_TK.mean(axis=0), m_step(), -np.inf
    for _ in range(iterations):
        logs = np.tile(np.log(np.clip(priors, least, None)), (len(tasks), 1))
        for t, w, g in zip(task, person, label, strict=True):
            logs[t] += np.log(errors[w, g])
        q_TK[:] = np.exp(logs - logs.max(axis=1, keepdims=True))
        q_TK /= q_TK.sum(axis=1, keepdims=True)
        correct()
        priors, errors = q_TK.mean(axis=0), m_step()
        joint = sum((q_TK[t] * (np.log(errors[w, g]) + np.log(np.clip(priors, least, None)))).sum()
                    for t, w, g in zip(task, person, label, strict=True))  # fmt: skip
        clipped = np.clip(q_TK, least, None)
        bound = (joint - (np.log(clipped) * clipped).sum()) / len(given)
        if bound - before < tolerance:
            break
        before = bound
    by_label = [dict(zip(labels, row, strict=True)) for row in errors.reshape(-1, len(labels))]
    rows = [by_label[n : n + len(labels)] for n in range(0, len(by_label), len(labels))]
    found = {who: dict(zip(labels, of_person, strict=True)) for who, of_person in zip(people, rows, strict=True)}
    return dict(zip(labels, priors, strict=True)), found


def crowd_of(number: int, people: int = 6, seed: int = 3) -> tuple[list[tuple[int, int, str]], dict[int, str]]:
    """`number` comparisons judged by three of `people`, each of whom is right with a probability of their own."""
    draw = random.Random(seed)
    skill = [0.95, 0.9, 0.85, 0.7, 0.6, 0.35][:people]
    truth = {task: draw.choices(["first", "second", "tie"], [5, 4, 1])[0] for task in range(number)}
    given = []
    for task, right in truth.items():
        for person in sorted(draw.sample(range(people), 3)):
            others = [each for each in ("first", "second", "tie") if each != right]
            given.append((task, person, right if draw.random() < skill[person] else draw.choice(others)))
    return given, truth


@pytest.mark.parametrize("known", [{}, {0: "second", 1: "first", 2: "tie"}], ids=["nothing known", "three known"])
@pytest.mark.parametrize("seed", [3, 4])
def test_as_a_second_implementation_has_it(seed, known):
    given, _ = crowd_of(120, seed=seed)
    made = estimate(given, known)
    priors, errors = em(given, known)
    assert made.priors == pytest.approx(priors, abs=1e-9)
    for person, of_person in made.errors.items():
        for said, row in of_person.items():
            assert row == pytest.approx(errors[person][said], abs=1e-9), (person, said)


def test_the_same_rows_give_the_same_estimate():
    given, _ = crowd_of(60)
    assert estimate(given) == estimate(given)


def test_the_reliable_are_told_from_the_others():
    given, truth = crowd_of(400)
    made = estimate(given)
    found = [made.reliability_of(person) for person in range(6)]
    assert found == pytest.approx([0.95, 0.9, 0.85, 0.7, 0.6, 0.35], abs=0.08)
    votes: dict[int, list] = {}
    for task, person, said in given:
        votes.setdefault(task, []).append((person, said))
    right = sum(made.likeliest(said)[0] == truth[task] for task, said in votes.items())
    plain = sum(max(("first", "second", "tie"), key=[s for _, s in said].count) == truth[task] for task, said in votes.items())
    assert right > plain


BY_HAND = Estimate(
    {"first": 0.5, "second": 0.5},
    {
        1: {"first": {"first": 0.9, "second": 0.1}, "second": {"first": 0.1, "second": 0.9}},
        2: {"first": {"first": 0.6, "second": 0.4}, "second": {"first": 0.4, "second": 0.6}},
        3: {"first": {"first": 0.6, "second": 0.4}, "second": {"first": 0.4, "second": 0.6}},
    },
)


def test_probabilities_by_hand():
    # 0.9 · 0.4 · 0.4 = 0.144 for the first, 0.1 · 0.6 · 0.6 = 0.036 for the second.
    assert BY_HAND.probabilities([(1, "first"), (2, "second"), (3, "second")])["first"] == pytest.approx(0.8)
    assert BY_HAND.likeliest([(1, "first"), (2, "second"), (3, "second")]) == ("first", pytest.approx(0.8))
    assert BY_HAND.likeliest([]) == ("first", 0.5)
    assert BY_HAND.reliability_of(1) == pytest.approx(0.9) and BY_HAND.reliability_of(9) is None
    assert BY_HAND.probabilities([(9, "first")])["first"] == pytest.approx(0.7)  # a newcomer: the mean of 0.9, 0.6 and 0.6


def test_who_has_judged_little_is_not_taken_for_perfect():
    # Four judgements, half of them where the first is true: e = (2 · 0.9 + 1/2) / (2 + 1), and (2 · 0.1 + 1/2) / 3 otherwise.
    few = Estimate(BY_HAND.priors, BY_HAND.errors, {1: 4})
    assert few.probabilities([(1, "first")])["first"] == pytest.approx(2.3 / (2.3 + 0.7))


def test_the_verdict_weighs_as_much_as_its_answer_is_likely():
    votes = [Vote(11, 1, FIRST, 2), Vote(12, 2, SECOND, 1), Vote(13, 3, SECOND, 1)]
    [verdict] = by_reliability(votes, BY_HAND, 0.75)
    assert (verdict.winner, verdict.strength, verdict.weight) == (FIRST, 2.0, pytest.approx(0.8))
    assert by_reliability(votes, BY_HAND, 0.85) is NoTriple.UNCERTAIN


# -- from the database -------------------------------------------------------------------------------------


@pytest.fixture
def judged(project):
    """Three who agree with each other, one who answers by chance; each comparison asks three of them."""
    project.consensus, project.confidence_bar = Consensus.RELIABILITY, 0.9
    project.save()
    people = [make_member(project, "annotator") for _ in range(4)]
    draw = random.Random(1)
    for _ in range(40):
        comparison = make_comparison(project, judgements_required=3)
        right = draw.choice([FIRST, SECOND])
        for person in draw.sample(people, 3):
            judge(comparison, person, draw.choice([FIRST, SECOND]) if person is people[3] else right)
    return people


def test_a_project_by_reliability(project, judged):
    settlement = settle(project=project)
    assert settlement.rule == "reliability" and len(settlement.triples) == 40
    stored = stored_estimate(project)
    reliabilities = [reliability_in(project).reliability_of(person.pk) for person in judged]
    assert min(reliabilities[:3]) > 0.95 > 0.85 > reliabilities[3] and stored.judgements == 120
    assert all(0.8 <= triple.weight <= 1.0 for triple in settlement.triples)


def test_a_dataset_is_made_by_a_fresh_estimate_and_a_look_by_the_one_that_is_there(project, judged):
    settle(project=project)
    made_at = stored_estimate(project).made_at
    judge(make_comparison(project), judged[0], FIRST)
    settle(project=project)
    assert stored_estimate(project).made_at == made_at and not is_current(stored_estimate(project))
    settle(project=project, fresh=True)
    assert stored_estimate(project).judgements == 121 and is_current(stored_estimate(project))
    made_at = stored_estimate(project).made_at
    settle(project=project, fresh=True)
    assert stored_estimate(project).made_at == made_at


def test_nothing_judged_gives_nothing(project):
    project.consensus = Consensus.RELIABILITY
    assert settle(project=project, fresh=True).triples == []


def test_what_is_not_likely_enough_is_in_dispute_until_it_is(project, judged, manager):
    torn = make_comparison(project, judgements_required=2)
    judge(torn, judged[0], FIRST), judge(torn, judged[1], SECOND)
    waiting = make_comparison(project, judgements_required=3)
    judge(waiting, judged[0], FIRST), judge(waiting, judged[1], SECOND)
    refresh_estimate(project=project)
    dispute = Dispute.objects.get(low_confidence=True)
    assert dispute.pk == torn.pk and 0.5 <= dispute.confidence < project.confidence_bar
    assert settle(project=project).counts["uncertain"] == 1
    judge(torn, judged[2], FIRST)
    refresh_estimate(project=project)
    assert not Dispute.objects.filter(low_confidence=True).exists()


def test_what_is_settled_is_known_to_the_estimate_and_not_disputed(project, judged, manager):
    torn = make_comparison(project, judgements_required=2)
    judge(torn, judged[0], FIRST), judge(torn, judged[1], SECOND)
    before = refresh_estimate(project=project)
    settle_comparison(comparison_id=torn.pk, by=manager, outcome=SECOND, strength=1, grades=Grades.TWO, why="It is right.")
    assert not is_current(before)
    refresh_estimate(project=project)
    made = reliability_in(project)
    assert made.reliability_of(judged[1].pk) > made.reliability_of(judged[0].pk)
    assert not Dispute.objects.waiting().filter(pk=torn.pk).exists()


# -- the least grade ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("grades", "strength", "least", "gives"), [
    (6, 1, LeastGrade.ANY, True), (6, 1, LeastGrade.SLIGHTLY, True), (6, 1, LeastGrade.BETTER, False),
    (6, 3, LeastGrade.SIGNIFICANTLY, True), (6, 2, LeastGrade.SIGNIFICANTLY, False), (4, 2, LeastGrade.SIGNIFICANTLY, True),
    (8, 1, LeastGrade.SLIGHTLY, False), (8, 2, LeastGrade.SLIGHTLY, True), (2, 1, LeastGrade.BETTER, True),
])  # fmt: skip
@pytest.mark.parametrize("rule", ["majority", "unanimous", "every", "reliability"])
def test_the_least_grade_by_its_words_whatever_the_scale(project, annotator, rule, grades, strength, least, gives):
    project.consensus, project.least_grade = rule, least
    judge(make_comparison(project), annotator, FIRST, grades=grades, strength=strength)
    settlement = settle(project=project)
    assert (len(settlement.triples), settlement.counts["weak"]) == ((1, 0) if gives else (0, 1))


def test_several_who_agree_count_by_their_mean(project):
    project.least_grade = LeastGrade.BETTER
    for strengths, gives in (((1, 3, 3), 1), ((1, 1, 3), 0)):
        comparison = make_comparison(project, judgements_required=3)
        for strength in strengths:
            judge(comparison, make_member(project, "annotator"), FIRST, grades=6, strength=strength)
        assert sum(triple.comparison_id == comparison.pk for triple in settle(project=project).triples) == gives
