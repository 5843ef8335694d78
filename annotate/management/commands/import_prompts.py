"""`manage.py import_prompts FILE --project SLUG`: prompts from a file."""

from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from tqdm import tqdm

from annotate.data.prompts import ImportReport, import_prompts
from annotate.formats.files import FileBroken
from annotate.models import Project
from annotate.models.project import Role
from annotate.people.members import MemberRefused, add_member

SHOWN = 20


class Command(BaseCommand):
    help = (
        "Import prompts: JSON Lines, a JSON array, Parquet or CSV (messages, or prompt/instruction/question, with optional "
        "system, tags, id), or plain text with one prompt a line; plain, .gz or .zst."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--project", required=True, metavar="SLUG", help="The project, as in its address.")
        parser.add_argument("--system", default="", metavar="TEXT", help="System message for prompts that have none.")
        parser.add_argument("--create-project", default="", metavar="NAME", help="Create the project if it is missing.")
        parser.add_argument("--owner", default="", metavar="USERNAME", help="Who owns a project that is created.")

    def handle(self, *, file: Path, project: str, system: str, create_project: str, owner: str, **options: Any) -> None:
        file = Path(file)
        try:
            stream = file.open("rb")
        except OSError as error:
            raise CommandError(f"Cannot read {file}: {error.strerror}. Check the path.") from None
        with stream, tqdm(desc=file.name, unit=" rows", delay=2, disable=None) as bar:
            try:
                report = import_prompts(
                    project=find_or_create(project, create_project, owner),
                    stream=stream,
                    system=system,
                    source=file.name,
                    on_rows=bar.update,
                )
            except FileBroken as error:
                raise CommandError(f"{file.name}: {error}") from None
        self.summarise(file, report)

    def summarise(self, file: Path, report: ImportReport) -> None:
        for bad in report.refused[:SHOWN]:
            self.stderr.write(f"{file.name} {bad}")
        if report.refused_count > SHOWN:
            self.stderr.write(f"… and {report.refused_count - SHOWN} more lines like these.")
        prompts = "prompt" if report.added == 1 else "prompts"
        summary = f"{report.added} {prompts} added ({report.heldout} held out), {report.known} already known"
        if report.refused_count:
            summary += f", {report.refused_count} line{'s' if report.refused_count > 1 else ''} refused"
        if not (report.added or report.known):
            raise CommandError(
                f'{file.name}: {summary}. Write one JSON object a line, such as {{"prompt": "Why is the sky blue?"}}.'
            )
        self.stdout.write(f"{summary}.")


@transaction.atomic
def find_or_create(slug: str, name: str, owner: str) -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None and not (name and owner):
        how = "--create-project NAME --owner USERNAME"
        raise CommandError(f"There is no project “{slug}”. Create it along with the import: {how}")
    if project is None:
        project = Project(slug=slug, name=name)
        try:
            project.full_clean()
        except ValidationError as error:
            raise CommandError(f"Cannot create the project “{slug}”: {' '.join(error.messages)}") from None
        project.save()
        try:
            add_member(project=project, username=owner, role=Role.OWNER)
        except MemberRefused as refusal:
            raise CommandError(f"Cannot create the project “{slug}”: {refusal}") from None
    return project
