"""Answers that name a model or its maker ("As ChatGPT …"), which would tell an annotator who wrote them."""

import re
from collections.abc import Iterable
from functools import lru_cache

from django.core.exceptions import ValidationError

from annotate.models import Project, Prompt

MOST = 100
LONGEST = 60  # characters


def read_names(text: str) -> list[str]:
    """One on each line; blank lines and repetitions, in whatever case, are left out."""
    lines = (" ".join(line.split()) for line in text.replace("\0", "").splitlines())
    return list({line.casefold(): line for line in reversed([*filter(None, lines)])}.values())[::-1]


def check_names(names: Iterable[str]) -> None:
    """Raises ValidationError, with all that is wrong with a project's list."""
    names = list(names)
    wrong = [f"“{name[:LONGEST]}…” is longer than {LONGEST} characters." for name in names if len(name) > LONGEST]
    wrong += [f"“{name}” has no letter." for name in names if not any(character.isalpha() for character in name)]
    if len(names) > MOST:
        wrong.append(f"At most {MOST} names; these are {len(names)}.")
    if wrong:
        raise ValidationError(wrong)


def names_its_maker(text: str, *, prompt: Prompt, project: Project) -> bool:
    """Whether an answer holds a name of the project's list that its prompt does not; never where the project does not ask.

    Whole words in whatever case, with or without a number after them: “SmolLM” is in “smollm2”, “Gemma” not in “gemmae”.
    A name that the prompt gives says nothing of who wrote the answer.
    """
    if not project.leaves_out_makers:
        return False
    found = _named(text, tuple(project.maker_names))
    return bool(found and found - _named("\n".join(turn["content"] for turn in prompt.messages), tuple(project.maker_names)))


def _named(text: str, names: tuple[str, ...]) -> set[str]:
    pattern = _any_of(names)
    return {_plain(match) for match in pattern.findall(text)} if pattern else set()


@lru_cache(maxsize=64)
def _any_of(names: tuple[str, ...]) -> re.Pattern[str] | None:
    longest_first = sorted(names, key=len, reverse=True)
    either = "|".join(r"\s+".join(map(re.escape, name.split())) for name in longest_first)
    return re.compile(rf"(?<![^\W_])(?:{either})(?![^\W\d_])", re.IGNORECASE) if names else None


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())
