"""The formats of preferences by name; which one a file has is told by its rows, never by its name."""

from collections.abc import Iterator, Mapping
from itertools import islice
from types import ModuleType
from typing import Any, BinaryIO

from . import alpaca_eval, arena, argilla, hh, judgements, kto, label_studio, llama_factory, openai, trl, ultrafeedback
from .files import is_binary, read_objects
from .rows import NOT_UTF_8, BadRow, PreferenceRow, each

# In the order of detection: the first that recognises a row has it, so the plainest comes last.
READERS: dict[str, ModuleType] = {
    "judgements": judgements,
    "trl-kto": kto,
    "openai": openai,
    "arena": arena,
    "alpaca-eval": alpaca_eval,
    "label-studio": label_studio,
    "argilla": argilla,
    "hh": hh,
    "ultrafeedback": ultrafeedback,
    "trl": trl,
}
TRIPLE_WRITERS: dict[str, ModuleType] = {
    "trl": trl,
    "openai": openai,
    "hh": hh,
    "ultrafeedback": ultrafeedback,
    "llama-factory": llama_factory,
}
JUDGEMENT_WRITERS: dict[str, ModuleType] = {
    "judgements": judgements,
    "arena": arena,
    "label-studio": label_studio,
    "argilla": argilla,
    "trl-kto": kto,
}
# What a file may call otherwise: the fields on a row's surface.
FIELDS: dict[str, tuple[str, ...]] = {
    "judgements": ("prompt", "first", "second", "outcome", "strength", "annotator"),
    "trl-kto": ("prompt", "completion", "label"),
    "openai": ("input", "preferred_output", "non_preferred_output"),
    "arena": ("conversation_a", "conversation_b", "winner", "model_a", "model_b", "judge"),
    "alpaca-eval": ("instruction", "output_1", "output_2", "preference", "generator_1", "generator_2", "annotator"),
    "label-studio": ("data", "annotations"),
    "argilla": ("fields", "responses"),
    "hh": ("chosen", "rejected"),
    "ultrafeedback": ("chosen", "rejected", "score_chosen", "score_rejected"),
    "trl": ("prompt", "chosen", "rejected", "margin"),
}
LOOKED_AT = 20  # rows, until one is recognised

Rows = Iterator[tuple[int, dict[str, Any] | BadRow]]


class UnknownFormat(Exception):
    """No format recognises the file's first rows; the text lists what was looked for."""


def detect(stream: BinaryIO, names: Mapping[str, str] | None = None) -> str:
    """The name of the format of the first row that any format recognises."""
    seen: list[str] = []
    encoded: BadRow | None = None  # the first that is not UTF-8
    for _, row in islice(renamed(read_objects(stream), names), LOOKED_AT):
        if isinstance(row, BadRow):
            encoded = encoded or (row if row.reason.startswith(NOT_UTF_8) else None)
            continue
        for name, module in READERS.items():
            if module.recognises(row):
                return name
        seen = seen or [str(key) for key in row]
    if encoded and not seen and not is_binary(stream):
        how = "In which encoding it is, nobody can tell for sure: Latin-1 and Windows-1252 are the usual ones. Save it as UTF-8."
        raise UnknownFormat(f"The file is not UTF-8 text; the first such place: {encoded.unit} {encoded.line}. {how}")
    has = f"The first row has: {', '.join(seen)[:300]}." if seen else f"None of the first {LOOKED_AT} rows is a JSON object."
    looked_for = "\n".join(f"  {name}: {module.LOOKS_FOR}" for name, module in READERS.items())
    raise UnknownFormat(f"The format is not one of those known. {has} Looked for:\n{looked_for}")


def read(stream: BinaryIO, format: str, names: Mapping[str, str] | None = None) -> Iterator[PreferenceRow | BadRow]:
    """Every comparison of the file with its answer, and every row that gives none.

    `names` says what our names are called in the file: {"chosen": "better"}.
    """
    module = READERS[format]
    rows = renamed(read_objects(stream), names)
    return module.read_rows(rows) if hasattr(module, "read_rows") else each(rows, module.parse)


def renamed(rows: Rows, names: Mapping[str, str] | None) -> Rows:
    """The rows with our names beside the file's."""
    if not names:
        yield from rows
        return
    for line, row in rows:
        if not isinstance(row, BadRow):
            row = row | {ours: row[theirs] for ours, theirs in names.items() if theirs in row}
        yield line, row
