"""Markdown is rendered, and nothing hostile survives it."""

import re
import time
from html import unescape

import pytest

from annotate.text.formulas import ATTRIBUTES
from annotate.text.markdown import LONGEST, LONGEST_CODE, render

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox(1))",
    "<javascript:alert(1)>",
    "![x](https://evil.example/pixel.png)",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "![a][b]\n\n[b]: https://evil.example/pixel.png",
    '<style>@import "https://evil.example/x.css"</style>',
    '<p style="position:fixed" id="pair" class="menu">x</p>',
    '<iframe src="https://evil.example"></iframe>',
    '<form action="/sign-out/" method="post"><button>x</button></form>',
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "```<img/src=x/onerror=alert(1)>\nx\n```",
    '```py"onmouseover="alert(1)\nx = 1\n```',
    "$<img src=x onerror=alert(1)>$",
    "$$\n</span><script>alert(1)</script>\n$$",
    '| <b onclick="x"> | [y](javascript:1) |\n| --- | --- |\n| <script>1</script> | ![z](//evil.example/p) |',
    "<!--><img src=x onerror=alert(1)>-->",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
]

TAG = re.compile(r"<(/?)([a-zA-Z0-9]+)([^>]*)>")
SAFE_TAG = re.compile(
    r'( class="[a-z0-9 -]+"| start="\d+"| href="(https?://|mailto:)[^"]*"'
    rf'| ({"|".join(ATTRIBUTES)})="[a-z0-9.]*"'
    r'| target="_blank"| rel="noopener noreferrer nofollow")*\s*/?'
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_leaves_only_harmless_tags(text):
    html = render(text)
    for _, tag, attributes in TAG.findall(html):
        assert tag.lower() not in {"script", "img", "svg", "style", "iframe", "form", "button", "meta", "b", "link"}
        assert SAFE_TAG.fullmatch(attributes), html


def test_an_image_becomes_its_text():
    assert render("![a *red* fox](https://x.example/fox.png)") == '<p><span class="no-image">[image: a red fox]</span></p>\n'


def test_an_image_in_a_link_becomes_the_text_of_the_link():
    html = render("[![build](https://x.example/badge.svg)](https://x.example/)")
    assert "badge.svg" not in html and "[image: build]" in html and 'href="https://x.example/"' in html


def test_links_open_elsewhere_and_tell_nobody():
    html = render("[here](https://example.org/a?b=1&c=2)")
    assert 'href="https://example.org/a?b=1&amp;c=2"' in html
    assert 'rel="noopener noreferrer nofollow"' in html and 'target="_blank"' in html


@pytest.mark.parametrize("address", ["/projects/taste/members/", "//evil.example/x", "?a=1", "members/", "#content"])
def test_an_address_of_this_site_is_no_link(address):
    assert "href" not in render(f"[here]({address})")


def test_code_is_coloured_by_class_names():
    html = render('```python\ndef f():\n    return "x"\n```')
    assert '<pre><code><span class="k">def</span>' in html and "style=" not in html


def test_code_in_an_unknown_language_stays_text():
    assert render("```nonesuch\na < b\n```") == "<pre><code>a &lt; b\n</code></pre>\n"


def test_tables_strikethrough_and_line_breaks():
    assert "<td>1</td>" in render("| a |\n| --- |\n| 1 |")
    assert "<s>no</s>" in render("~~no~~")
    assert render("one\ntwo") == "<p>one<br>\ntwo</p>\n"


@pytest.mark.parametrize(
    "text", ["$5 and $10", "It costs $5-$10.", "from $5 to 10$ a month", "$20/month or $200/year", "US$5, CA$7", "a $ sign"]
)
def test_money_is_not_mathematics(text):
    assert render(text) == f"<p>{text}</p>\n"


PLAIN = '<math display="inline"><mrow><msub><mi>a</mi><mn>1</mn></msub><mo>*</mo><msub><mi>b</mi><mn>1</mn></msub></mrow></math>'


@pytest.mark.parametrize("source", ["so $a_1 * b_1$ holds", r"so \(a_1 * b_1\) holds"])
def test_mathematics_becomes_mathml(source):
    assert render(source) == f'<p>so <span class="math">{PLAIN}</span> holds</p>\n'


@pytest.mark.parametrize("source", ["$$\n\\frac{a}{b} < 1\n$$", "that is\n\\[\n\\frac{a}{b} < 1\n\\]\nthen"])
def test_a_formula_of_its_own(source):
    html = render(source)
    assert '<span class="math math-block"><math display="block">' in html and "<mfrac>" in html and "<mo>&lt;</mo>" in html


@pytest.mark.parametrize("source", ["x^{", "{" * 60 + "}" * 60, "^" * 300, "\\sqrt" * 60 + "x", r"\text{<b>a</b>}", "x" * 1500])
def test_a_formula_that_cannot_be_read_is_its_source(source):
    html = render(rf"\({source}\)")
    assert "<math" not in html and "<b>" not in html and unescape(html) == f'<p><span class="math">{source}</span></p>\n'


@pytest.mark.parametrize(
    "source",
    [
        r"\href{javascript:alert(1)}{x}",
        r"\style{color:red}{x}",
        r"\text{\href{javascript:1}x}",
        r"\color{red}x",
        r"\class{bar}{x}",
    ],
)
def test_a_formula_brings_no_address_and_no_style(source):
    html = render(f"${source}$")
    assert not re.search(r"(href|style|src|on\w+|mathcolor)=", html) and 'class="bar' not in html


def test_what_is_no_formula():
    assert "math" not in render(r"`\(x\)` and \\(x\\) and \( \) and \(" + "x" * 3000 + r"\)")
    assert "<script>" not in render(r"\(<script>alert(1)</script>\)")


def test_headings_lie_below_those_of_the_page():
    assert render("# One\n\n### Two\n\n# Three") == "<h3>One</h3>\n<h4>Two</h4>\n<h3>Three</h3>\n"
    assert render("#### Deep") == "<h3>Deep</h3>\n"
    assert render("# One\n\n## Two", headings_from=2) == "<h2>One</h2>\n<h3>Two</h3>\n"
    assert "<h6>6</h6>" in render("\n\n".join(f"{'#' * level} {level}" for level in range(1, 7)))


def test_columns_keep_their_alignment():
    html = render("| a | b | c |\n| -: | :-: | - |\n| 1 | 2 | 3 |")
    assert '<th class="align-right">a</th>' in html and '<td class="align-center">2</td>' in html and "<td>3</td>" in html


def test_endless_input_is_answered_in_time():
    began = time.perf_counter()
    table = "|a" * 20_000 + "\n" + "|-" * 20_000
    for text in ["*a " * 20_000, "[" * 20_000, ">" * 5_000 + "x", "`" * 20_000, "- " * 5_000 + "x", table, r"\(" * 90_000]:
        render(text)
    render("```python\n" + '"' * (LONGEST_CODE + 1) + "\n```")
    assert "<script>" not in render("<script>" + "x" * LONGEST)
    assert time.perf_counter() - began < 60


@pytest.mark.parametrize("text", ["[" * 190_000, "![" * 90_000, "_a" * 90_000, "[[[]" * 45_000])
def test_marks_without_number_are_shown_as_they_are(text):
    """Which of them are pairs takes minutes to find out, and a web process with it."""
    began = time.perf_counter()
    assert render(text) == f"<pre>{text}</pre>"
    assert time.perf_counter() - began < 20
