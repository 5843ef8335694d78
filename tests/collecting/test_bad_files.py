"""Files as they should not be: a clear report, nothing half-imported, nothing lost, and no more memory than for good ones."""

import gzip
import io
import json
import os
import tracemalloc
from pathlib import Path

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from annotate.data.batches import Steps
from annotate.data.import_previews import preview_import
from annotate.data.imports import import_preferences
from annotate.data.prompts import import_prompts
from annotate.formats.files import BOM, FileBroken
from annotate.formats.registry import UnknownFormat
from annotate.models import Comparison, Completion, Judgement, PreferenceImport, Prompt
from tests.collecting.test_imports import row, stream_of

GOOD = stream_of(row(1), row(2)).getvalue()
MEGABYTE = 1 << 20
ZEROS = gzip.compress(bytes(16 * MEGABYTE))  # 16 kB; gzip files may be put after one another


def table(rows) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
    return stream.getvalue()


def nothing_is_in() -> bool:
    kinds = (Judgement, Comparison, Completion, Prompt, PreferenceImport)
    return not any(kind.objects.exists() for kind in kinds)


NOT_AT_ALL = {
    "truncated gzip": (gzip.compress(GOOD * 2000)[:-100], "gzip file is cut off"),
    "truncated zstd": (zstandard.compress(os.urandom(9000) + GOOD)[:-100], "is cut off|None of the first"),
    "utf-16": (GOOD.decode().encode("utf-16"), "UTF-16 text. Save it as UTF-8"),
    "utf-16 without a mark": (GOOD.decode().encode("utf-16-be"), "UTF-16 text. Save it as UTF-8"),
    "utf-32": (GOOD.decode().encode("utf-32"), "UTF-32 text. Save it as UTF-8"),
    "utf-32, compressed": (gzip.compress(GOOD.decode().encode("utf-32-be")), "UTF-32 text. Save it as UTF-8"),
    "latin-1": (
        json.dumps(row(1, first="Grün"), ensure_ascii=False).encode("latin-1"),
        "not UTF-8 text; the first such place: line 1.*Save it as UTF-8",
    ),
    "more after an array": (b"[" + GOOD.replace(b"\n", b",") + b"]\n\n{}", "after the end of the JSON array: '{}'"),
    "parquet with other columns": (table([{"better": "A", "worse": "B"}]), "The first row has: better, worse"),
    "csv": (b"prompt,chosen,rejected\nQ,A,B", "None of the first 20 rows is a JSON object"),
    "zip bomb": (ZEROS * 128, "more than 200 times its size"),
    "zip": (b"PK\x03\x04" + b"\0" * 99, "zip archive"),
    "empty": (b"", "The file is empty"),
    "white space": (b" \n\n", "None of the first"),
    "array without end": (b"[" + GOOD.replace(b"\n", b","), "has no end"),
    "parquet cut off": (table([row(n) for n in range(50)])[:-200], "Parquet file is cut off"),
}


@pytest.mark.parametrize("name", NOT_AT_ALL)
def test_a_file_that_cannot_be_taken_is_refused_whole_and_says_why(project, name):
    content, reason = NOT_AT_ALL[name]
    with pytest.raises((FileBroken, UnknownFormat), match=reason):
        import_preferences(project=project, stream=io.BytesIO(content), file_name="f")
    assert nothing_is_in()
    if name != "array without end":  # whose first rows can be seen
        assert preview_import(stream=io.BytesIO(content)).error


NOTHING = {
    "only a byte-order mark": BOM,
    "blank lines": b" \n\n\t\n",
    "an empty array": b"[]",
    "blank, compressed": gzip.compress(b"\n"),
}


@pytest.mark.parametrize("content", NOTHING.values(), ids=NOTHING)
def test_a_file_without_rows_is_one_error_and_no_import(project, content):
    with pytest.raises(FileBroken, match="There is no row in the file"):
        import_prompts(project=project, stream=io.BytesIO(content))
    with pytest.raises(FileBroken, match="There is no row in the file"):
        import_preferences(project=project, stream=io.BytesIO(content), file_name="f", format="trl")
    assert nothing_is_in() and "There is no row" in preview_import(stream=io.BytesIO(content), format="trl").error


def test_a_table_of_a_header_alone_has_no_row(project):
    with pytest.raises(FileBroken, match="There is no row in the file"):
        import_prompts(project=project, stream=io.BytesIO(b"prompt,tags\n"))


IN_PART = {
    "wrong encoding": (GOOD + b'\n{"prompt": "\xe4"}', 2, "Not UTF-8 text: byte 13 of the line is 0xe4"),
    "duplicate keys": (GOOD + b'\n{"prompt": "Q", "first": "A", "first": "C"}', 2, 'The key "first" stands there twice'),
    "byte-order mark": (BOM + GOOD, 2, ""),
    "windows line ends": (GOOD.replace(b"\n", b"\r\n") + b"\r\n", 2, ""),
    "nul": (GOOD + b"\n" + json.dumps(row(3, first="A\0")).encode(), 2, "cannot be stored"),
    "half a character": (GOOD + b'\n{"prompt": "Q", "first": "\\ud83d", "second": "B", "outcome": "tie"}', 2, "cannot be stored"),
    "parquet with more columns": (table([row(n) | {"more": n} for n in range(3)]), 3, ""),
    "a gzip of a gzip": (gzip.compress(GOOD) + gzip.compress(b"\n" + json.dumps(row(3)).encode()), 3, ""),
}


