"""What an AI annotator is worth: the figures, and what a lead is told to make of them."""

import pytest

from annotate.quality.shares import Share
from tests.builders import make_comparison, make_member
from tests.collecting.judged import judge
from tests.training.endpoints import make_endpoint
from training.ai.annotators import create_ai_annotator
from training.ai.figures import AiFigures, figures_of
from training.models import AiVerdict

NONE = Share(0, 0)


def figures(judged=40, divided=(4, 40), chose_a=(40, 80), with_people=(30, 36), among_people=(30, 36)) -> AiFigures:
    return AiFigures(judged, 0, Share(*divided), Share(*chose_a), Share(*with_people), Share(*among_people))


@pytest.mark.parametrize(
    ("given", "tone", "words"),
    [
        ({"judged": 0}, "info", "nothing yet"),
        ({"divided": (30, 40)}, "warn", "judges places, not answers"),
        ({"divided": (3, 4)}, "good", "about as much"),  # four pairs say nothing
        ({"chose_a": (70, 80)}, "warn", "favours a place"),
        ({"chose_a": (10, 80)}, "warn", "favours a place"),
        ({"with_people": (9, 10)}, "info", "in 10 pairs, and 20 are needed"),
        ({"with_people": (18, 36)}, "warn", "no more than a coin"),
        ({"with_people": (6, 36)}, "error", "the opposite"),
        ({"with_people": (140, 200), "among_people": (190, 200)}, "warn", "less than people agree"),
        ({"among_people": (0, 0)}, "good", "not known yet"),
        ({}, "good", "about as much"),
    ],
)
def test_what_a_lead_is_told(given, tone, words) -> None:
    told = figures(**given).worth
    assert told[0] == tone and words in told[1]


def test_it_is_counted_against_people_and_they_among_themselves(project) -> None:
    endpoint = make_endpoint(project, "http://127.0.0.1:9/v1")
    brief = create_ai_annotator(project=project, name="Brief", rubric="Shorter.", endpoint=endpoint)
    people = [make_member(project, "annotator", name) for name in ("ada", "bob", "eve")]
    sitting = brief.sittings.create(project=project)
    # What it said; what people said. The last two pairs tell nothing: people are tied, or say that both are bad.
    rows = [("first", "first first second"), ("second", "first first first"), ("first", "first second"), ("first", "both_bad")]
    for outcome, theirs in rows:
        comparison = make_comparison(project, judgements_required=4)
        own = judge(comparison, brief.user, outcome)
        AiVerdict.objects.create(judgement=own, rubric=brief.rubric, sitting=sitting, shown_first=outcome, shown_second=outcome)
        for person, said in zip(people, theirs.split(), strict=False):
            judge(comparison, person, said)
    found = figures_of(brief)
    assert (found.judged, found.divided, found.chose_a) == (4, Share(0, 4), Share(4, 8))
    assert found.with_people == Share(1, 2)
    assert found.among_people == Share(1 + 3 + 0, 3 + 3 + 1)
