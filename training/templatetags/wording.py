"""The filters of `training.wording`, and figures as the templates write them."""

from django import template

from training import wording

register = template.Library()
register.filter("lasting", wording.lasting)
register.filter("shortened", wording.shortened)
register.filter("dollars", wording.dollars)


@register.filter
def counted(number: int, nouns: str) -> str:
    """`{{ 3|counted:"pair" }}`; an irregular plural stands after a comma: `"entry,entries"`."""
    return wording.counted(number or 0, *nouns.split(","))


@register.filter
def plainly(value: object) -> str:
    """A setting's value: 1e-05 rather than 0.00001, "none" for null."""
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


@register.filter
def rounded(number: object, digits: int) -> str:
    """The number with so many decimals; an en dash for what is not known."""
    return f"{number:.{digits}f}".replace("-", "−") if isinstance(number, int | float) else "–"


@register.filter
def percent(share: object, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %" if isinstance(share, int | float) else "–"
