"""Texts that people send."""


def storable(text: str) -> str:
    """The text without what no database takes (NUL, half a surrogate pair): nobody's words are lost for that."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
