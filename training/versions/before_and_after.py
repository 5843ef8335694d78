"""Answers before and after: the same held-out prompts, answered greedily by two versions, with the differences marked."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from annotate.models import Completion, Prompt
from annotate.models.prompt import Split
from training.models import Version

SHOWN = 12  # prompts on a page
LONGEST = 1500  # words of one answer that are compared; what is longer is shown without marks

_WORDS = re.compile(r"\s+|[^\W_]+(?:['’][^\W_]+)*|.", re.DOTALL)


@dataclass(frozen=True)
class Part:
    text: str
    differs: bool


@dataclass(frozen=True)
class Sample:
    prompt: Prompt
    before: Completion
    after: Completion

    @property
    def same(self) -> bool:
        return self.before.text == self.after.text

    @property
    def before_parts(self) -> list[Part]:
        return list(parts(self.before.text, self.after.text))

    @property
    def after_parts(self) -> list[Part]:
        return list(parts(self.after.text, self.before.text))


def samples_of(version: Version, *, before: Version | None) -> list[Sample]:
    """Pairs of greedy answers (made by the describe job) to held-out prompts that both versions have answered."""
    if before is None:
        return []
    answers = (
        Completion.objects.filter(version__in=[version, before], temperature=0, prompt__split=Split.HELDOUT)
        .select_related("prompt")
        .order_by("prompt_id", "-id")
    )
    latest: dict[tuple[int, int], Completion] = {}
    for answer in answers:
        latest.setdefault((answer.prompt_id, answer.version_id), answer)
    samples = [
        Sample(after.prompt, latest[prompt_id, before.id], after)
        for (prompt_id, version_id), after in latest.items()
        if version_id == version.id and (prompt_id, before.id) in latest
    ]
    return samples[:SHOWN]


def parts(text: str, other: str) -> Iterator[Part]:
    """`text` in pieces that stand in `other` too and pieces that do not."""
    words, others = _WORDS.findall(text), _WORDS.findall(other)
    if max(len(words), len(others)) > LONGEST:
        yield Part(text, False)
        return
    for what, start, end, _, _ in SequenceMatcher(None, words, others, autojunk=False).get_opcodes():
        if start < end:
            yield Part("".join(words[start:end]), differs=what != "equal")
