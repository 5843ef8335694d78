"""Markdown to HTML that may be shown. What comes in (model output, prompts, guidelines) is hostile."""

import re
from collections.abc import Sequence
from functools import cache

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES
from pygments.util import ClassNotFound

LONGEST = 200_000  # characters; longer text is shown as it is
MOST_MARKS = {"[": 2_000, "*": 10_000, "_": 10_000}  # with more, which pairs with which takes time that grows as their square
LONGEST_CODE = 20_000  # characters; longer code is not coloured (a lexer may be slow on hostile input)

TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
    "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {"a": {"href"}, "span": {"class"}, "ol": {"start"}}
CLASSES = {name for name in STANDARD_TYPES.values() if name} | {"math", "math-block", "no-image"}
MONEY = re.compile(r"\d[\d.,]*\s*(?:[a-z]{2,}|[-–/&])[^=+^\\]*", re.IGNORECASE)  # what stands between dollars in "$5 to 10$"
ADDRESS = re.compile(r"(https?://|mailto:)", re.IGNORECASE)


def render(text: str, *, breaks: bool = True) -> SafeString:
    """Sanitised HTML of the Markdown: tables, code with pygments' class names.

    `breaks`: a line break in the text is one on the page; without, it is a space (text wrapped by hand).

    Nothing in it loads anything: an image becomes its alternative text. Links lead to absolute addresses only, in a
    new tab. Mathematics between dollars is shown as its source.
    """
    if len(text) > LONGEST or any(text.count(mark) > most for mark, most in MOST_MARKS.items()):
        return mark_safe(f"<pre>{escape(text)}</pre>")
    return mark_safe(
        nh3.clean(
            _markdown(breaks).render(text),
            tags=TAGS,
            attributes=ATTRIBUTES,
            attribute_filter=_allow_value,
            set_tag_attribute_values={"a": {"target": "_blank"}},
            link_rel="noopener noreferrer nofollow",
            url_schemes={"http", "https", "mailto"},
        )
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
def _markdown(breaks: bool) -> MarkdownIt:
    markdown = MarkdownIt("js-default", {"html": False, "breaks": breaks, "linkify": False, "highlight": _highlight})
    # Money is not mathematics: "$5 and $10", "from $5 to 10$".
    markdown.use(dollarmath_plugin, allow_space=False, allow_digits=False, double_inline=True, allow_labels=False)
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
    return escape(f"${source}$") if MONEY.fullmatch(source) else f'<span class="math">{escape(source)}</span>'


def _math_block(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    return f'<span class="math math-block">{escape(tokens[index].content.strip())}</span>'