@pytest.mark.parametrize("name", IN_PART)
def test_good_rows_go_in_and_bad_ones_are_reported(project, name):
    content, count, reason = IN_PART[name]
    refused = []
    steps = Steps(on_refused=refused.append)
    batch = import_preferences(project=project, stream=io.BytesIO(content), file_name="f", steps=steps).batch
    assert (batch.judgements, batch.refused, Judgement.objects.count()) == (count, len(refused), count)
    assert [reason in bad.reason and bool(bad.next_step) for bad in refused] == ([True] if reason else [])


class Endless(io.RawIOBase):
    """A file of one line of two gigabytes, made while it is read, and good rows around it."""

    SIZE = 2 << 30

    def __init__(self) -> None:
        self.parts = [(0, GOOD + b'\n{"prompt": "'), (self.SIZE, b'"}\n' + json.dumps(row(3)).encode())]
        self.length, self.place = self.SIZE + 10_000, 0
        self.after = self.parts[1][1].ljust(10_000, b" ")

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, place: int, whence: int = 0) -> int:
        self.place = place
        return place

    def read(self, size: int = -1) -> bytes:
        start, before = self.place, self.parts[0][1]
        end = min(self.length, start + size)
        if start < len(before):
            end = min(end, len(before))
            found = before[start:end]
        elif start < self.SIZE:
            end = min(end, self.SIZE)
            found = b"x" * (end - start)
        else:
            found = self.after[start - self.SIZE : end - self.SIZE]
        self.place = end
        return found


def test_a_line_of_two_gigabytes_is_passed_over_in_little_memory(project):
    tracemalloc.start()
    report = import_preferences(project=project, stream=Endless(), file_name="f")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    (bad,) = report.refused
    assert (report.batch.judgements, bad.line) == (3, 3) and "longer than 8 MB" in bad.reason
    assert peak < 64 * MEGABYTE


def test_a_small_gzip_of_two_gigabytes_is_refused_in_little_memory(project):
    tracemalloc.start()
    for take in (import_preferences, import_prompts):
        about = {"file_name": "f"} if take is import_preferences else {}
        with pytest.raises(FileBroken, match="more than 200 times its size"):
            take(project=project, stream=io.BytesIO(ZEROS * 128), **about)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * MEGABYTE and nothing_is_in()


@pytest.mark.parametrize("how", ["longer", "other"])
def test_a_file_that_changes_while_it_is_read_leaves_nothing(project, tmp_path: Path, how, monkeypatch):
    monkeypatch.setattr("annotate.data.batches.ROWS_AT_ONCE", 4)
    path = tmp_path / "growing.jsonl"
    path.write_bytes(stream_of(*(row(n) for n in range(12))).getvalue())

    def write(_: int) -> None:
        with path.open("r+b") as file:
            file.seek(0, 2 if how == "longer" else 0)
            file.write(b"\n" + json.dumps(row(99)).encode() if how == "longer" else b"{")
        os.utime(path, ns=(1, 1))

    with path.open("rb") as stream, pytest.raises(FileBroken, match="written to while it was read"):
        import_preferences(project=project, stream=stream, file_name="f", steps=Steps(on_rows=write))
    assert nothing_is_in()
    with path.open("rb") as stream:
        count = import_preferences(project=project, stream=stream, file_name="f").batch.judgements
    assert count == (13 if how == "longer" else 12)


def test_what_people_did_with_rows_of_a_file_that_broke_off_stays(project, annotator, monkeypatch):
    """They came in, were handed out and judged; then the file turned out to be broken."""
    from annotate.judging.judgements import record_judgement
    from annotate.queue.claims import claim_comparison

    monkeypatch.setattr("annotate.data.batches.ROWS_AT_ONCE", 1)
    judged = []

    def judge(_: int) -> None:
        if not judged:
            lease = claim_comparison(project=project, annotator=annotator)
            judged.append(record_judgement(annotator=annotator, assignment_id=lease.pk, key=lease.pk, choice="a").pk)

    content = b"[" + GOOD.replace(b"\n", b",")
    with pytest.raises(FileBroken):
        steps = Steps(on_rows=judge)
        import_preferences(project=project, stream=io.BytesIO(content), file_name="f", judge_again=True, steps=steps)
    assert list(Judgement.objects.values_list("pk", flat=True)) == judged
    assert Comparison.objects.count() == 1 and PreferenceImport.objects.get().undone_at


def test_a_stray_quote_in_a_csv_of_prompts_costs_its_own_line_alone(project):
    content = b'id,prompt\n1,one\n2,"two\n3,three\n4,four'
    report = import_prompts(project=project, stream=io.BytesIO(content), source="p.csv")
    assert [prompt.last_message for prompt in project.prompts.order_by("pk")] == ["one", "three", "four"]
    assert [(bad.line, bad.reason) for bad in report.refused] == [(3, "A quote is opened and never closed.")]


@pytest.mark.parametrize(
    "name", ["truncated gzip", "utf-16", "utf-32", "more after an array", "zip bomb", "zip", "empty", "parquet cut off"]
)
def test_prompts_are_refused_whole_too(project, name):
    content, reason = NOT_AT_ALL[name]
    with pytest.raises(FileBroken, match=reason):
        import_prompts(project=project, stream=io.BytesIO(content))
    assert not Prompt.objects.exists()
