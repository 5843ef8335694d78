"""From judgements to triples: the rule by hand, then what the database gives."""

import itertools
import uuid

import pytest
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotate.consensus.triples import Chosen, settle
from annotate.consensus.verdicts import RULES, NoTriple, Vote, every, majority, unanimous
from annotate.models import Assignment, Judgement
from annotate.models.judgement import Outcome
from annotate.models.project import Consensus
from tests.builders import make_comparison, make_completion, make_member, make_project, make_prompt, make_version

FIRST, SECOND, TIE, BOTH_BAD = Outcome.FIRST, Outcome.SECOND, Outcome.TIE, Outcome.BOTH_BAD
NONE = dict.fromkeys(map(str, NoTriple), 0)


def votes(*outcomes, strengths=None):
    strengths = strengths or [1] * len(outcomes)
    return [Vote(n, n, outcome, strength) for n, (outcome, strength) in enumerate(zip(outcomes, strengths, strict=True), 1)]


BY_HAND = [
    ((FIRST,), FIRST),
    ((SECOND,), SECOND),
    ((TIE,), NoTriple.TIE),
    ((BOTH_BAD,), NoTriple.BOTH_BAD),
    ((FIRST, SECOND), NoTriple.DISAGREEMENT),
    ((FIRST, TIE), NoTriple.DISAGREEMENT),
    ((TIE, BOTH_BAD), NoTriple.DISAGREEMENT),
    ((FIRST, FIRST, SECOND), FIRST),
    ((SECOND, TIE, SECOND), SECOND),
    ((TIE, TIE, FIRST), NoTriple.TIE),
    ((BOTH_BAD, FIRST, BOTH_BAD), NoTriple.BOTH_BAD),
    ((FIRST, SECOND, TIE), NoTriple.DISAGREEMENT),
    ((FIRST, FIRST, SECOND, TIE), NoTriple.DISAGREEMENT),  # more than second, but half is not more than half
    ((FIRST, FIRST, SECOND, SECOND), NoTriple.DISAGREEMENT),
    ((FIRST, FIRST, FIRST, SECOND, TIE), FIRST),
]


def winners(made) -> list[Outcome] | NoTriple:
    return made if isinstance(made, NoTriple) else [verdict.winner for verdict in made]


@pytest.mark.parametrize(("outcomes", "expected"), BY_HAND)
def test_majority_by_hand(outcomes, expected):
    assert winners(majority(votes(*outcomes))) == (expected if isinstance(expected, NoTriple) else [expected])


UNANIMOUS_BY_HAND = [
    ((FIRST,), [FIRST]),
    ((SECOND, SECOND, SECOND), [SECOND]),
    ((FIRST, FIRST, SECOND), NoTriple.DISAGREEMENT),
    ((FIRST, FIRST, TIE), NoTriple.DISAGREEMENT),
    ((TIE, TIE), NoTriple.TIE),
    ((BOTH_BAD,), NoTriple.BOTH_BAD),
    ((TIE, BOTH_BAD), NoTriple.DISAGREEMENT),
]


@pytest.mark.parametrize(("outcomes", "expected"), UNANIMOUS_BY_HAND)
def test_unanimous_by_hand(outcomes, expected):
    assert winners(unanimous(votes(*outcomes))) == expected


EVERY_BY_HAND = [
    ((FIRST,), [FIRST]),
    ((FIRST, SECOND, TIE, FIRST), [FIRST, SECOND, FIRST]),
    ((BOTH_BAD, SECOND), [SECOND]),
    ((TIE, TIE), NoTriple.TIE),
    ((BOTH_BAD, BOTH_BAD), NoTriple.BOTH_BAD),
    ((TIE, BOTH_BAD), NoTriple.DISAGREEMENT),
]


@pytest.mark.parametrize(("outcomes", "expected"), EVERY_BY_HAND)
def test_every_by_hand(outcomes, expected):
    assert winners(every(votes(*outcomes))) == expected


@pytest.mark.parametrize("rule", RULES.values())
def test_the_rules_obey_their_laws(rule):
    """The order of votes changes nothing; swapping the sides of all swaps the winners; of one vote all make the same."""
    for outcomes in itertools.chain.from_iterable(itertools.product(Outcome, repeat=n) for n in range(1, 6)):
        made = winners(rule(votes(*outcomes)))
        mirrored = winners(rule(votes(*(outcome.swapped for outcome in outcomes))))
        shuffled = winners(rule(votes(*sorted(outcomes))))
        if isinstance(made, NoTriple):
            assert made == mirrored == shuffled
        else:
            assert mirrored == [winner.swapped for winner in made] and sorted(shuffled) == sorted(made)
            assert rule is every or 2 * outcomes.count(made[0]) > len(outcomes)
        if len(outcomes) == 1:
            assert made == winners(majority(votes(*outcomes)))


