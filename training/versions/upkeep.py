"""What people do with a version besides making it serve: notes, tags, aliases, putting it away, deleting its files."""

import re
import shutil
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from annotate.models import User
from annotate.text.typed import storable
from training import tasks
from training.models import Version, VersionAlias
from training.versions.registry import lock_project, serving_version

MOST_TAGS, LONGEST_TAG, LONGEST_NOTES = 20, 40, 20_000
ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


class UpkeepRefused(Exception):
    """It cannot be done; the text says why and what to do."""


@transaction.atomic
def describe(*, version: Version, notes: str, tags: list[str]) -> Version:
    """Notes and tags, in place of those that were there. Raises UpkeepRefused."""
    tags = list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    if any("\0" in text for text in (notes, *tags)):
        raise UpkeepRefused("Notes and tags cannot hold NUL characters. Take them out.")
    if len(notes) > LONGEST_NOTES:
        raise UpkeepRefused(f"Notes can have {LONGEST_NOTES:,} characters, and these have {len(notes):,}. Shorten them.")
    if len(tags) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in tags):
        raise UpkeepRefused(f"A version has at most {MOST_TAGS} tags of at most {LONGEST_TAG} characters. Take some out.")
    version.notes, version.tags = notes, tags
    version.save(update_fields=["notes", "tags"])
    return version


@transaction.atomic
def set_alias(*, version: Version, name: str, by: User | None = None) -> VersionAlias:
    """From now on `name` means this version; another version that had it loses it. Raises UpkeepRefused."""
    name = name.strip().lower()
    if name == "serving":
        raise UpkeepRefused("“serving” is the version that generates now. Use “Make it serve” to change which one that is.")
    if not ALIAS.fullmatch(name):
        raise UpkeepRefused("An alias has 1 to 40 characters of a–z, 0–9, dot, dash and underscore: best, release-1.")
    lock_project(version.project)
    alias, _ = VersionAlias.objects.update_or_create(project=version.project, name=name, defaults={"version": version, "by": by})
    return alias


def drop_alias(*, version: Version, name: str) -> bool:
    return bool(version.aliases.filter(name=storable(name)).delete()[0])


@transaction.atomic
def archive(*, version: Version) -> None:
    """Put it out of the way. Raises UpkeepRefused for the one that serves."""
    lock_project(version.project)
    if serving_version(version.project) == version:
        raise UpkeepRefused(f"{version} serves. Make another version serve first.")
    Version.objects.filter(pk=version.pk, archived_at=None).update(archived_at=timezone.now())


def unarchive(*, version: Version) -> None:
    Version.objects.filter(pk=version.pk).update(archived_at=None)


@transaction.atomic
def request_removal(*, version: Version) -> None:
    """Have a worker delete its files; the row and all that is known stays. Raises UpkeepRefused."""
    lock_project(version.project)
    version.refresh_from_db()
    if why := why_not_removed(version, serving=serving_version(version.project)):
        raise UpkeepRefused(why)
    now = timezone.now()
    Version.objects.filter(pk=version.pk).update(removal_asked_at=now, archived_at=version.archived_at or now)
    tasks.remove_files.enqueue(version.pk)


def why_not_removed(version: Version, *, serving: Version | None) -> str:
    """Why its files must stay, in words; "" if they may go. Three queries at most."""
    if version.is_endpoint:
        return "It is an endpoint: there are no files here. Archive it instead."
    if version.removed_at:
        return "Its files have been deleted already."
    if version.removal_asked_at and _removal_waits(version):
        return "A worker deletes them as soon as it is free."
    if version == serving:
        return f"{version} serves. Make another version serve first."
    if version.children.present().exists():
        return f"Other versions come from {version}, and are measured against it: this is their ancestor's only copy."
    if busy := version.project.runs.unfinished().filter(parent=version).first():
        return f"{str(busy).capitalize()} starts from it. Wait for its end, or cancel it."
    if busy := version.project.runs.unfinished().filter(reference=version).first():
        return f"{str(busy).capitalize()} uses it as reference. Wait for its end, or cancel it."
    if busy := version.project.evaluations.unfinished().filter(Q(candidate=version) | Q(opponent=version)).first():
        return f"It answers the prompts of {busy}. Wait for that, or end it."
    return ""


def _removal_waits(version: Version) -> bool:
    """Not one that failed, nor one whose worker was killed: it can be asked for again."""
    lately = timezone.now() - timedelta(seconds=settings.STALE_SECONDS)
    at_work = Q(status=TaskResultStatus.READY) | Q(status=TaskResultStatus.RUNNING, started_at__gt=lately)
    asked = DBTaskResult.objects.filter(at_work, task_path=tasks.remove_files.module_path)
    return asked.filter(args_kwargs={"args": [version.pk], "kwargs": {}}).exists()


def remove_files(*, version_id: int) -> None:
    """The task: delete the directory, unless another version (of another project, say) has the same one."""
    version = Version.objects.filter(pk=version_id, removed_at=None).exclude(removal_asked_at=None).first()
    if version is None:
        return
    shared = Version.objects.filter(directory=version.directory, removal_asked_at=None).exclude(pk=version.pk).exists()
    path = version.path.resolve()
    if not shared and path.is_relative_to(settings.VAR_DIR) and path != settings.VAR_DIR:
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            raise OSError(f"{path} could not be deleted. Check its permissions; it is tried again when somebody asks again.")
    Version.objects.filter(pk=version.pk).update(removed_at=timezone.now())
