"""What was trained on a person's judgements. It stays to be seen when they are kept out of what comes."""

from dataclasses import dataclass

from django.db.models import Count

from annotate.models import Project, User
from training.models import Dataset, Version


@dataclass(frozen=True, slots=True)
class Use:
    dataset: Dataset
    judgements: int  # of the person's
    versions: tuple[Version, ...]  # that were trained on it


def uses_of(*, project: Project, person: User) -> list[Use]:
    """The datasets that hold a judgement of theirs, the newest first. Three queries."""
    link = Dataset.judgements.through
    counted = (
        link.objects.filter(judgement__annotator=person, dataset__project=project)
        .order_by()
        .values_list("dataset_id")
        .annotate(n=Count("pk"))
    )
    number = dict(counted)
    versions: dict[int, list[Version]] = {}
    trained = Version.objects.filter(run__dataset__in=list(number)).select_related("run", "project").order_by("number")
    for version in trained:
        versions.setdefault(version.run.dataset_id, []).append(version)
    datasets = Dataset.objects.filter(pk__in=list(number)).order_by("-number")
    return [Use(dataset, number[dataset.pk], tuple(versions.get(dataset.pk, ()))) for dataset in datasets]
