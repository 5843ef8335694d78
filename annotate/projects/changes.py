"""Projects: made, changed while work goes on, archived."""

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest, Least
from django.utils import timezone
from django.utils.text import slugify

from annotate.models import Comparison, Membership, Project, User
from annotate.models.comparison import Purpose
from annotate.models.project import Role
from annotate.models.scale import Grades
from annotate.projects.guidelines import save_guidelines
from annotate.queue.places import recount_places

RESERVED = {"new"}  # addresses beside those of projects
AT_ONCE = 500  # rows in one statement: SQLite takes a limited number of variables


def may_create_projects(user: User) -> bool:
    """Who runs the server (staff), and whoever owns or manages a project: they are trusted with one already."""
    managing = Membership.objects.filter(user=user, role__in=[Role.OWNER, Role.MANAGER], suspended_at=None)
    return user.is_staff or user.is_superuser or managing.exists()


@transaction.atomic
def create_project(*, name: str, by: User, guidelines: str = "", grades: Grades | int = Grades.TWO) -> Project:
    """A project with its first member: `by`, the owner. Its address follows from the name and is never another's."""
    project = _insert(name=name.strip(), grades=grades)
    Membership.objects.create(project=project, user=by, role=Role.OWNER)
    save_guidelines(project=project, text=guidelines, by=by)
    return project


def _insert(**fields: object) -> Project:
    longest = Project._meta.get_field("slug").max_length - 6  # room for a number
    base = slugify(fields["name"])[:longest].strip("-") or "project"
    for number in range(1, 10_000):
        slug = base if number == 1 else f"{base}-{number}"
        if slug in RESERVED or Project.objects.filter(slug=slug).exists():
            continue
        try:
            with transaction.atomic():
                return Project.objects.create(slug=slug, **fields)
        except IntegrityError:  # somebody took it at this moment
            if not Project.objects.filter(slug=slug).exists():
                raise
    raise ValueError(f"Ten thousand projects are called {base}.")


@transaction.atomic
def set_archived(*, project: Project, archived: bool) -> None:
    """An archived project hands out no work and starts nothing by itself. What it holds stays, and it can be taken up again."""
    moment = timezone.now() if archived else None
    changed = Project.objects.filter(pk=project.pk, archived_at__isnull=archived).update(archived_at=moment)
    if changed:
        project.archived_at = moment


@transaction.atomic
def change_judgements_required(*, project: Project, required: int) -> int:
    """How many judgements a comparison needs, also those that are open now. Returns how many of these changed.

    Each open training comparison needs as many more or fewer as the setting moves by, so one that was given more by
    itself keeps its lead; none needs less than one. A lease that is out stays: its answer is taken, perhaps as one more
    than is needed. What is done stays done. `project` is brought up to date.
    """
    locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    difference = required - locked.judgements_required
    project.judgements_required = required
    if not difference:
        return 0
    Project.objects.filter(pk=project.pk).update(judgements_required=required)
    # Locked first, then counted: what nobody has touched in one statement, what is in work one by one.
    is_open = project.comparisons.open().filter(purpose=Purpose.TRAIN)
    found = list(
        is_open.select_for_update(no_key=True).order_by("pk").values_list("pk", "judgements_required", "free_places").iterator()
    )
    touched = [pk for pk, needed, free in found if free < needed]
    needs = Greatest(1, F("judgements_required") + difference)
    _untouched(is_open).update(judgements_required=needs, free_places=needs)
    for start in range(0, len(touched), AT_ONCE):
        some = touched[start : start + AT_ONCE]
        Comparison.objects.filter(pk__in=some).update(judgements_required=needs, free_places=Least(F("free_places"), needs))
        recount_places(some)
    return len(found)


def _untouched(comparisons: QuerySet[Comparison]) -> QuerySet[Comparison]:
    """Neither judged nor leased."""
    return comparisons.filter(free_places=F("judgements_required"))
