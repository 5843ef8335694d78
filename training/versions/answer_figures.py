"""What a draw of answers tells of the version that wrote them: length, how often they end by themselves, how varied they are."""

import math
import re
import statistics
from collections.abc import Sequence

_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def figures_of_answers(texts: Sequence[str], token_counts: Sequence[int], ended: Sequence[bool]) -> dict[str, float]:
    """`mean_tokens` with its standard error, `ended_share`, `distinct_1`, `distinct_2`, and `drawn`, how many there were."""
    figures = {
        "drawn": len(texts),
        "mean_tokens": round(statistics.fmean(token_counts), 2),
        "ended_share": round(statistics.fmean(ended), 4),
    }
    if len(texts) > 1:
        figures["mean_tokens_error"] = round(statistics.stdev(token_counts) / math.sqrt(len(texts)), 3)
    shares = {f"distinct_{n}": distinct(texts, n) for n in (1, 2)}
    return figures | {name: round(share, 4) for name, share in shares.items() if share is not None}


def distinct(texts: Sequence[str], n: int) -> float | None:
    """distinct-n (Li et al., arXiv:1510.03055): different n-grams of words over all of them, in all texts together.

    A model that says the same again and again has few. It falls with length: compare draws of alike lengths.
    Example: ("a b a",) has 2 of 3 words and 2 of 2 pairs. None where there is no n-gram.
    """
    grams = [gram for text in texts for gram in _grams(_WORD.findall(text.lower()), n)]
    return len(set(grams)) / len(grams) if grams else None


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
