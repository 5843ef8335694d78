"""Asking for an import of an upload, ending it, going on with it. The work: `training.imports.bringing_in`."""

from typing import Any
from uuid import UUID

from django.db import transaction

from annotate.data.uploads import Upload
from annotate.models import Project, User
from training import tasks
from training.imports.bringing_in import run_import
from training.models import FileImport
from training.models.job import JobState
from training.worker import jobs

AT_ONCE = 1024 * 1024  # bytes: a file of a thousand rows is in before a worker would have looked


def order_import(*, project: Project, upload: Upload, by: User, **asked: Any) -> FileImport:
    """The upload's import, once, however often it is asked for. A small one is over when this returns; a worker does the others.

    `asked`: format, names, split, single, judge_again; or of a file of prompts: prompts (true), system.
    """
    size = upload.path.stat().st_size
    with transaction.atomic():
        about = {"file_name": upload.file_name, "asked": asked, "by": by, "total": max(1, size // 1024)}
        job, is_new = FileImport.objects.get_or_create(project=project, upload=upload.id, defaults=about)
        if is_new and is_large(size):
            tasks.import_file.enqueue(job.pk)
    if is_new and not is_large(size):
        run_import(job.pk)
        job.refresh_from_db()
    return job


def is_large(size: int) -> bool:
    """Of so many bytes: a worker brings it in."""
    return size > AT_ONCE


def wanted_uploads(project: Project) -> set[UUID]:
    """Those that a worker has yet to bring in."""
    return set(project.file_imports.unfinished().values_list("upload", flat=True))


def cancel_import(*, job: FileImport) -> bool:
    """What has come in of it is taken out again, by a worker if there is any. False if it is over already."""
    begun = FileImport.objects.filter(pk=job.pk, state=JobState.QUEUED, batch__isnull=False)
    asked = bool(begun.update(cancel_requested=True)) or jobs.request_cancel(job=job)
    job.refresh_from_db()
    return asked


def go_on_with_import(*, job: FileImport) -> bool:
    """A failed one goes on after the last row that is in. False if there is nothing to go on with."""
    if job.state != JobState.FAILED or not jobs.queue_again(job=job):
        return False
    tasks.import_file.enqueue(job.pk)
    return True
