"""Files of rows as they come: plain, gzip or zstd; JSON Lines, a JSON array or Parquet. Told apart by content, never by name.

`read_objects` gives (number, object or what is wrong with it) and holds one row at a time. The number is the line's in
JSON Lines, and the element's or row's in an array or in Parquet.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from .rows import BOM, MAX_LINE_BYTES, BadRow, Unreadable, parse_json, read_json_lines

GZIP, ZSTD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
ZIP = b"PK\x03\x04"
UTF_16, UTF_32 = (b"\xff\xfe", b"\xfe\xff"), (b"\xff\xfe\0\0", b"\0\0\xfe\xff")  # their byte-order marks
WIDE = {"x0x0": "UTF-16", "0x0x": "UTF-16", "x000": "UTF-32", "000x": "UTF-32"}  # without one: where the first bytes are NUL
CHUNK = 1 << 18
PARQUET_ROWS_AT_ONCE = 200
BOMB_BYTES, BOMB_RATIO = 1 << 28, 200  # text seldom shrinks below a twentieth
WHITE = b" \t\r\n"
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")


class FileBroken(Exception):
    """The file as a whole cannot be read on; the text says why and what to do."""


class NoRows(FileBroken):
    def __init__(self) -> None:
        super().__init__("There is no row in the file, only blank lines or a header. Was it still being written?")


def read_objects(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Every row of a seekable stream, from its start. Raises FileBroken where the compression or the Parquet breaks off."""
    stream.seek(0)
    start = stream.read(4)
    stream.seek(0)
    if start == PARQUET:
        yield from _read_parquet(stream)
        return
    text = open_plain(stream)
    if _first_byte(text) == b"[":
        yield from _read_array(text)
    else:
        yield from read_json_lines(text)


def is_text(stream: BinaryIO) -> bool:
    """Neither JSON nor Parquet nor something else in bytes: CSV or plain text. Leaves the stream at its start."""
    stream.seek(0)
    start = stream.read(4)
    head = open_plain(stream).peek(CHUNK)
    stream.seek(0)
    return start != PARQUET and head.lstrip(WHITE)[:1] not in (b"{", b"[") and not CONTROL.search(head)


def is_binary(stream: BinaryIO) -> bool:
    """Its content holds what no text does. Leaves the stream at its start."""
    head = open_plain(stream).peek(CHUNK)
    stream.seek(0)
    return bool(CONTROL.search(head))


def check_whole(stream: BinaryIO) -> None:
    """Raises FileBroken if the file breaks off, before anything is done with its first rows. Leaves the stream at its start."""
    stream.seek(0)
    start = stream.read(4)
    _refuse_others(start)
    if start == PARQUET:
        _open_parquet(stream)
    elif _compression(start):
        text = open_plain(stream)
        _refuse_wide(text.peek(4)[:4])
        while text.read(CHUNK):
            pass
    stream.seek(0)


def _refuse_others(start: bytes) -> None:
    """What a file is that can be told by its first bytes, and cannot be read."""
    if not start:
        raise FileBroken("The file is empty. Was it still being written?")
    if start == ZIP:
        raise FileBroken("The file is a zip archive. Unpack it, and take the file that is in it.")
    _refuse_wide(start)


def _refuse_wide(start: bytes) -> None:
    """Text of two or four bytes a character."""
    wide = "UTF-32" if start in UTF_32 else "UTF-16" if start.startswith(UTF_16) else ""
    if wide := wide or WIDE.get("".join("x" if byte else "0" for byte in start), ""):
        raise FileBroken(f"The file is {wide} text. Save it as UTF-8.")


def open_plain(stream: BinaryIO) -> io.BufferedReader:
    """The stream's content without gzip or zstd, and without a byte-order mark. The stream itself stays open."""
    stream.seek(0)
    compression = _compression(stream.read(4))
    stream.seek(0)
    plain = io.BufferedReader(_Plain(stream, compression), CHUNK)
    if plain.peek(len(BOM)).startswith(BOM):
        plain.read(len(BOM))
    return plain


def _compression(start: bytes) -> str:
    return "gzip" if start.startswith(GZIP) else "zstd" if start == ZSTD else ""


