"""Single answers that are good or bad by themselves, for losses that learn from them (KTO): ratings, and both-bad judgements."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter

from django.db.models import Exists, OuterRef, Q

from annotate.consensus.exclusions import excluded_people
from annotate.models import Comparison, Project, Rating
from annotate.models.comparison import Purpose
from annotate.models.completion import FinishReason
from annotate.models.prompt import Split

READ_AT_ONCE = 2000  # rows held while reading


@dataclass(frozen=True, slots=True)
class Single:
    prompt: list[dict[str, str]]
    text: str
    good: bool
    split: Split
    truncated: bool  # cut off at the generator's token limit: it did not end by itself
    judgement_ids: tuple[int, ...] = ()  # that found it bad, along with the other answer
    rating_ids: tuple[str, ...] = ()
    said_at: datetime | None = None  # its latest rating

    @property
    def chosen(self) -> str:
        return self.text if self.good else ""

    @property
    def rejected(self) -> str:
        return "" if self.good else self.text


FIELDS = {
    "completion": "completion_id",
    "key": "pk",
    "good": "good",
    "said_at": "answered_at",
    "prompt": "completion__prompt__messages",
    "split": "completion__prompt__split",
    "text": "completion__text",
    "finish": "completion__finish_reason",
}


def read_rated(*, project: Project, chosen: Q) -> Iterator[Single]:
    """What most of those who rated an answer say of it; nothing where they are divided. One streamed query.

    Answers of evaluations and of known answers are left out: they never train.
    """
    sides = Q(first=OuterRef("completion")) | Q(second=OuterRef("completion"))
    never_trains = Comparison.objects.filter(sides).exclude(purpose=Purpose.TRAIN)
    ratings = Rating.objects.given().filter(chosen, ~Exists(never_trains), completion__prompt__project=project)
    ratings = ratings.exclude(annotator__in=excluded_people(project)).order_by("completion_id", "pk")
    rows = ratings.values_list(*FIELDS.values()).iterator(chunk_size=READ_AT_ONCE)
    for _, group in groupby(rows, key=itemgetter(0)):
        same = [dict(zip(FIELDS, row, strict=True)) for row in group]
        balance = sum(1 if row["good"] else -1 for row in same)
        if not balance:
            continue
        of_them = [row for row in same if row["good"] == (balance > 0)]
        yield Single(
            prompt=same[0]["prompt"],
            text=same[0]["text"],
            good=balance > 0,
            split=Split(same[0]["split"]),
            truncated=same[0]["finish"] == FinishReason.LENGTH,
            rating_ids=tuple(str(row["key"]) for row in of_them),
            said_at=max(row["said_at"] for row in of_them),
        )
