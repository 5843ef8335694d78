"""What a dataset made now would hold: counted, of all judged pairs or of some of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import F, Q
from django.db.models.functions import Mod
from django.db.models.lookups import Exact

from annotate.consensus.singles import Single, read_rated
from annotate.consensus.triples import Settlement, Triple
from annotate.models import Judgement, Project
from annotate.models.comparison import Purpose
from annotate.models.prompt import Split
from training.datasets.filters import NO_FILTERS, Filters
from training.datasets.snapshots import GOOD_START, settle_filtered
from training.models import Dataset, Version

# Of a Preview, those that add up.
NUMBERS = ("train", "heldout", "new", "left_out", "singles", "singles_heldout", "ties", "ties_heldout")


@dataclass(frozen=True)
class Size:
    """How much text a triple, or many, hold: characters."""

    prompt: int = 0
    answers: int = 0
    longest: int = 0  # of one triple, the prompt once
    triples: int = 0


@dataclass(frozen=True)
class Preview:
    """What a dataset made now would hold."""

    train: int  # triples, and single answers where they count
    heldout: int
    new: int  # of those that would train, with a judgement that the dataset asked about does not hold
    without: dict[str, int]  # comparisons that give no triple, by reason
    left_out: int = 0  # judged training comparisons that the filters do not look at
    other: dict[str, int] = field(default_factory=dict)  # judged comparisons of other purposes, which never train
    size: Size = Size()  # of those that would train
    size_heldout: Size = Size()
    singles: int = 0  # of those that would train: answers by themselves
    singles_heldout: int = 0
    ties: int = 0  # of those that would train: pairs without a winner
    ties_heldout: int = 0
    at: datetime | None = None  # when it was true; None: at this moment
    share: float = 1.0  # of all judged pairs, from which it is told; below 1 the counts are about right

    @property
    def is_sample(self) -> bool:
        return self.share < 1

    @property
    def percent(self) -> str:
        """Of all judged pairs, those it is told from: "12", "0.3"."""
        return f"{100 * self.share:.0f}" if self.share >= 0.01 else f"{100 * self.share:.1g}"

    @property
    def few(self) -> str:
        """A word to whoever is about to train on less than a good start; it is allowed all the same."""
        if not 0 < self.train < GOOD_START:
            return ""
        return f"So few triples rarely move a model beyond noise; {GOOD_START} are a good start."

    def as_json(self) -> dict[str, Any]:
        told = asdict(self)
        return {name: told[name] for name in told if name not in ("at", "share")}

    @classmethod
    def from_json(cls, kept: dict[str, Any], *, at: datetime | None = None) -> "Preview":
        sizes = {name: Size(**kept[name]) for name in ("size", "size_heldout")}
        return cls(**kept | sizes, at=at)


def preview_dataset(
    *,
    project: Project,
    since: Dataset | None = None,
    filters: Filters = NO_FILTERS,
    start: Version | None = None,
    within: Q | None = None,
) -> Preview:
    """`start`: the version that training would start from. `within`: as `settle_filtered` takes it."""
    settlement = settle_filtered(project=project, filters=filters, start=start, within=within)
    return preview_of(settlement, project=project, since=since, within=within)


def preview_ratings(
    *, project: Project, since: Dataset | None, filters: Filters, start: Version | None, every: int = 1
) -> Preview:
    """Of single answers that were rated, and of these of every second, third, … one."""
    some = Q(Exact(Mod(F("completion_id"), every), 0))
    chosen = filters.ratings(start=start) & some
    rated = list(read_rated(project=project, chosen=chosen))
    return preview_of(Settlement("", [], {}, singles=rated), project=project, since=since, within=Q(pk__in=[]))


def preview_of(settlement: Settlement, *, project: Project, since: Dataset | None = None, within: Q | None = None) -> Preview:
    rows = [*settlement.triples, *settlement.singles]
    training = [row for row in rows if row.split == Split.TRAIN]
    known = _judgements_in(since, rows if within is not None else None) if since else frozenset()
    judged = _judged_by_purpose(project, within)
    looked_at = len({triple.comparison_id for triple in settlement.triples}) + sum(settlement.counts.values())
    return Preview(
        train=len(training),
        heldout=len(rows) - len(training),
        new=sum(_is_new(row, known, since) for row in training),
        without=dict(settlement.counts),
        left_out=max(0, judged.pop(Purpose.TRAIN, 0) - looked_at),
        other=judged,
        size=size_of(training),
        size_heldout=size_of([row for row in rows if row.split != Split.TRAIN]),
        singles=sum(single.split == Split.TRAIN for single in settlement.singles),
        singles_heldout=sum(single.split != Split.TRAIN for single in settlement.singles),
        ties=sum(triple.tie and triple.split == Split.TRAIN for triple in settlement.triples),
        ties_heldout=sum(triple.tie and triple.split != Split.TRAIN for triple in settlement.triples),
    )


def size_of(triples: Sequence[Triple | Single]) -> Size:
    prompts = [sum(len(message["content"]) for message in triple.prompt) for triple in triples]
    answers = [len(triple.chosen) + len(triple.rejected) for triple in triples]
    longest = max((one + both for one, both in zip(prompts, answers, strict=True)), default=0)
    return Size(prompt=sum(prompts), answers=sum(answers), longest=longest, triples=len(triples))


def merged(previews: Iterable[Preview]) -> Preview:
    """Of pairs apart from each other, what they are together."""
    all_of_them = list(previews)

    def size(name: str) -> Size:
        sizes = [getattr(each, name) for each in all_of_them]
        sums = {part: sum(getattr(each, part) for each in sizes) for part in ("prompt", "answers", "triples")}
        return Size(**sums, longest=max((each.longest for each in sizes), default=0))

    def counts(name: str) -> dict[str, int]:
        total: Counter[str] = Counter()
        for each in all_of_them:
            total.update(getattr(each, name))
        return dict(total)

    return Preview(
        **{name: sum(getattr(each, name) for each in all_of_them) for name in NUMBERS},
        without=counts("without"), other=counts("other"), size=size("size"), size_heldout=size("size_heldout"),
    )  # fmt: skip


def scaled(sample: Preview, *, share: float) -> Preview:
    """What all pairs hold if they are as the sample is, which is so much of them. Counts are round, to two digits."""
    if share == 1:
        return sample

    def up(number: int) -> int:
        return about(number / share)

    def size(each: Size) -> Size:
        sums = {part: round(getattr(each, part) / share) for part in ("prompt", "answers", "triples")}
        return Size(**sums, longest=each.longest)

    return Preview(
        **{name: up(getattr(sample, name)) for name in NUMBERS},
        without={name: up(number) for name, number in sample.without.items()},
        other={name: up(number) for name, number in sample.other.items()},
        size=size(sample.size), size_heldout=size(sample.size_heldout), share=share,
    )  # fmt: skip


def about(number: float) -> int:
    """Rounded to two digits: 812,345 → 810,000."""
    return int(float(f"{number:.2g}"))


def _is_new(row: Triple | Single, known: frozenset[int], since: Dataset | None) -> bool:
    if isinstance(row, Single) and row.said_at:
        return since is None or row.said_at > since.created_at
    return not known.issuperset(row.judgement_ids)


def _judged_by_purpose(project: Project, within: Q | None) -> dict[str, int]:
    """Comparisons that were ever judged, those that were taken back included."""
    judged = Judgement.objects.filter(within or Q(), comparison__project=project)
    rows = judged.values_list("comparison_id", "comparison__purpose")
    return dict(Counter(purpose for _, purpose in rows.order_by().distinct()))


def _judgements_in(dataset: Dataset, rows: Iterable[Triple | Single] | None) -> frozenset[int]:
    """All that it holds, or those of a few rows among them."""
    links = Dataset.judgements.through.objects.filter(dataset=dataset)
    if rows is not None:
        links = links.filter(judgement__in=sorted({pk for row in rows for pk in row.judgement_ids}))
    return frozenset(links.values_list("judgement_id", flat=True))
