"""`manage.py import_preferences FILE --project SLUG`: comparisons that others judged; `--undo NUMBER` takes them out again."""

import json
from pathlib import Path
from typing import Any, TextIO

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from annotate.data.batches import ImportReport, Steps
from annotate.data.imports import import_preferences
from annotate.data.rating_imports import import_ratings
from annotate.data.undoing import undo_import
from annotate.formats.files import FileBroken
from annotate.formats.registry import READERS, UnknownFormat
from annotate.formats.rows import BadRow
from annotate.models import PreferenceImport, Project
from annotate.models.prompt import Split
from annotate.text.counting import counted

SHOWN = 20


class Command(BaseCommand):
    help = (
        "Import comparisons with their judgements from a file, plain, .gz or .zst: JSON Lines, a JSON array or Parquet. "
        "Its content tells the format. Rows that cannot be used are listed in a file beside it."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("file", type=Path, nargs="?")
        parser.add_argument("--project", required=True, metavar="SLUG", help="The project, as in its address.")
        parser.add_argument("--format", choices=sorted(READERS), default="", help="Do not look; take this one.")
        parser.add_argument(
            "--split", choices=Split.values, default="", help="Where new prompts belong. Else their content decides."
        )
        parser.add_argument(
            "--field",
            action="append",
            default=[],
            metavar="OURS=THEIRS",
            help="What a field is called: chosen=better. Repeatable.",
        )
        parser.add_argument("--judge-again", action="store_true", help="Hand the comparisons out to the project's people, too.")
        parser.add_argument("--single", action="store_true", help="Keep the answers of a KTO file unpaired, as ratings.")
        parser.add_argument("--undo", type=int, metavar="NUMBER", help="Take an import out again.")

    def handle(self, *, file: Path | None, project: str, undo: int | None, **options: Any) -> None:
        found = Project.objects.filter(slug=project).first()
        if found is None:
            raise CommandError(f"There is no project “{project}”. Create it first, with manage.py import_prompts or on the site.")
        if undo is not None:
            self.undo(found, undo)
        elif file is None:
            raise CommandError("Name a file to import, or an import to --undo.")
        else:
            self.bring(found, Path(file), options)

    def bring(self, project: Project, file: Path, options: dict[str, Any]) -> None:
        names = dict(_field(given) for given in options["field"])
        try:
            stream = file.open("rb")
        except OSError as error:
            raise CommandError(f"Cannot read {file}: {error.strerror}. Check the path.") from None
        with stream, Refusals(file) as refusals, tqdm(desc=file.name, unit=" rows", delay=2, disable=None) as bar:
            try:
                steps = Steps(on_rows=bar.update, on_refused=refusals.write)
                source = {"project": project, "stream": stream, "file_name": file.name, "names": names, "steps": steps}
                if options["single"]:
                    report = import_ratings(**source)
                else:
                    taken = {name: options[name] for name in ("format", "split", "judge_again")}
                    report = import_preferences(**source, **taken)
            except (FileBroken, UnknownFormat) as error:
                raise CommandError(f"{file.name}: {error}") from None
        self.summarise(file, report, refusals)

    def summarise(self, file: Path, report: ImportReport, refusals: "Refusals") -> None:
        batch = report.batch
        for bad in report.refused[:SHOWN]:
            self.stderr.write(f"{file.name} {bad}")
        if batch.refused > SHOWN:
            self.stderr.write(f"… and {counted(batch.refused - SHOWN, 'more row')} like these.")
        if batch.refused:
            self.stderr.write(f"All of them, with their reasons: {refusals.path}")
        new = f"{counted(batch.comparisons, 'new comparison')} and {counted(batch.prompts, 'new prompt')}"
        rest = f"{batch.known:,} already known, {counted(batch.refused, 'row')} refused"
        if batch.added_nothing:
            self.stdout.write(f"{batch.format}: nothing was added; {rest}.")
            return
        self.stdout.write(f"{batch.format}: {counted(batch.judgements, 'judgement')} added, with {new}; {rest}.")
        self.stdout.write(f"To undo it: manage.py import_preferences --project {batch.project.slug} --undo {batch.number}")

    def undo(self, project: Project, number: int) -> None:
        batch = project.imports.filter(number=number).first()
        if batch is None:
            raise CommandError(f"There is no import {number} in this project. {_known_imports(project)}")
        report = undo_import(batch=batch)
        self.stdout.write(
            f"{batch.file_name}: {counted(report.judgements, 'judgement')}, {counted(report.comparisons, 'comparison')} and "
            f"{counted(report.prompts, 'prompt')} taken out."
        )
        if report.withdrawn:
            self.stdout.write(f"Named by a dataset: {counted(report.withdrawn, 'judgement')}. Withdrawn, and counted no more.")
        if report.kept:
            self.stdout.write(
                f"Kept, since people were given them or a dataset names them: {counted(report.kept, 'comparison')}."
            )


class Refusals:
    """The report of refused rows: JSON Lines beside the file, or in VAR_DIR where nothing may be written there."""

    def __init__(self, file: Path) -> None:
        self.path = file.with_name(f"{file.name}.refused.jsonl")
        self.stream: TextIO | None = None

    def __enter__(self) -> "Refusals":
        return self

    def __exit__(self, *failure: object) -> None:
        if self.stream:
            self.stream.close()

    def write(self, bad: BadRow) -> None:
        if self.stream is None:
            self.stream = self._open()
        row = {bad.unit: bad.line, "reason": bad.reason, "next_step": bad.next_step}
        self.stream.write(json.dumps(row, ensure_ascii=False) + "\n")

    def _open(self) -> TextIO:
        try:
            return self.path.open("w", encoding="utf-8")
        except OSError:
            self.path = settings.VAR_DIR / self.path.name
            return self.path.open("w", encoding="utf-8")


def _field(given: str) -> tuple[str, str]:
    ours, equals, theirs = given.partition("=")
    if not (ours and equals and theirs):
        raise CommandError(f"--field {given}: write OURS=THEIRS, such as --field chosen=better.")
    return ours, theirs


def _known_imports(project: Project) -> str:
    batches: list[PreferenceImport] = list(project.imports.filter(undone_at=None).order_by("-number")[:10])
    return (
        "There are: " + ", ".join(f"{batch.number} ({batch.file_name})" for batch in batches) + "." if batches else "It has none."
    )
