"""Arguments that several commands take."""

from django.core.management.base import CommandError

from annotate.models import Project


def find_project(slug: str) -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)[:10]) or "none yet"
        raise CommandError(f"There is no project “{slug}”. Projects: {known}.")
    return project
