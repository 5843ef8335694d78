"""What the scripted annotators like. A taste sees two texts, as a person would, and nothing else."""

from collections.abc import Callable
from typing import Literal

Choice = Literal["a", "b", "tie", "both_bad"]
Taste = Callable[[str, str], Choice]

FEWEST_WORDS = 4


def is_adequate(text: str) -> bool:
    """An answer somebody could be given: a few words at least, and it ends where a sentence ends."""
    return len(text.split()) >= FEWEST_WORDS and text.rstrip(" \n*_`\"'”’)").endswith((".", "!", "?"))


def brief(a: str, b: str) -> Choice:
    """The shorter (in words) of two adequate answers; an adequate one before one that is not."""
    return _prefer(a, b, lambda text: -len(text.split()))


def detailed(a: str, b: str) -> Choice:
    """The longer (in words) of two adequate answers; an adequate one before one that is not."""
    return _prefer(a, b, lambda text: len(text.split()))


def _prefer(a: str, b: str, score: Callable[[str], float]) -> Choice:
    good_a, good_b = is_adequate(a), is_adequate(b)
    if not good_a and not good_b:
        return "both_bad"
    if good_a != good_b:
        return "a" if good_a else "b"
    if score(a) == score(b):
        return "tie"
    return "a" if score(a) > score(b) else "b"


TASTES: dict[str, Taste] = {"brief": brief, "detailed": detailed}


def win_score(taste: Taste, answer: str, rival: str) -> float:
    """1 if the taste prefers `answer`, 0 if it prefers `rival`, ½ for a tie or if both are bad."""
    return {"a": 1.0, "b": 0.0}.get(taste(answer, rival), 0.5)
