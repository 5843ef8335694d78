"""`manage.py set_up`: everything `make run` needs before it can serve. Safe to run again: it keeps all data."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import transaction

from annotate.models import Membership, Project, User
from annotate.models.project import Role
from annotate.projects.guidelines import save_guidelines

DEMO = settings.BASE_DIR / "annotate" / "demo"
SYSTEM_PROMPT = "Answer in one to three short sentences."
TEMPERATURE, TOP_P = 0.7, 0.95  # at 1.0 a model this small writes gibberish now and then, and judging it means little


class Command(BaseCommand):
    help = "Create the database, the owner, the demo project with its prompts and its base model, if they are missing."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--owner", default="owner", help="User name of the first owner (default: %(default)s).")
        parser.add_argument("--model", default="smollm2", help="Base model of the demo project (default: %(default)s).")

    def handle(self, *, owner: str, model: str, verbosity: int, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        project = Project.objects.filter(slug="demo").first()
        if project is None and Project.objects.exists():
            return  # people have made their own
        if project is None:
            self.stdout.write("Creating the demo project …")
            project = create_demo_project(owner)
        if project.versions.exists():
            return  # else this is the first time, or the first time was interrupted
        call_command("import_prompts", str(DEMO / "prompts.jsonl"), project=project.slug, system=SYSTEM_PROMPT)
        call_command("add_model", model, project=project.slug, serve=True)


@transaction.atomic
def create_demo_project(owner: str) -> Project:
    user, _ = User.objects.get_or_create(username=owner)
    if not user.password:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    project = Project.objects.create(slug="demo", name="Demo", temperature=TEMPERATURE, top_p=TOP_P)
    Membership.objects.create(project=project, user=user, role=Role.OWNER)
    save_guidelines(project=project, text=(DEMO / "guidelines.md").read_text(), by=user)
    return project
