"""Flags: a project's own short list of things that are wrong with a pair ("unsafe", "wrong language")."""

from collections.abc import Iterable

from django.core.exceptions import ValidationError

MOST = 9  # one for each number key
LONGEST = 40  # characters


def read_flags(text: str) -> list[str]:
    """One on each line; blank lines and repetitions are left out."""
    return list(dict.fromkeys(filter(None, (" ".join(line.split()) for line in text.replace("\0", "").splitlines()))))


def check_flags(flags: Iterable[str]) -> None:
    """Raises ValidationError, with all that is wrong with a project's list."""
    flags = list(flags)
    wrong = [f"“{flag[:LONGEST]}…” is longer than {LONGEST} characters." for flag in flags if len(flag) > LONGEST]
    if len(flags) > MOST:
        wrong.append(f"At most {MOST} flags, one for each number key; these are {len(flags)}.")
    if wrong:
        raise ValidationError(wrong)
