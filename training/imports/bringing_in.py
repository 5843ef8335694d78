"""An upload's rows come in: transaction by transaction, each with the place in the file where it ends.

So a worker may die anywhere: the next one goes on after the last row that is in. A file that turns out to be broken, and an
import that is cancelled, leave nothing behind.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from annotate.data.batches import Steps, take_back
from annotate.data.imports import import_preferences
from annotate.data.prompts import import_prompt_file
from annotate.data.rating_imports import import_ratings
from annotate.data.uploads import Upload, find_upload, refusals_of
from annotate.formats.files import FileBroken
from annotate.formats.registry import UnknownFormat
from annotate.formats.rows import BadRow
from annotate.models import PreferenceImport
from training.models import FileImport
from training.worker import jobs
from training.worker.seeing_through import Pulse, see_through
from training.worker.stopping import Interrupted, WorkFailed

GONE = "The uploaded file is not here any more. Upload it again: rows that are in already are not added twice."
ADVICE = "Go on with it when the cause is gone, or take out what is in."


def run_import(file_import_id: int, *, check: Callable[[], None] = lambda: None) -> None:
    """The task: claim the import and see it through. Does nothing if it is not queued. `check` raises Stopped to end early."""
    see_through(kind=FileImport, pk=file_import_id, work=lambda job: bring_upload_in(job=job, check=check), advice=ADVICE)


def bring_upload_in(*, job: FileImport, check: Callable[[], None]) -> None:
    """Raises Interrupted, LostClaim, WorkFailed, and what `check` raises."""
    upload = find_upload(project=job.project, id=job.upload)
    pulse = Pulse(job, check)
    try:
        if job.cancel_requested:
            raise Interrupted
        if upload is None:
            raise WorkFailed(GONE)
        with upload.path.open("rb") as stream:
            _Importing(job, Watched(stream, pulse)).run()
    except (FileBroken, UnknownFormat) as error:
        _forget(job)
        raise WorkFailed(str(error)) from None
    except Interrupted:
        _take_back(job, upload, check)
        raise
    jobs.finish(job=job, progress=job.total)
    upload.drop()


class _Importing:
    """What is stored of the job beside its rows."""

    def __init__(self, job: FileImport, stream: "Watched") -> None:
        self.job, self.stream, self.came = job, stream, job.rows
        self.report: BinaryIO | None = None

    def run(self) -> None:
        job, asked = self.job, dict(self.job.asked)
        steps = Steps(
            batch=job.batch, skip=job.rows, on_batch=self.note_batch, on_rows=self.note_rows, on_refused=self.note_refused
        )
        source = {"project": job.project, "stream": self.stream, "file_name": job.file_name, "by": job.by, "steps": steps}
        try:
            if asked.get("prompts"):
                import_prompt_file(**source, system=asked["system"])
            elif asked.pop("single"):
                import_ratings(**source, names=asked["names"])
            else:
                import_preferences(**source, **asked)
        finally:
            if self.report:
                self.report.close()

    def note_batch(self, batch: PreferenceImport) -> None:
        jobs.heartbeat(job=self.job, batch=batch)

    def note_refused(self, bad: BadRow) -> None:
        row = {bad.unit: bad.line, "reason": bad.reason, "next_step": bad.next_step}
        self.report = self.report or _open_report(refusals_of(self.job.batch), self.job.refused_bytes)
        self.report.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def note_rows(self, number: int) -> None:
        """In the transaction of these rows: they are in if and only if the job goes on after them."""
        self.came += number
        read = min(self.job.total, self.stream.tell() // 1024)
        told: dict[str, Any] = {"rows": self.came, "progress": read}
        if self.report:
            self.report.flush()
            told["refused_bytes"] = self.report.tell()
        if jobs.heartbeat(job=self.job, **told):
            raise Interrupted


def _open_report(path: Path, known: int) -> BinaryIO:
    """What stands there after `known` bytes is of rows that did not come in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = path.open("r+b" if path.exists() else "w+b")
    report.truncate(known)
    report.seek(known)
    return report


def _take_back(job: FileImport, upload: Upload | None, check: Callable[[], None]) -> None:
    pulse = Pulse(job, check)

    def beat() -> None:
        with suppress(Interrupted):  # it has been heard
            pulse()

    if job.batch is not None:
        refusals_of(job.batch).unlink(missing_ok=True)
        take_back(batch=job.batch, on_some=beat)
        _forget(job)
    if upload is not None:
        upload.drop()


def _forget(job: FileImport) -> None:
    jobs.heartbeat(job=job, batch=None, rows=0, refused_bytes=0)


class Watched:
    """A file each of whose reads lets the job show that it lives, and hear that it is to stop."""

    def __init__(self, file: BinaryIO, pulse: Callable[[], None]) -> None:
        self.file, self.pulse = file, pulse

    def read(self, size: int = -1) -> bytes:
        self.pulse()
        return self.file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)
