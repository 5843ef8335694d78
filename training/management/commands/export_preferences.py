"""`manage.py export_preferences --project SLUG`: the triples of all judgements so far, as an immutable dataset."""

import shutil
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.datasets import NothingToTrainOn, create_dataset
from training.management.arguments import find_project
from training.models import Dataset


class Command(BaseCommand):
    help = "Write the project's triples in TRL's conversational format (JSONL) and record them as a dataset."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--output", type=Path, metavar="FILE", help="Copy the training triples to this file, too.")

    def handle(self, *, project: str, output: Path | None, **options: Any) -> None:
        try:
            dataset = create_dataset(project=find_project(project))
        except NothingToTrainOn as error:
            raise CommandError(str(error)) from error
        self.report(dataset)
        if output:
            try:
                shutil.copyfile(dataset.path / "train.jsonl", output)
            except OSError as error:
                raise CommandError(f"{output} cannot be written ({error.strerror}). Choose another file.") from error
            self.stdout.write(f"{output}: a copy of train.jsonl")

    def report(self, dataset: Dataset) -> None:
        for name, count, sha256 in (
            ("train.jsonl", dataset.train_count, dataset.train_sha256),
            ("heldout.jsonl", dataset.heldout_count, dataset.heldout_sha256),
        ):
            self.stdout.write(f"{dataset.path / name}: {count} triples, SHA-256 {sha256}")
        without = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in dataset.counts.items() if count)
        self.stdout.write(
            f"Dataset {dataset} of {dataset.project.slug}, from {dataset.judgements.count()} judgements by "
            f"{dataset.filters['consensus']}" + (f"; without a triple: {without}" if without else "")
        )
