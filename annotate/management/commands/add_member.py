"""`manage.py add_member SLUG USERNAME --role annotator`: a person joins a project, and how they sign in."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from annotate.models import Project
from annotate.models.project import Role
from annotate.people.members import MemberRefused, add_member
from annotate.people.sign_in import create_sign_in_link


class Command(BaseCommand):
    help = "Add a person to a project (a new user is created) and print a one-time sign-in link."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("slug", help="The project, as in its address.")
        parser.add_argument("username")
        parser.add_argument("--role", choices=Role.values, default=Role.ANNOTATOR.value, help="(default: %(default)s)")
        parser.add_argument("--name", default="", help="How others see a new user; the user name if empty.")

    def handle(self, *, slug: str, username: str, role: str, name: str, **options: Any) -> None:
        project = Project.objects.filter(slug=slug).first()
        if project is None:
            known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)[:20])
            raise CommandError(f"There is no project “{slug}”. " + (f"There are: {known}." if known else "Create one first."))
        try:
            membership = add_member(project=project, username=username, role=role, name=name)
        except MemberRefused as refused:
            raise CommandError(refused.message) from None
        self.stdout.write(f"{membership.user.username} is in “{project.name}” as {membership.get_role_display().lower()}.")
        if not membership.user.is_active:
            raise CommandError("But the user is deactivated and cannot sign in.")
        self.stdout.write(f"Sign in once, within {settings.SIGN_IN_LINK_HOURS} hours:")
        self.stdout.write(create_sign_in_link(user=membership.user))
