"""Property tests: whatever was judged goes out in each format and comes back equal: every grade, both side orders, any text."""

import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotate.consensus.judged import Answer, JudgedComparison
from annotate.consensus.triples import Triple
from annotate.data.exports import write_rows
from annotate.data.import_previews import preview_import
from annotate.formats.registry import JUDGEMENT_WRITERS, READERS, TRIPLE_WRITERS, detect, read
from annotate.formats.rows import BadRow, PreferenceRow
from annotate.models.judgement import Outcome
from annotate.models.prompt import Split

OFTEN = settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
# What can be stored (annotate.formats.rows.check_text): anything that says something, without NUL and half surrogate pairs.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
WORDS = st.one_of(
    st.text(CHARACTERS, min_size=1, max_size=40),
    st.sampled_from(
        ["😀 👩‍👩‍👧", " leading", "trailing \n", "a\r\nb\rc\u2028d", '"quotes", \\ and ,', "\ufeffmark", "ⅷ\n" * 33_000]
    ),
).filter(str.strip)  # fmt: skip
GRADED = st.sampled_from([(2, 1), (4, 1), (4, 2), *((6, n) for n in (1, 2, 3)), *((8, n) for n in (1, 2, 3, 4))])


@st.composite
def prompts(draw) -> list[dict[str, str]]:
    turns = draw(st.lists(WORDS, min_size=1, max_size=3).filter(lambda found: len(found) % 2 == 1))
    messages = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(turns)]
    system = draw(st.none() | WORDS)
    return [{"role": "system", "content": system}, *messages] if system else messages


@st.composite
def judged(draw) -> JudgedComparison:
    grades, strength = draw(GRADED)
    outcome = draw(st.sampled_from(Outcome))
    first, second = draw(st.tuples(WORDS, WORDS).filter(lambda both: both[0].strip() != both[1].strip()))
    answer = Answer(
        key="0b9f9a52-2f0e-4c53-9c0c-1f6f2f5f7d11",
        annotator="a1b2c3",
        outcome=outcome,
        strength=strength if outcome in (Outcome.FIRST, Outcome.SECOND) else 0,
        swapped=draw(st.booleans()),
        created_at=datetime(2026, 5, 4, tzinfo=UTC),
        grades=grades,
        rationale=draw(st.just("") | WORDS),
    )
    return JudgedComparison(
        id=7, prompt=draw(prompts()), first=first, second=second, first_model="m1", second_model="m2", split="train",
        purpose="train", source="", answers=(answer,),
    )  # fmt: skip


@st.composite
def triples(draw) -> Triple:
    chosen, rejected = draw(st.tuples(WORDS, WORDS).filter(lambda both: both[0].strip() != both[1].strip()))
    strength = float(draw(st.integers(1, 4)))
    return Triple(draw(prompts()), chosen, rejected, Split.TRAIN, strength, 1.0, 7, (31,), None, None)


def through(module, format: str, item) -> list[PreferenceRow | BadRow] | None:
    """Written and read again; None if the format has no place for it, and says so."""
    stream = io.StringIO()
    report = write_rows(module, [item], stream)
    if report.left_out:
        return None
    file = io.BytesIO(stream.getvalue().encode())
    assert detect(file) == format
    return list(read(file, format))


@pytest.mark.parametrize("format", [name for name in JUDGEMENT_WRITERS if name in READERS])
@OFTEN
@given(given_=judged())
def test_every_judgement_comes_back(format, given_):
    rows = through(JUDGEMENT_WRITERS[format], format, given_)
    if rows is None:
        return
    (row,) = rows
    assert isinstance(row, PreferenceRow), row
    outcome = row.outcome
    a, b = row.a, row.b
    if (a, b) != (given_.first, given_.second):
        a, b, outcome = b, a, outcome.swapped
    assert row.prompt == given_.prompt and (a, b) == (given_.first, given_.second)
    assert outcome == given_.answers[0].outcome


@pytest.mark.parametrize("format", [name for name in TRIPLE_WRITERS if name in READERS])
@OFTEN
@given(triple=triples())
def test_every_triple_comes_back(format, triple):
    rows = through(TRIPLE_WRITERS[format], format, triple)
    if rows is None:
        return
    (row,) = rows
    assert isinstance(row, PreferenceRow), row
    assert (row.prompt, row.a, row.b, row.outcome) == (triple.prompt, triple.chosen, triple.rejected, Outcome.FIRST)
    if format in ("trl", "ultrafeedback"):
        assert row.strength == triple.strength


NAMES = st.sampled_from(["prompt", "chosen", "rejected", "label", "completion", "winner", "data", "fields", "messages", "x"])
PLAIN = st.none() | st.booleans() | st.floats() | st.text(max_size=10)
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8)


@OFTEN
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode) | JSON.map(lambda value: json.dumps(value).encode()))
def test_nonsense_gives_bad_rows_or_one_clear_error(content):
    """Whatever bytes come: rows, bad rows with a reason, or FileBroken / UnknownFormat. Nothing else is raised."""
    preview = preview_import(stream=io.BytesIO(content))
    assert preview.error or preview.format
    for format in READERS:
        found = preview_import(stream=io.BytesIO(content), format=format)
        assert all(bad.reason and bad.next_step for bad in found.refused)
