"""`manage.py train --project SLUG`: what the page that starts a run does."""

import json
import time
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from tqdm import tqdm

from annotate.models import Project
from training.datasets.filters import FilterError
from training.datasets.kept_previews import LONGER_SECONDS
from training.datasets.snapshots import NothingToTrainOn
from training.dpo.errors import ConfigError
from training.management.arguments import add_filters, find_project, read_filters
from training.models import Run, Version
from training.models.job import JobState
from training.runs.ordering import Order, Plan, plan_run, start_run
from training.wording import counted, lasting, reasons_in_words, shortened

LOOK_SECONDS = 0.5


def setting(text: str) -> tuple[str, Any]:
    """`beta=0.2` → ("beta", 0.2): the value is read as JSON where it is some, else as a text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ArgumentTypeError(f"“{text}” is no setting. Write it as NAME=VALUE: beta=0.2.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


class Command(BaseCommand):
    help = "Start a run on what has been judged. A worker does the work."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--preset", help="The trainer's preset; the project's if not given.")
        parser.add_argument(
            "--set", action="append", type=setting, default=[], metavar="NAME=VALUE", dest="overrides",
            help="A setting of the trainer, as often as needed: --set beta=0.2 --set epochs=3.",
        )  # fmt: skip
        parser.add_argument("--parent", metavar="VERSION", help="Where it starts: v3 or 3; the serving version if not given.")
        parser.add_argument("--reference", metavar="VERSION", help="π_ref; the parent if not given.")
        parser.add_argument("--processes", type=int, default=1, metavar="N", help="That train together (default: 1).")
        add_filters(parser)
        parser.add_argument("--dry-run", action="store_true", help="Only tell what would happen.")
        parser.add_argument("--wait", action="store_true", help="Show its progress until it is over.")

    def handle(self, *, project: str, dry_run: bool, wait: bool, **options: Any) -> None:
        found = find_project(project)
        try:
            order = self.order(found, options)
            self.tell(plan_run(project=found, order=order, seconds=LONGER_SECONDS))
            if dry_run:
                return
            run = start_run(project=found, order=order)
        except (NothingToTrainOn, ConfigError, FilterError) as error:
            raise CommandError(str(error)) from error
        on = "a dataset that its worker takes: very much has been judged"
        if run.dataset:
            on = f"dataset {run.dataset}: {run.dataset.train_count} triples, {run.dataset.heldout_count} held out"
        self.stdout.write(f"{str(run).capitalize()} of {found.slug} trains {run.parent} on {on}.")
        if wait:
            self.wait(run)

    def order(self, project: Project, options: dict[str, Any]) -> Order:
        return Order(
            preset=options.get("preset") or "",
            overrides=dict(options.get("overrides") or []),
            parent=find_version(project, options.get("parent")),
            reference=find_version(project, options.get("reference")),
            filters=read_filters(project, options),
            processes=options.get("processes") or 1,
        )

    def tell(self, plan: Plan) -> None:
        preview, estimate = plan.preview, plan.estimate
        without, about = ", ".join(reasons_in_words(preview.without)), "about " if preview.is_sample else ""
        self.stdout.write(
            f"It would train on {about}{counted(preview.train, 'triple')}, {about}{preview.heldout} held out"
            + (f"; no triple from {without}" if without else "")
            + (f"; {counted(preview.left_out, 'judged pair')} filtered out" if preview.left_out else "")
            + (f"; told from {preview.percent} % of the judged pairs" if preview.is_sample else "")
            + (f"; as counted at {timezone.localtime(preview.at):%H:%M:%S}" if preview.at else "")
            + "."
        )
        time_ = f", {lasting(estimate.seconds)}" if estimate.seconds is not None else ""
        memory = f", {filesizeformat(estimate.memory_bytes)}".replace("\xa0", " ") if estimate.memory_bytes else ""
        steps = counted(estimate.steps, "step")
        self.stdout.write(f"From {plan.parent}: about {shortened(estimate.tokens)} tokens, {steps}{time_}{memory}.")
        if estimate.refusal:
            self.stderr.write(estimate.refusal)

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


def find_version(project: Project, asked: str | None) -> Version | None:
    if not asked:
        return None
    number = asked.removeprefix("v")
    version = project.versions.filter(number=number).first() if number.isdecimal() and len(number) < 10 else None
    if version is None:
        raise CommandError(f"There is no version “{asked}” in {project.slug}. Its page Versions lists them: v0, v1, …")
    return version
