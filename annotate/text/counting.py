"""Numbers in sentences."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """`counted(1, "pair")` → "1 pair"; `counted(1200, "pair")` → "1,200 pairs"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
