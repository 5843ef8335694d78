"""A directory as a tar archive that is sent while it is read: in constant memory, without a file of its own."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

PIECE = 1024 * 1024


def stream_tar(directory: Path, *, name: str) -> Iterator[bytes]:
    """The files in `directory`, below `name/`, in order. Links and hidden files are left out."""
    for path in sorted(directory.rglob("*")):
        inside = path.relative_to(directory)
        if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in inside.parts):
            continue
        with path.open("rb") as file:
            info = tarfile.TarInfo(f"{name}/{inside.as_posix()}")
            info.size, info.mtime, info.mode = path.stat().st_size, int(path.stat().st_mtime), 0o644
            yield info.tobuf(format=tarfile.PAX_FORMAT)
            left = info.size
            while left and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece
            yield b"\0" * (left + -info.size % tarfile.BLOCKSIZE)
    yield b"\0" * 2 * tarfile.BLOCKSIZE
