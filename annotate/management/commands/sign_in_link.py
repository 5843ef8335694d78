"""`manage.py sign_in_link USERNAME`: a way in for somebody who has no password, or has lost it."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from annotate.models import User
from annotate.people.sign_in import create_sign_in_link


class Command(BaseCommand):
    help = "Print a one-time sign-in link for a user."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("username")
        parser.add_argument("--hours", type=float, default=settings.SIGN_IN_LINK_HOURS, help="How long it lasts (%(default)s).")

    def handle(self, *, username: str, hours: float, **options: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user “{username}”. Create one with `manage.py add_member SLUG {username}`.")
        if not user.is_active:
            raise CommandError(f"“{username}” is deactivated and cannot sign in.")
        if not hours > 0:
            raise CommandError(
                f"--hours {hours:g}: a link must last longer than that. Leave it out for {settings.SIGN_IN_LINK_HOURS}."
            )
        self.stdout.write(create_sign_in_link(user=user, hours=hours))
