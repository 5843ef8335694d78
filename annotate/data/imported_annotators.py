"""People who are named in files: users that cannot sign in, under pseudonyms."""

from annotate.consensus.judged import pseudonym
from annotate.models import Project, User


def find_imported_annotator(project: Project, given: str) -> User:
    """The user who stands for somebody named in a file: a pseudonym that cannot sign in."""
    digits = pseudonym(project, f"imported:{given}")
    user, _ = User.objects.get_or_create(
        username=f"imported-{digits}",
        defaults={"name": f"Imported annotator {digits[:6]}", "is_active": False, "password": "!"},
    )
    return user
