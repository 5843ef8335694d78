"""Arguments that several commands take."""

from typing import Any

from django.core.management.base import CommandError

from annotate.models import Project
from training.datasets.filters import Filters

FILTERS = ("consensus", "min_strength", "since", "until", "people", "sources", "versions", "fresh")


def find_project(slug: str) -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)[:10]) or "none yet"
        raise CommandError(f"There is no project “{slug}”. Projects: {known}.")
    return project


def add_filters(parser: Any) -> None:
    """Which judged pairs, as options; `read_filters` reads them."""
    filters = parser.add_argument_group("filters", "Only these judged pairs; all if none is given.")
    filters.add_argument("--consensus", metavar="RULE", help="The project's if not given.")
    filters.add_argument("--min-strength", type=int, metavar="N", help="Least strength of a triple.")
    filters.add_argument("--since", metavar="DAY", help="Judged on this day (2026-01-31) or later.")
    filters.add_argument("--until", metavar="DAY", help="Judged on this day or before.")
    filters.add_argument("--person", action="append", metavar="NAME", dest="people", help="Only their judgements.")
    filters.add_argument("--source", action="append", metavar="SOURCE", dest="sources", help="generated, or i3 for import 3.")
    filters.add_argument("--by-version", action="append", metavar="VERSION", dest="versions", help="Both answers by these.")
    filters.add_argument(
        "--fresh", action="store_true", help="An answer at least is by the version it starts from, or that serves."
    )


def read_filters(project: Project, options: dict[str, Any]) -> Filters:
    """Raises FilterError."""
    return Filters.read({name: options.get(name) or None for name in FILTERS}, project=project)
