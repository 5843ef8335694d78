"""LaTeX formulas as MathML, which browsers lay out themselves and screen readers read."""

from xml.etree import ElementTree

from latex2mathml.converter import convert

LONGEST = 1_000  # characters
DEEPEST = 20  # braces within braces; the converter calls itself for each

# Presentation elements of MathML Core (W3C); what else a converter may write (links, styles, actions) is not taken.
TAGS = {
    "math", "merror", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mpadded", "mphantom", "mprescripts", "mroot", "mrow",
    "ms", "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover",
}  # fmt: skip
ATTRIBUTES = {
    "accent", "accentunder", "columnalign", "depth", "display", "displaystyle", "fence", "form", "height", "linethickness",
    "lspace", "mathvariant", "maxsize", "minsize", "movablelimits", "rspace", "scriptlevel", "separator", "stretchy", "symmetric",
    "voffset", "width",
}  # fmt: skip


def mathml(source: str, *, block: bool) -> str | None:
    r"""MathML of a formula, with known elements and attributes only; None when it cannot be read: its source is shown then.

    Example: `x^2` → `<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>`.
    """
    if len(source) > LONGEST or _depth(source) > DEEPEST:
        return None
    try:
        root = ElementTree.fromstring(convert(source, display="block" if block else "inline"))
    except Exception:  # the converter raises errors of many kinds; and text it did not escape is no XML
        return None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if element.tag not in TAGS:
            return None
        for name in set(element.attrib) - ATTRIBUTES:
            del element.attrib[name]
    return ElementTree.tostring(root, encoding="unicode")


def _depth(source: str) -> int:
    """At most so many groups, roots, scripts and \\left … \\right lie within each other."""
    deepest = depth = 0
    for character in source:
        depth += {"{": 1, "}": -1}.get(character, 0)
        deepest = max(deepest, depth)
    return deepest + sum(source.count(opening) for opening in ("\\left", "\\sqrt", "^^", "__"))