def test_strength_is_the_mean_of_the_winners():
    [verdict] = majority(votes(FIRST, SECOND, FIRST, strengths=[3, 4, 2]))
    assert (verdict.strength, verdict.weight) == (2.5, 1.0)
    [verdict] = unanimous(votes(FIRST, FIRST, strengths=[4, 1]))
    assert (verdict.strength, verdict.weight) == (2.5, 1.0)
    assert [verdict.strength for verdict in every(votes(FIRST, SECOND, TIE, strengths=[3, 4, 0]))] == [3.0, 4.0]


def test_every_rule_a_project_can_choose_exists():
    assert {*RULES, "reliability"} == set(Consensus.values)


# -- from the database -------------------------------------------------------------------------------------


@pytest.fixture
def crowd(project):
    return [make_member(project, "annotator") for _ in range(3)]


def answer(comparison, person, outcome, withdrawn=False):
    assignment, _ = Assignment.objects.get_or_create(
        comparison=comparison,
        annotator=person,
        defaults={"swapped": False, "state": "judged", "expires_at": timezone.now()},
    )
    return Judgement.objects.create(
        key=uuid.uuid4(),
        assignment=assignment,
        comparison=comparison,
        annotator=person,
        outcome=outcome,
        strength=1 if outcome in (FIRST, SECOND) else 0,
        withdrawn_at=timezone.now() if withdrawn else None,
    )


@pytest.mark.parametrize(("outcome", "won"), [(FIRST, 0), (SECOND, 1)])
def test_a_triple_knows_where_it_came_from(project, crowd, outcome, won):
    prompt = make_prompt(project, split="heldout")
    versions = make_version(project), make_version(project)
    sides = [make_completion(prompt, text=text, version=v) for text, v in zip(("one", "two"), versions, strict=True)]
    comparison = make_comparison(project, prompt, first=sides[0], second=sides[1])
    judgement = answer(comparison, crowd[0], outcome)
    [triple] = settle(project=project).triples
    assert (triple.prompt, triple.split, triple.comparison_id) == (prompt.messages, "heldout", comparison.pk)
    assert (triple.chosen, triple.rejected) == (sides[won].text, sides[1 - won].text)
    assert (triple.chosen_version_id, triple.rejected_version_id) == (versions[won].pk, versions[1 - won].pk)
    assert (triple.judgement_ids, triple.strength, triple.weight) == ((judgement.pk,), 1.0, 1.0)


@pytest.mark.parametrize(("outcome", "truncated"), [(FIRST, (False, True)), (SECOND, (True, False))])
def test_a_triple_knows_which_answer_was_cut_at_the_limit(project, crowd, outcome, truncated):
    prompt = make_prompt(project)
    whole, cut = make_completion(prompt, "One.", finish_reason="stop"), make_completion(prompt, "Two and", finish_reason="length")
    answer(make_comparison(project, prompt, first=whole, second=cut), crowd[0], outcome)
    [triple] = settle(project=project).triples
    assert (triple.chosen_truncated, triple.rejected_truncated) == truncated


def test_what_gives_no_triple_is_counted_by_reason(project, crowd):
    def judged(*outcomes, required=1, **fields):
        comparison = make_comparison(project, judgements_required=required, **fields)
        return [answer(comparison, person, outcome) for person, outcome in zip(crowd, outcomes, strict=False)]

    judged(TIE), judged(BOTH_BAD), judged(BOTH_BAD)
    judged(FIRST, SECOND)
    judged(FIRST, FIRST, required=3)
    prompt = make_prompt(project)
    judged(FIRST, prompt=prompt, first=make_completion(prompt, "Same."), second=make_completion(prompt, " Same.\n"))
    answer(make_comparison(project), crowd[0], FIRST, withdrawn=True)
    make_comparison(project)
    outvoted = judged(FIRST, FIRST, SECOND, required=3)
    settlement = settle(project=project)
    assert settlement.counts == NONE | {
        "tie": 1, "both_bad": 2, "disagreement": 1, "incomplete": 1, "identical": 1, "withdrawn": 1,
    }  # fmt: skip
    assert [triple.judgement_ids for triple in settlement.triples] == [tuple(j.pk for j in outvoted)]
    assert settlement.rule == "majority"


def test_every_judgement_gives_its_own_triple_and_waits_for_nobody(project, crowd):
    project.consensus = Consensus.EVERY
    divided, waiting, tied = (make_comparison(project, judgements_required=3) for _ in range(3))
    first, second, _ = [answer(divided, *each) for each in zip(crowd, (FIRST, SECOND, TIE), strict=True)]
    alone = answer(waiting, crowd[0], SECOND)
    answer(tied, crowd[0], TIE)
    settlement = settle(project=project)
    assert [(triple.comparison_id, triple.judgement_ids, triple.chosen) for triple in settlement.triples] == [
        (divided.pk, (first.pk,), divided.first.text), (divided.pk, (second.pk,), divided.second.text),
        (waiting.pk, (alone.pk,), waiting.second.text),
    ]  # fmt: skip
    assert (settlement.rule, settlement.counts) == ("every", NONE | {"tie": 1})


