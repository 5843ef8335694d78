"""Which judged pairs a dataset is made of: what people choose, checked, kept with the dataset, and told in words."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from annotate.consensus.triples import Chosen
from annotate.data.exports import Wanted
from annotate.models import Project
from annotate.models.project import Consensus
from annotate.models.scale import Grades, LeastGrade
from annotate.projects.judged import people_of
from training.models import Version

GENERATED = "generated"  # the source of pairs that a version wrote here; of imported ones it is "i" and the import's number
STRONGEST = max(Grades) // 2
FIRST_YEAR, LAST_YEAR = 1900, 9000


class FilterError(ValueError):
    """Filters that make no sense here: `fields` says of each what is wrong and what it may be."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("Filters: " + " ".join(f"{name}: {message}" for name, message in fields.items()))
        self.fields = fields


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What is not given leaves nothing out."""

    consensus: str = ""  # a rule; the project's if empty
    min_strength: int = 1  # of a triple: the mean strength of those who chose the winner
    since: date | None = None  # judged on this day or later
    until: date | None = None  # judged on this day or before
    people: tuple[int, ...] = ()  # only their judgements
    sources: tuple[str, ...] = ()  # GENERATED, "i3"
    versions: tuple[int, ...] = ()  # numbers: both answers were written by one of these
    fresh: bool = False  # an answer at least was written by the version that training starts from
    unpaired: bool = False  # with answers that are good or bad by themselves, for the loss kto
    ties: bool = False  # with pairs of which neither answer was preferred, for the loss dpo_ties

    @classmethod
    def read(cls, given: Mapping[str, Any], *, project: Project) -> "Filters":
        """From JSON or a form. Raises one FilterError for all that is wrong, also for what the project does not have."""
        names = {field.name for field in fields(cls)}
        faults = {name: f"No such filter. There are: {', '.join(sorted(names))}." for name in given if name not in names}
        found: dict[str, Any] = {}
        for name in sorted(names & set(given)):
            if given[name] in (None, "", [], ()):
                continue
            try:
                found[name] = _READ[name](given[name], project)
            except ValueError as error:
                faults[name] = str(error)
        if found.get("since") and found.get("until") and found["since"] > found["until"]:
            faults["until"] = f"Before the first day, {found['since']}. Take that day or a later one."
        if faults:
            raise FilterError(faults)
        return cls(**found)

    def as_json(self) -> dict[str, Any]:
        """What was chosen, without what was not: kept in `Dataset.filters`."""
        told = {field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name) != field.default}
        return {
            name: list(v) if isinstance(v, tuple) else v.isoformat() if isinstance(v, date) else v for name, v in told.items()
        }

    def chosen(self, *, project: Project, start: Version | None) -> Chosen:
        """The conditions for `annotate.consensus.triples`. `start`: the version that training starts from (for `fresh`)."""
        votes, pairs = Q(), Q()
        if self.since:
            votes &= Q(created_at__gte=_midnight(self.since))
        if self.until:
            votes &= Q(created_at__lt=_midnight(self.until + timedelta(days=1)))
        if self.people:
            votes &= Q(annotator__in=self.people)
        if self.sources:
            imports = [int(source[1:]) for source in self.sources if source != GENERATED]
            ours = Q(comparison__batch=None) if GENERATED in self.sources else Q(pk__in=[])
            pairs &= ours | Q(comparison__batch__number__in=imports)
        if self.versions:
            for side in ("first", "second"):
                pairs &= Q(**{f"comparison__{side}__version__number__in": self.versions})
        if self.fresh:
            written = {f"comparison__{side}__version": start for side in ("first", "second")} if start else {}
            pairs &= Q(*written.items(), _connector=Q.OR) if written else Q(pk__in=[])
        return Chosen(pairs=pairs, votes=votes, rule=self.consensus)

    def ratings(self, *, start: Version | None) -> Q:
        """The same conditions for ratings of single answers; their strength is always 1."""
        found = Q()
        if self.since:
            found &= Q(answered_at__gte=_midnight(self.since))
        if self.until:
            found &= Q(answered_at__lt=_midnight(self.until + timedelta(days=1)))
        if self.people:
            found &= Q(annotator__in=self.people)
        if self.sources:
            imports = [int(source[1:]) for source in self.sources if source != GENERATED]
            found &= (Q(batch=None) if GENERATED in self.sources else Q(pk__in=[])) | Q(batch__number__in=imports)
        if self.versions:
            found &= Q(completion__version__number__in=self.versions)
        if self.fresh:
            found &= Q(completion__version=start) if start else Q(pk__in=[])
        return found if self.min_strength == 1 else Q(pk__in=[])

    def wanted(self, *, project: Project, split: str = "", start: Version | None = None) -> Wanted:
        """The same for an export."""
        chosen, ratings = self.chosen(project=project, start=start), self.ratings(start=start)
        return Wanted(split=split, chosen=chosen, ratings=ratings, least=self.min_strength)


NO_FILTERS = Filters()


def filters_in_words(kept: Mapping[str, Any], *, names: Mapping[int, str]) -> list[tuple[str, str]]:
    """`Dataset.filters` as pairs of a title and what was chosen. `names`: how people are called to the one who reads."""
    told = []
    if rule := kept.get("consensus"):
        told.append(("Consensus", dict(Consensus.choices).get(rule, rule)))
    if bar := kept.get("confidence_bar"):
        told.append(("Likeliest answer", f"{bar:g} likely at least"))
    if least := kept.get("least_grade"):
        told.append(("Least grade", LeastGrade(least).label))
    if kept.get("min_strength", 1) > 1:
        told.append(("Least strength", f"{kept['min_strength']} of {STRONGEST}"))
    if kept.get("since") or kept.get("until"):
        told.append(("Judged", f"{kept.get('since', 'from the beginning')} to {kept.get('until', 'the day it was made')}"))
    if people := kept.get("people"):
        told.append(("People", ", ".join(names.get(pk, "somebody who has left") for pk in people)))
    if sources := kept.get("sources"):
        told.append(("Sources", ", ".join("generated here" if each == GENERATED else f"import {each}" for each in sources)))
    if versions := kept.get("versions"):
        told.append(("Written by", ", ".join(f"v{number}" for number in versions)))
    if kept.get("unpaired"):
        told.append(("Single answers", f"{kept.get('singles', 0):,}, rated by themselves or both bad, beside the pairs"))
    if kept.get("ties"):
        told.append(
            ("Ties", f"{kept.get('tied', 0):,} of its pairs: neither answer was preferred, and `tie` is true in their rows")
        )
    if kept.get("fresh"):
        told.append(("Stale pairs", f"left out: an answer at least is by v{kept.get('start', '?')}, from which it started"))
    return told


# -- reading one filter: the value, or a ValueError that says what it may be ---------------------------------


def _consensus(value: Any, project: Project) -> str:
    if value not in Consensus.values:
        raise ValueError(f"No such rule. There are: {', '.join(Consensus.values)}.")
    return str(value)


def _strength(value: Any, project: Project) -> int:
    if isinstance(value, bool) or not str(value).isdecimal() or not 1 <= int(value) <= STRONGEST:
        raise ValueError(f"A whole number from 1, which keeps all, to {STRONGEST}, the strongest grade there is.")
    return int(value)


def _day(value: Any, project: Project) -> date:
    try:
        day = value if isinstance(value, date) and not isinstance(value, datetime) else date.fromisoformat(str(value))
    except ValueError:
        raise ValueError("A day, written as 2026-01-31.") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:  # the day after the last one is asked for, too, and in every time zone
        raise ValueError(f"A day of the years {FIRST_YEAR} to {LAST_YEAR}.")
    return day


def _people(value: Any, project: Project) -> tuple[int, ...]:
    """Numbers or user names, of members and of who has judged."""
    asked = {str(each) for each in _listed(value)}
    found = {pk: name for pk, name in people_of(project).values_list("pk", "username") if str(pk) in asked or name in asked}
    strange = asked - {str(pk) for pk in found} - set(found.values())
    if strange:
        raise ValueError(f"{', '.join(sorted(strange))}: nobody of that name is or was here. Give user names.")
    return tuple(sorted(found))


def _sources(value: Any, project: Project) -> tuple[str, ...]:
    known = [GENERATED, *(f"i{number}" for number in project.imports.order_by("number").values_list("number", flat=True))]
    return _among(known, [str(each) for each in _listed(value)], "source")


def _versions(value: Any, project: Project) -> tuple[int, ...]:
    known = {str(number): number for number in project.versions.order_by("number").values_list("number", flat=True)}
    return tuple(known[each] for each in _among(list(known), [str(each).removeprefix("v") for each in _listed(value)], "version"))


def _among(known: list[str], asked: list[str], noun: str) -> tuple[str, ...]:
    if strange := sorted(set(asked) - set(known)):
        told = ", ".join(known[:20]) + (" …" if len(known) > 20 else "")
        raise ValueError(f"{', '.join(strange)}: no such {noun}. There are: {told or 'none'}.")
    return tuple(each for each in known if each in set(asked))


def _yes_or_no(value: Any, project: Project) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false.")
    return value


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple) or len(value) > 1000 or any(isinstance(each, dict | list | bool) for each in value):
        raise ValueError("A list of them.")
    if any("\0" in str(each) for each in value):
        raise ValueError("A list of names, without NUL bytes.")
    return list(value)


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


_READ = {
    "consensus": _consensus,
    "min_strength": _strength,
    "since": _day,
    "until": _day,
    "people": _people,
    "sources": _sources,
    "versions": _versions,
    "fresh": _yes_or_no,
    "unpaired": _yes_or_no,
    "ties": _yes_or_no,
}
