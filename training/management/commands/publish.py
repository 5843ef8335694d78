"""`manage.py publish --project SLUG (--dataset N | --version N) [--to DIRECTORY] [--push OWNER/NAME]`."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.models import Project
from training.datasets.cards import NoLicence, check_licence
from training.versions.publishing import PublishError, directory_of, push_directory, write_dataset_directory


class Command(BaseCommand):
    help = "Write a dataset or a version as a directory ready to push, with its card; or push it to a Hub repository (HF_TOKEN)."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--project", required=True, metavar="SLUG")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--dataset", type=int, metavar="NUMBER")
        what.add_argument("--version-number", type=int, metavar="NUMBER", help="The number of a version.")
        parser.add_argument("--to", type=Path, metavar="DIRECTORY", help="Write it there.")
        parser.add_argument("--push", metavar="OWNER/NAME", help="Upload it to this repository of the Hub.")
        parser.add_argument("--licence", default="", metavar="NAME", help="Of a dataset, for its card: cc-by-4.0, mit, ….")
        parser.add_argument("--public", action="store_true", help="A repository that is made now can be seen by everybody.")

    def handle(self, *, project: str, to: Path | None, push: str | None, **options: Any) -> None:
        found = Project.objects.filter(slug=project).first()
        if found is None:
            raise CommandError(f"There is no project “{project}”.")
        if not to and not push:
            raise CommandError("Say where: --to DIRECTORY, --push OWNER/NAME, or both.")
        with tempfile.TemporaryDirectory() as scratch:
            try:
                directory = self.directory(found, to, Path(scratch) / "out", options)
                if push:
                    kind = "dataset" if options["dataset"] is not None else "model"
                    token = os.environ.get("HF_TOKEN", "")
                    url = push_directory(
                        directory=directory, repository=push, kind=kind, token=token, private=not options["public"]
                    )
                    self.stdout.write(f"Pushed to {url}")
            except (PublishError, NoLicence) as error:
                raise CommandError(str(error)) from None
        if to:
            self.stdout.write(f"Written to {to}")

    def directory(self, project: Project, to: Path | None, scratch: Path, options: dict[str, Any]) -> Path:
        if options["dataset"] is not None:
            dataset = project.datasets.filter(number=options["dataset"]).first()
            if dataset is None:
                raise PublishError(f"There is no dataset {options['dataset']} in this project.")
            licence = check_licence(options["licence"])
            return write_dataset_directory(dataset=dataset, directory=to or scratch, licence=licence)
        version = project.versions.filter(number=options["version_number"]).first()
        if version is None:
            raise PublishError(f"There is no version {options['version_number']} in this project.")
        source = directory_of(version)
        if to:
            if to.exists() and any(to.iterdir()):
                raise PublishError(f"{to} is not empty. Name a directory that is, or is not there yet.")
            shutil.copytree(source, to, dirs_exist_ok=True)
        return to or source
