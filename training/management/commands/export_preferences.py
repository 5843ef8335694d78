"""`manage.py export_preferences --project SLUG`: an immutable dataset; with `--format`, what has been judged as a file."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.data.exports import FORMATS, ExportReport, export_preferences, open_compressed
from annotate.formats import llama_factory
from annotate.models import Project
from annotate.models.prompt import Split
from training.datasets.cards import NoLicence, card_of_export, check_licence
from training.datasets.filters import FilterError, Filters
from training.datasets.snapshots import NothingToTrainOn, create_dataset
from training.management.arguments import add_filters, find_project, read_filters
from training.models import Dataset
from training.versions.registry import serving_version
from training.wording import counted, reasons_in_words

DATASET_INFO = "dataset_info.json"


class Command(BaseCommand):
    help = (
        "Without --format: record the project's triples as a dataset (TRL, JSON Lines). "
        "With it: write what has been judged in that format, to --output or to the standard output."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--format", choices=FORMATS, help="Write a file in this format, and record no dataset.")
        parser.add_argument("--split", choices=Split.values, help="With --format: only these prompts. Without: both.")
        parser.add_argument(
            "--output", type=Path, metavar="FILE", help="Where to; .gz and .zst are compressed. NAME.card.md comes along."
        )
        parser.add_argument("--licence", default="", metavar="NAME", help="For the card: cc-by-4.0, mit, ….")
        add_filters(parser)

    def handle(
        self, *, project: str, output: Path | None, format: str | None = None, split: str | None = None, **options: Any
    ) -> None:
        found = find_project(project)
        try:
            filters, licence = read_filters(found, options), check_licence(options.get("licence") or "")
        except (FilterError, NoLicence) as error:
            raise CommandError(str(error)) from error
        if format:
            self.write_file(found, format, split or "", output, filters, licence)
            return
        if split:
            raise CommandError("A dataset holds both splits. Name a --format along with --split.")
        try:
            dataset = create_dataset(project=found, filters=filters, start=serving_version(found))
        except NothingToTrainOn as error:
            raise CommandError(str(error)) from error
        self.report(dataset)
        if output:
            try:
                shutil.copyfile(dataset.path / "train.jsonl", output)
            except OSError as error:
                raise cannot_write(output, error) from error
            self.stdout.write(f"{output}: a copy of train.jsonl")

    def write_file(self, project: Project, format: str, split: str, output: Path | None, filters: Filters, licence: str) -> None:
        wanted = filters.wanted(project=project, split=split, start=serving_version(project))
        if output is None:
            self.summarise(export_preferences(project=project, format=format, wanted=wanted, stream=sys.stdout), format)
            return
        partial = output.with_name(f".{output.name}.partial")
        try:
            with partial.open("wb") as file, open_compressed(file, output.name) as stream:
                report = export_preferences(project=project, format=format, wanted=wanted, stream=stream)
            partial.replace(output)
            card = card_of_export(
                project=project, format=format, file_name=output.name, filters=filters, wanted=wanted, report=report,
                licence=licence,
            )  # fmt: skip
            beside = output.with_name(f"{output.name.partition('.')[0]}.card.md")
            beside.write_text(card, encoding="utf-8")
            self.stderr.write(f"{beside}: its card")
            if format == "llama-factory":
                self.stderr.write(f"{add_dataset_info(output)}: names the file")
        except OSError as error:
            raise cannot_write(output, error) from error
        finally:
            partial.unlink(missing_ok=True)
        self.summarise(report, format)

    def summarise(self, report: ExportReport, format: str) -> None:
        """On the error stream: the standard output may be the file."""
        self.stderr.write(f"{counted(report.rows, 'row')} of {format} written.")
        for reason, count in report.left_out.items():
            self.stderr.write(f"{count} left out: {reason}.")

    def report(self, dataset: Dataset) -> None:
        for name, count, sha256 in (
            ("train.jsonl", dataset.train_count, dataset.train_sha256),
            ("heldout.jsonl", dataset.heldout_count, dataset.heldout_sha256),
        ):
            self.stdout.write(f"{dataset.path / name}: {counted(count, 'triple')}, SHA-256 {sha256}")
        without = ", ".join(reasons_in_words(dataset.counts))
        self.stdout.write(
            f"Dataset {dataset} of {dataset.project.slug}, from {counted(dataset.judgements.count(), 'judgement')} by "
            f"{dataset.filters['consensus']}" + (f"; without a triple: {without}" if without else "")
        )


def add_dataset_info(output: Path) -> Path:
    """LLaMA-Factory finds a file by its entry in the dataset_info.json beside it; other entries stay."""
    path = output.with_name(DATASET_INFO)
    known = {}
    if path.exists():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise CommandError(f"{path} is not JSON, so the entry cannot be added. Correct it and export again.") from None
    name = output.name.partition(".")[0]
    path.write_text(json.dumps(known | {name: llama_factory.dataset_info(output.name)}, indent=2) + "\n", encoding="utf-8")
    return path


def cannot_write(output: Path, error: OSError) -> CommandError:
    return CommandError(f"{output} cannot be written ({error.strerror}). Choose another file.")
