"""Markdown to HTML that may be shown. What comes in (model output, prompts, guidelines) is hostile."""

import re
from collections.abc import Sequence
from functools import cache, partial

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES
from pygments.util import ClassNotFound

from annotate.text import formulas

LONGEST = 200_000  # characters; longer text is shown as it is
MOST_MARKS = {"[": 2_000, "*": 10_000, "_": 10_000}  # with more, which pairs with which takes time that grows as their square
LONGEST_FORMULA = 2_000  # characters between \( and \)
LONGEST_CODE = 20_000  # characters; longer code is not coloured (a lexer may be slow on hostile input)

TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
    "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {
    "a": {"href"}, "span": {"class"}, "ol": {"start"}, "th": {"class"}, "td": {"class"},
    **dict.fromkeys(formulas.TAGS, formulas.ATTRIBUTES),
}  # fmt: skip
CLASSES = {name for name in STANDARD_TYPES.values() if name} | {"math", "math-block", "no-image", "align-right", "align-center"}
ALIGNMENTS = {"text-align:right": "align-right", "text-align:center": "align-center"}
FORMULAS = {"\\(": ("\\)", "math_brackets"), "\\[": ("\\]", "math_brackets_block")}
MONEY = re.compile(r"\d[\d.,]*\s*(?:[a-z]{2,}|[-–/&])[^=+^\\]*", re.IGNORECASE)  # what stands between dollars in "$5 to 10$"
ADDRESS = re.compile(r"(https?://|mailto:)", re.IGNORECASE)


def render(text: str, *, breaks: bool = True, headings_from: int = 3) -> SafeString:
    r"""Sanitised HTML of the Markdown: tables, code with pygments' class names.

    `breaks`: a line break in the text is one on the page; without, it is a space (text wrapped by hand).

    `headings_from`: the level of its highest headings on the page, so that those who go from heading to heading find the
    page's own above them; whichever levels the text uses, none is left out between.

    Nothing in it loads anything: an image becomes its alternative text. Links lead to absolute addresses only, in a
    new tab. Mathematics between dollars, \( and \), or \[ and \], becomes MathML.
    """
    if len(text) > LONGEST or any(text.count(mark) > most for mark, most in MOST_MARKS.items()):
        return mark_safe(f"<pre>{escape(text)}</pre>")
    return mark_safe(_cleaner().clean(_markdown(breaks, headings_from).render(text)))


@cache
def _cleaner() -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=TAGS | formulas.TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_allow_value,
        set_tag_attribute_values={"a": {"target": "_blank"}},
        link_rel="noopener noreferrer nofollow",
        url_schemes={"http", "https", "mailto"},
    )


def _allow_value(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "class":
        return " ".join(name for name in value.split() if name in CLASSES) or None
    if attribute == "href":
        return value if ADDRESS.match(value) else None
    if attribute == "start":
        return value if value.isdecimal() else None
    return value


@cache
def _markdown(breaks: bool, headings_from: int) -> MarkdownIt:
    markdown = MarkdownIt("js-default", {"html": False, "breaks": breaks, "linkify": False, "highlight": _highlight})
    # Money is not mathematics: "$5 and $10", "from $5 to 10$".
    markdown.use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True, allow_labels=False)
    markdown.core.ruler.push("headings", partial(_place_headings, headings_from))
    markdown.inline.ruler.before("escape", "math_brackets", _find_formula)
    markdown.add_render_rule("math_brackets", _formula)
    markdown.add_render_rule("math_brackets_block", _math_block)
    markdown.add_render_rule("th_open", _cell)
    markdown.add_render_rule("td_open", _cell)
    markdown.add_render_rule("image", _image)
    markdown.add_render_rule("math_inline", _math)
    markdown.add_render_rule("math_inline_double", _math_block)
    markdown.add_render_rule("math_block", _math_block)
    return markdown


def _highlight(code: str, language: str, _attributes: str) -> str:
    if not language or len(code) > LONGEST_CODE:
        return ""
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return ""
    return highlight(code, lexer, HtmlFormatter(nowrap=True))


def _image(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    token = tokens[index]
    text = renderer.renderInlineAsText(token.children or [], options, env) or "without a description"
    return f'<span class="no-image">[image: {escape(text)}]</span>'


def _math(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    source = tokens[index].content.strip()
    return escape(f"${source}$") if MONEY.fullmatch(source) else _formula_html(source)


def _place_headings(first: int, state: StateCore) -> None:
    headings = [token for token in state.tokens if token.type in ("heading_open", "heading_close")]
    levels = {tag: f"h{min(6, level)}" for level, tag in enumerate(sorted({token.tag for token in headings}), start=first)}
    for token in headings:
        token.tag = levels[token.tag]


def _find_formula(state: StateInline, silent: bool) -> bool:
    r"""Models write \( … \) and \[ … \] as often as dollars."""
    closing, kind = FORMULAS.get(state.src[state.pos : state.pos + 2], ("", ""))
    if not kind:
        return False
    start = state.pos + 2
    end = state.src.find(closing, start, start + LONGEST_FORMULA)
    if end < 0 or not state.src[start:end].strip():
        return False
    if not silent:
        state.push(kind, "math", 0).content = state.src[start:end]
    state.pos = end + 2
    return True


def _formula(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    return _formula_html(tokens[index].content)


def _cell(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    """Columns keep their alignment, by a class: the Content Security Policy allows no style."""
    style = tokens[index].attrs.pop("style", "")
    if style in ALIGNMENTS:
        tokens[index].attrs["class"] = ALIGNMENTS[style]
    return renderer.renderToken(tokens, index, options, env)


def _math_block(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    return _formula_html(tokens[index].content, block=True)


def _formula_html(source: str, *, block: bool = False) -> str:
    """Laid out, or, if it cannot be read, its source."""
    source = source.strip()
    return f'<span class="math{" math-block" * block}">{formulas.mathml(source, block=block) or escape(source)}</span>'