def test_unanimous_asks_all_and_waits_for_them(project, crowd):
    project.consensus = Consensus.UNANIMOUS
    alike, divided, waiting = (make_comparison(project, judgements_required=3) for _ in range(3))
    for person in crowd:
        answer(alike, person, FIRST)
        answer(divided, person, SECOND if person is crowd[2] else FIRST)
    answer(waiting, crowd[0], FIRST)
    settlement = settle(project=project)
    assert [(triple.comparison_id, len(triple.judgement_ids)) for triple in settlement.triples] == [(alike.pk, 3)]
    assert settlement.counts == NONE | {"disagreement": 1, "incomplete": 1}


def test_a_withdrawn_judgement_has_no_voice(project, crowd):
    comparison = make_comparison(project)
    answer(comparison, crowd[0], FIRST, withdrawn=True)
    standing = answer(comparison, crowd[0], SECOND)
    settlement = settle(project=project)
    assert [triple.judgement_ids for triple in settlement.triples] == [(standing.pk,)]
    assert settlement.triples[0].chosen == comparison.second.text
    assert settlement.counts == NONE


@pytest.mark.parametrize("purpose", ["evaluate", "gold"])
def test_only_training_comparisons_count(project, crowd, purpose):
    answer(make_comparison(project, purpose=purpose), crowd[0], FIRST)
    answer(make_comparison(project, purpose=purpose), crowd[0], TIE)
    answer(make_comparison(project, purpose=purpose), crowd[0], FIRST, withdrawn=True)
    answer(make_comparison(make_project()), crowd[0], FIRST)
    settlement = settle(project=project)
    assert (settlement.triples, settlement.counts) == ([], NONE)


def test_in_the_order_of_comparisons_whatever_the_order_of_answers(project, crowd):
    comparisons = [make_comparison(project, priority=-n) for n in range(5)]
    for comparison in (comparisons[n] for n in (3, 1, 4, 0, 2)):
        answer(comparison, crowd[0], FIRST)
    assert [triple.comparison_id for triple in settle(project=project).triples] == [c.pk for c in comparisons]


def test_four_queries_for_one_as_for_thirty(project, crowd, monkeypatch):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            settlement = settle(project=project)
        return len(captured), len(settlement.triples)

    monkeypatch.setattr("annotate.consensus.triples.READ_AT_ONCE", 7)  # several reads, and comparisons that straddle two of them
    answer(make_comparison(project), crowd[0], FIRST)
    one, _ = queries()
    for _ in range(30):
        comparison = make_comparison(project, judgements_required=2)
        answer(comparison, crowd[0], FIRST), answer(comparison, crowd[1], FIRST)
    thirty, triples = queries()
    assert triples == 31
    if connection.vendor == "sqlite":  # PostgreSQL streams through a server-side cursor that this does not see
        assert one == thirty == 4
    else:
        assert one == thirty <= 4


# -- which judgements count --------------------------------------------------------------------------------
def test_of_a_done_comparison_the_chosen_votes_decide_and_an_open_one_still_waits(project, crowd):
    done = make_comparison(project, judgements_required=3, free_places=0, state="done")
    anna, *others = [answer(done, person, outcome) for person, outcome in zip(crowd, (FIRST, SECOND, SECOND), strict=False)]
    answer(make_comparison(project, judgements_required=3), crowd[0], FIRST)
    assert settle(project=project).triples[0].chosen == done.second.text
    chosen = Chosen(votes=~Q(annotator__in=[other.annotator_id for other in others]))
    settlement = settle(project=project, chosen=chosen)
    [triple] = settlement.triples
    assert triple.chosen == done.first.text and triple.judgement_ids == (anna.pk,)
    assert settlement.counts["incomplete"] == 1


def test_pairs_and_rule_can_be_chosen(project, crowd):
    pair, other = (make_comparison(project, judgements_required=2, free_places=0, state="done") for _ in range(2))
    for person, outcome in zip(crowd, (FIRST, SECOND), strict=False):
        answer(pair, person, outcome)
        answer(other, person, FIRST)
    settlement = settle(project=project, chosen=Chosen(pairs=Q(comparison=pair), rule="every"))
    assert settlement.rule == "every" and [triple.comparison_id for triple in settlement.triples] == [pair.pk, pair.pk]
    assert [t.comparison_id for t in settle(project=project, chosen=Chosen(pairs=~Q(comparison=pair))).triples] == [other.pk]
