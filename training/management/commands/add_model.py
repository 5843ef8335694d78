"""`manage.py add_model SOURCE --project SLUG`: a base model becomes a version."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.management.arguments import find_project
from training.versions.base_models import ModelError
from training.versions.registry import add_base_version


class Command(BaseCommand):
    help = "Add a model to a project: a Hub id, a model directory, a GGUF file, or the word smollm2."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("source", help="Hub id (owner/name), directory, GGUF file, or smollm2.")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--name", default="", help="How people see it; the source's own name if not given.")
        parser.add_argument("--serve", action="store_true", help="It generates from now on.")

    def handle(self, *, source: str, project: str, name: str, serve: bool, **options: Any) -> None:
        found = find_project(project)
        self.stdout.write(f"Adding {source} … (the first time, this takes up to a minute)")
        try:
            version, created = add_base_version(project=found, source=source, name=name, serve=serve)
        except ModelError as error:
            raise CommandError(str(error)) from error
        done = "is now" if created else "was already"
        self.stdout.write(
            f"{version.name} {done} {version} of {found.slug}: {version.parameters / 1e6:,.0f} million parameters, "
            f"stored in {version.metrics.get('stored_dtype', version.serve_dtype)}, in {version.directory}"
            + (". It serves." if serve else ".")
        )
