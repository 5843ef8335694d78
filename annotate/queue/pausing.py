"""Pausing a project: nothing is handed out until a manager lets it go on. Pairs that are on screens can still be answered."""

from django.utils import timezone

from annotate.models import Project, User
from annotate.text.typed import storable


def pause_project(*, project: Project, by: User, reason: str = "") -> None:
    """`reason` is what annotators read. Pausing a paused project changes its reason."""
    longest = Project._meta.get_field("pause_reason").max_length
    project.paused_at = project.paused_at or timezone.now()
    project.paused_by = by
    project.pause_reason = storable(reason).strip()[:longest]
    project.save(update_fields=["paused_at", "paused_by", "pause_reason"])


def resume_project(*, project: Project) -> None:
    project.paused_at = project.paused_by = None
    project.pause_reason = ""
    project.save(update_fields=["paused_at", "paused_by", "pause_reason"])
