"""A file of each format goes in through the upload page and comes back out of the export page equal, however it is packed."""

import gzip
import io
import json
from datetime import UTC, datetime
from itertools import product

import pyarrow
import pytest
import zstandard
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from pyarrow import parquet

from annotate.consensus.judged import Answer, JudgedComparison
from annotate.consensus.triples import Triple
from annotate.data.exports import write_rows
from annotate.formats.registry import FIELDS, JUDGEMENT_WRITERS, READERS, TRIPLE_WRITERS, detect, read
from annotate.formats.rows import PreferenceRow
from annotate.models import PreferenceImport
from annotate.models.judgement import Outcome

FIRST, SECOND, TIE, BOTH_BAD = Outcome.FIRST, Outcome.SECOND, Outcome.TIE, Outcome.BOTH_BAD
ANSWERS = [*product((FIRST, SECOND), (1, 2, 3, 4)), (TIE, 0), (BOTH_BAD, 0)]


def alpaca_rows() -> list[dict]:
    given = {FIRST: 1, SECOND: 2, TIE: 1.5}
    return [
        {"instruction": f"Q{n}", "output_1": f"A{n}", "output_2": f"B{n} 😀", "generator_1": "m1", "generator_2": "m2",
         "preference": given[outcome]}
        for n, outcome in enumerate(given)
    ]  # fmt: skip


def written(format: str) -> bytes:
    """A file of the format with every answer it has a place for."""
    if format == "alpaca-eval":
        return json.dumps(alpaca_rows()).encode()
    module = TRIPLE_WRITERS.get(format) or JUDGEMENT_WRITERS[format]
    items = []
    for n, (outcome, strength) in enumerate(ANSWERS):
        prompt = [{"role": "user", "content": f"Q{n}\nwith “signs”"}]
        a, b = f"A{n} 😀\n\n- x", f'B{n} \\ "y"'
        if format in TRIPLE_WRITERS:
            if outcome in (FIRST, SECOND):
                items.append(Triple(prompt, a, b, "train", float(strength), 1.0, n, (n,), None, None))
            continue
        answer = Answer(f"k{n}", "0a1b", outcome, strength, bool(n % 2), datetime.now(UTC), 8)
        items.append(JudgedComparison(n, prompt, a, b, "m1", "m2", "train", "train", "", (answer,)))
    stream = io.StringIO()
    write_rows(module, items, stream)
    return stream.getvalue().encode()


def told(content: bytes) -> set:
    """What the rows say, whichever side each answer stands on."""
    stream = io.BytesIO(content)
    rows = list(read(stream, detect(stream)))
    assert rows and all(isinstance(row, PreferenceRow) for row in rows), rows
    return {
        (row.prompt[-1]["content"], row.outcome, *sorted((row.a, row.b)))
        if row.outcome in (TIE, BOTH_BAD)
        else (row.prompt[-1]["content"], row.strength, *((row.a, row.b) if row.outcome == FIRST else (row.b, row.a)))
        for row in rows
    }


def rows_of(content: bytes) -> list[dict]:
    text = content.decode()
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]


def as_parquet(content: bytes) -> bytes:
    stream, rows = io.BytesIO(), rows_of(content)
    columns = dict.fromkeys(name for row in rows for name in row)
    parquet.write_table(pyarrow.table({name: [row.get(name) for row in rows] for name in columns}), stream)
    return stream.getvalue()


@pytest.fixture
def page(client, manager, project, var_dir):
    project.grades = 8
    project.save()
    client.force_login(manager)
    return lambda name: reverse(name, args=[project.slug])


def bring(client, page, content: bytes, expected: str, names: dict[str, str] | None = None) -> PreferenceImport:
    """Upload, look, import, as a person does it."""
    answer = client.post(page("data_upload"), {"file": SimpleUploadedFile("others.data", content)})
    fields = {f"field-{ours}": theirs for ours, theirs in (names or {}).items()}
    looked = client.get(answer.url, fields | {"upload": answer.url.partition("upload=")[2]})
    assert f"Format: <strong>{expected}</strong>" in looked.content.decode()
    given = fields | {"upload": looked.context["upload"].id, "format": looked.context["preview"].format}
    done = client.post(page("data_import"), given, follow=True).content.decode()
    assert "0 already known" in done and "refused" not in done.partition("<main")[0]
    return PreferenceImport.objects.get()


def test_the_same_file_again_adds_nothing_and_there_is_nothing_to_undo(client, page, project):
    for again in (False, True):
        answer = client.post(page("data_upload"), {"file": SimpleUploadedFile("others.data", written("trl"))})
        done = client.post(page("data_import"), {"upload": answer.url.partition("upload=")[2], "format": "trl"}, follow=True)
        assert ("nothing was added" in done.content.decode()) == again
    listed = client.get(page("data")).content.decode()
    assert listed.count("nothing added</span>") == 1 and listed.count("Undo<span") == 1


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress, as_parquet], ids=["plain", "gzip", "zstd", "parquet"])
@pytest.mark.parametrize("format", READERS)
def test_in_and_out_equal(client, page, format, pack):
    content = written(format)
    batch = bring(client, page, pack(content), format)
    assert (batch.refused, batch.judgements) == (0, len(told(content)))
    out = format if format != "alpaca-eval" else "judgements"  # which is read only
    exported = b"".join(client.get(page("data_export"), {"format": out}).streaming_content)
    assert told(exported) == told(content)


@pytest.mark.parametrize("format", READERS)
def test_fields_that_are_called_otherwise_come_in_by_their_mapping(client, page, format):
    """Every field on the surface of a row has another name."""
    names = {name: f"their_{name}" for name in FIELDS[format]}
    content = written(format)
    rows = [{names.get(name, name): value for name, value in row.items()} for row in rows_of(content)]
    renamed = "\n".join(json.dumps(row) for row in rows).encode()
    batch = bring(
        client, page, renamed, format, {ours: theirs for ours, theirs in names.items() if any(theirs in r for r in rows)}
    )
    assert (batch.refused, batch.judgements) == (0, len(told(content)))
