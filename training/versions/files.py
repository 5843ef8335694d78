"""A version's files, as they may be downloaded: those directly in its directory, and nothing by any other path."""

from dataclasses import dataclass

from training.models import Version


@dataclass(frozen=True)
class VersionFile:
    name: str
    size: int
    etag: str  # a version never changes: what its file is follows from when it was written, and its size


def list_files(version: Version) -> list[VersionFile]:
    """By name; none if the model is not on this host."""
    if not version.directory:
        return []
    try:
        found = sorted(path for path in version.path.iterdir() if path.is_file() and not path.name.startswith("."))
        return [
            VersionFile(path.name, stat.st_size, f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"')
            for path in found
            if (stat := path.stat())
        ]
    except OSError:
        return []
