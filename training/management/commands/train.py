"""`manage.py train --project SLUG`: what the Train button does."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from training.datasets import NothingToTrainOn
from training.dpo.errors import ConfigError
from training.management.arguments import find_project
from training.models import Run
from training.models.job import JobState
from training.runs import start_run

LOOK_SECONDS = 0.5


class Command(BaseCommand):
    help = "Start a run on all that has been judged. A worker does the work."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--preset", help="The trainer's preset; the project's if not given.")
        parser.add_argument("--wait", action="store_true", help="Show its progress until it is over.")

    def handle(self, *, project: str, preset: str | None, wait: bool, **options: Any) -> None:
        found = find_project(project)
        try:
            run = start_run(project=found, preset=preset)
        except (NothingToTrainOn, ConfigError) as error:
            raise CommandError(str(error)) from error
        counts = f"{run.dataset.train_count} triples, {run.dataset.heldout_count} held out"
        self.stdout.write(f"{str(run).capitalize()} of {found.slug} trains {run.parent} on dataset {run.dataset}: {counts}.")
        if wait:
            self.wait(run)

    def wait(self, run: Run) -> None:
        with tqdm(unit="step", disable=None, file=self.stderr) as bar:
            while not JobState(run.state).is_over:
                time.sleep(LOOK_SECONDS)
                run.refresh_from_db()
                bar.total = run.total or None
                bar.update(run.progress - bar.n)
        if run.state != JobState.DONE:
            raise CommandError(f"{str(run).capitalize()} was {run.get_state_display().lower()}. {run.error}".strip())
        self.stdout.write(f"{str(run).capitalize()} is finished: {run.version}.")