class _Plain(io.RawIOBase):
    """Decompressed bytes. What goes wrong with the compression is a FileBroken."""

    def __init__(self, stream: BinaryIO, compression: str) -> None:
        self.compression = compression
        self.compressed = stream
        self.count = 0
        if compression == "gzip":
            self.source = gzip.GzipFile(fileobj=stream)
            self.errors = (EOFError, zlib.error, gzip.BadGzipFile)
        elif compression == "zstd":
            import zstandard

            self.source = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
                stream, read_across_frames=True, closefd=False
            )
            self.errors = (zstandard.ZstdError,)
        else:
            self.source, self.errors = stream, ()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.source.read(len(buffer))
        except self.errors as error:
            raise FileBroken(
                f"The {self.compression} file is cut off or damaged ({error}). Get it again, or unpack it and see what is there."
            ) from None
        self.count += len(data)
        if self.count > BOMB_BYTES and self.compression and self.count > BOMB_RATIO * max(1, self.compressed.tell()):
            raise FileBroken(
                f"The file unpacks to more than {BOMB_RATIO} times its size. Unpack it yourself if it is what you want."
            )
        buffer[: len(data)] = data
        return len(data)


def _first_byte(text: io.BufferedReader) -> bytes:
    """The first byte that is not white space; what stands before it (in the first buffer) stays to be read."""
    return text.peek(CHUNK).lstrip(WHITE)[:1]


# -- JSON arrays ---------------------------------------------------------------------------------------------

OUTSIDE, INSIDE = re.compile(rb'["{}\[\],]'), re.compile(rb'["\\]')


def _read_array(text: io.BufferedReader) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    number = 0
    for element in _elements(text):
        number += 1
        if element is None:
            size = f"{MAX_LINE_BYTES // 1024**2} MB"
            yield number, BadRow(number, f"The element is longer than {size}.", "Split it, or leave it out.", "element")
            continue
        try:
            yield number, parse_json(element)
        except Unreadable as error:
            yield number, BadRow(number, error.reason, error.next_step, "element")


def _elements(text: io.BufferedReader) -> Iterator[bytes | None]:
    """The bytes of each element of the outermost array; None for one that is too long. Finds the next even after a broken one."""
    element, depth, in_string, skip, too_long = bytearray(), 0, False, 0, False
    while chunk := text.read(CHUNK):
        start, position = 0, skip
        skip = 0
        while found := (INSIDE if in_string else OUTSIDE).search(chunk, position):
            sign, position = found.group(), found.end()
            if sign == b'"':
                in_string = not in_string
            elif sign == b"\\":
                position += 1
                skip = max(0, position - len(chunk))
            elif sign in b"{[":
                depth += 1
                if depth == 1:
                    start = position
            elif sign in b"}]" or depth == 1:
                depth -= sign != b","
                if depth == 0 or (sign == b"," and depth == 1):
                    element += chunk[start : position - 1]
                    if too_long or element.strip(WHITE):
                        yield None if too_long else bytes(element)
                    element, start, too_long = bytearray(), position, False
                    if depth == 0:
                        return _nothing_after(chunk[position:], text)
        element += chunk[start:]
        if len(element) > MAX_LINE_BYTES:
            element, too_long = bytearray(), True
    raise FileBroken(
        "The JSON array has no end: the file is cut off, or a quote is missing. Get it again, or write one object a line."
    )


def _nothing_after(rest: bytes, text: io.BufferedReader) -> None:
    """Raises FileBroken if anything but white space stands behind the array."""
    while not (after := rest.strip(WHITE)) and (rest := text.read(CHUNK)):
        pass
    if after:
        raise FileBroken(
            f"Something stands after the end of the JSON array: {after[:40].decode('utf-8', 'replace')!r}. Delete it, or put its "
            "rows into the array."
        )


# -- Parquet -------------------------------------------------------------------------------------------------


def _read_parquet(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    import pyarrow

    number = 0
    try:
        for batch in _open_parquet(stream).iter_batches(batch_size=PARQUET_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise _broken_parquet(error) from None


def _open_parquet(stream: BinaryIO) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(stream)
    except (pyarrow.ArrowException, OSError) as error:
        raise _broken_parquet(error) from None


def _broken_parquet(error: Exception) -> FileBroken:
    return FileBroken(f"The Parquet file is cut off or damaged ({str(error)[:200]}). Get it again.")
