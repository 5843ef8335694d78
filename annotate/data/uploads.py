"""Uploaded files that wait for their import: in VAR_DIR, under names of ours, for a day at most."""

import json
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from annotate.models import PreferenceImport, Project
from annotate.text.typed import storable

KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Upload:
    id: UUID
    path: Path
    file_name: str

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        _name_of(self.path).unlink(missing_ok=True)


def keep_upload(*, project: Project, file: UploadedFile, still_wanted: Collection[UUID] = ()) -> Upload:
    """Keeps the file, and drops those that have waited for a day but for the ones `still_wanted`."""
    directory = _directory(project)
    directory.mkdir(parents=True, exist_ok=True)
    _drop_old(directory, {str(id) for id in still_wanted})
    found = Upload(uuid4(), Path(), storable(file.name or "file")[:200])
    path = directory / f"{found.id}.upload"
    with path.open("wb") as target:
        shutil.copyfileobj(file, target)
    _name_of(path).write_text(json.dumps(found.file_name), encoding="utf-8")
    return Upload(found.id, path, found.file_name)


def find_upload(*, project: Project, id: UUID) -> Upload | None:
    """That of this project alone; None when it was imported or dropped."""
    path = _directory(project) / f"{id}.upload"
    if not path.exists():
        return None
    return Upload(id, path, json.loads(_name_of(path).read_text(encoding="utf-8")))


def refusals_of(batch: PreferenceImport) -> Path:
    """Where the report of an import's refused rows stands, if it has any."""
    return settings.VAR_DIR / "imports" / str(batch.project_id) / f"{batch.number}.refused.jsonl"


def _directory(project: Project) -> Path:
    return settings.VAR_DIR / "uploads" / str(project.pk)


def _name_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _drop_old(directory: Path, wanted: Collection[str]) -> None:
    for path in directory.iterdir():
        if path.stem not in wanted and path.stat().st_mtime < time.time() - KEPT_SECONDS:
            path.unlink(missing_ok=True)
