"""`manage.py best_of N --project SLUG --by NAME`: an AI annotator scores N answers to each prompt; the best meets the worst."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.ai.direct_scores import NothingToPair, pair_best_against_worst
from training.endpoints.errors import EndpointError
from training.management.arguments import find_project
from training.versions.base_models import ModelError
from training.versions.registry import serving_version


class Command(BaseCommand):
    help = "Write N answers to each prompt, let an AI annotator score them from 1 to 10, and queue the best against the worst."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("answers", type=int, metavar="N", help="Answers to each prompt.")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--by", required=True, metavar="NAME", help="The AI annotator that scores.")
        parser.add_argument("--prompts", type=int, default=20, metavar="N", help="(default: %(default)s)")

    def handle(self, *, answers: int, project: str, by: str, prompts: int, **options: Any) -> None:
        found = find_project(project)
        annotator = found.ai_annotators.filter(user__name=by).first()
        if annotator is None:
            known = ", ".join(str(each) for each in found.ai_annotators.select_related("user")) or "none yet"
            raise CommandError(f"There is no AI annotator “{by}” in {found.slug}. There are: {known}.")
        version = serving_version(found)
        if version is None:
            raise CommandError("No model serves this project yet. Add one: manage.py add_model or add_endpoint, with --serve.")
        try:
            made = pair_best_against_worst(project=found, annotator=annotator, version=version, prompts=prompts, answers=answers)
        except (NothingToPair, ModelError, EndpointError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{len(made)} pairs of {version} are in the queue: the best against the worst of {answers}.")
