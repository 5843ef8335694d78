"""What a card tells of an export: counted while its rows go by, in memory that does not grow with them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from annotate.consensus.judged import JudgedComparison
from annotate.consensus.triples import Triple
from annotate.judging.ratings import RatedAnswer
from annotate.models.judgement import Outcome

NOMINAL = {outcome: place for place, outcome in enumerate(Outcome)}


@dataclass
class ExportFigures:
    lengths: dict[str, Counter[int]] = field(default_factory=dict)  # of each part of a row: how many have so many characters
    outcomes: Counter[str] = field(default_factory=Counter)
    people: set[str] = field(default_factory=set)  # pseudonyms
    patterns: Counter[tuple[int, ...]] = field(default_factory=Counter)  # what several people said of the same pair

    def watch(self, items: Iterable[Any]) -> Iterator[Any]:
        """The same items, counted on their way."""
        for item in items:
            if isinstance(item, Triple):
                self._measure(prompt=item.prompt, chosen=item.chosen, rejected=item.rejected)
            elif isinstance(item, RatedAnswer):
                self._measure(prompt=item.prompt, answer=item.text)
                self.outcomes["thumb up" if item.good else "thumb down"] += 1
                self.people.add(item.annotator)
            else:
                self._note_judged(item)
            yield item

    def _note_judged(self, item: JudgedComparison) -> None:
        self._measure(prompt=item.prompt, first=item.first, second=item.second)
        self.outcomes.update(answer.outcome.label for answer in item.answers)
        self.people.update(answer.annotator for answer in item.answers)
        if len(item.answers) > 1:
            self.patterns[tuple(sorted(NOMINAL[answer.outcome] for answer in item.answers))] += 1

    def _measure(self, *, prompt: list[dict[str, str]], **texts: str) -> None:
        found = {"prompt": sum(len(message["content"]) for message in prompt)} | {name: len(text) for name, text in texts.items()}
        for name, length in found.items():
            self.lengths.setdefault(name, Counter())[length] += 1


def median(lengths: Counter[int]) -> int:
    """The lower one of two in the middle. Example: {3: 1, 7: 2} → 7."""
    half, seen = (lengths.total() + 1) // 2, 0
    for length in sorted(lengths):
        seen += lengths[length]
        if seen >= half:
            return length
    return 0
