"""Numbers in words: counts, lengths of time, sizes."""

from decimal import Decimal

from annotate.text.counting import counted


def lasting(seconds: float | None) -> str:
    """A length of time as one would say it: "12 s", "4 min", "2 h 5 min", "3 days"."""
    if seconds is None:
        return ""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return counted(round(hours / 24), "day")


def shortened(number: int | None) -> str:
    """A large count, short: 134515008 → "135 M"."""
    if not number:
        return "–"
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {letter}"
    return str(number)


def dollars(amount: Decimal | None) -> str:
    """With the digits that tell something: "$12.40", "$0.0031", "under $0.0001"."""
    if not amount:
        return "$0"
    if amount >= 1:
        return f"${amount:,.2f}"
    return f"${float(amount):.2g}" if amount >= Decimal("0.0001") else "under $0.0001"


NOUNS = {
    "incomplete": ("pair that waits for more judgements", "pairs that wait for more judgements"),
    "disagreement": ("disagreement", "disagreements"),
    "tie": ("tie", "ties"),
    "both_bad": ("both bad", "both bad"),
    "identical": ("pair of equal answers", "pairs of equal answers"),
    "uncertain": ("pair too uncertain", "pairs too uncertain"),
    "withdrawn": ("judgement taken back", "judgements taken back"),
    "weak": ("pair judged with too little strength", "pairs judged with too little strength"),
}


def reasons_in_words(counts: dict[str, int]) -> list[str]:
    """What was judged and gives no triple: {"tie": 3, "both_bad": 1} → ["3 ties", "1 both bad"]."""
    return [counted(count, *NOUNS.get(reason, (reason.replace("_", " "),) * 2)) for reason, count in counts.items() if count]
