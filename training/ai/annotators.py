"""AI annotators of a project: adding one, changing how it judges, a new edition of its rubric."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max

from annotate.models import Project, User
from annotate.people.ai_members import create_ai_member
from training.models import AiAnnotator, Endpoint, Rubric, Version

LONGEST_RUBRIC = 20_000  # characters
WEIGHS, REASONS, PLAIN = "logprobs", "reason", "letter"
PROTOCOLS = [
    (WEIGHS, "One letter; its log-probability says how sure it is, and gives the grade"),
    (REASONS, "A short reason, then the verdict; the reason is kept"),
    (PLAIN, "One letter alone"),
]


class AiAnnotatorRefused(Exception):
    """One that cannot be; `fields` says what is wrong where."""

    def __init__(self, fields: dict[str, list[str]]) -> None:
        super().__init__(" ".join(message for messages in fields.values() for message in messages))
        self.fields = fields


def protocol_of(annotator: AiAnnotator) -> str:
    """One of PROTOCOLS."""
    return WEIGHS if annotator.uses_logprobs else REASONS if annotator.gives_reasons else PLAIN


def settings_of(protocol: str) -> dict[str, bool]:
    """What one of PROTOCOLS is in the row."""
    return {"uses_logprobs": protocol == WEIGHS, "gives_reasons": protocol == REASONS}


@transaction.atomic
def create_ai_annotator(
    *, project: Project, name: str, rubric: str, endpoint: Endpoint | None = None, version: Version | None = None,
    by: User | None = None, **protocol: Any,
) -> AiAnnotator:  # fmt: skip
    """A member that judges: an endpoint or a version. `protocol`: gives_reasons, uses_logprobs, temperature, is_on.

    Raises AiAnnotatorRefused.
    """
    name, rubric = name.strip(), _checked(rubric)
    if not name:
        raise AiAnnotatorRefused({"name": ["Give it a name: people see it beside its judgements."]})
    if (endpoint or version) is None or (endpoint and version):
        raise AiAnnotatorRefused({"speaker": ["Choose what judges: an endpoint, or a version."]})
    if (endpoint or version).project_id != project.pk:
        raise AiAnnotatorRefused({"speaker": ["It belongs to another project."]})
    user = create_ai_member(project=project, name=name)
    annotator = AiAnnotator(project=project, user=user, endpoint=endpoint, version=version, created_by=by, **protocol)
    _save(annotator)
    Rubric.objects.create(annotator=annotator, number=1, text=rubric, by=by)
    return annotator


@transaction.atomic
def change_ai_annotator(
    *, annotator: AiAnnotator, name: str, rubric: str, by: User | None = None, **protocol: Any
) -> AiAnnotator:
    """Another text is another edition of the rubric; judgements know by which they were made. Raises AiAnnotatorRefused."""
    annotator = AiAnnotator.objects.select_for_update(no_key=True).get(pk=annotator.pk)
    name, rubric = name.strip(), _checked(rubric)
    if not name:
        raise AiAnnotatorRefused({"name": ["Give it a name: people see it beside its judgements."]})
    for field, value in protocol.items():
        setattr(annotator, field, value)
    _save(annotator)
    User.objects.filter(pk=annotator.user_id).update(name=name)
    if rubric != annotator.rubric.text:
        newest = annotator.rubrics.aggregate(newest=Max("number"))["newest"]
        Rubric.objects.create(annotator=annotator, number=newest + 1, text=rubric, by=by)
    return annotator


def _checked(rubric: str) -> str:
    rubric = rubric.strip()
    if not rubric:
        raise AiAnnotatorRefused({"rubric": ["Say what makes an answer better: it judges by nothing else."]})
    if len(rubric) > LONGEST_RUBRIC:
        raise AiAnnotatorRefused({"rubric": [f"Keep it under {LONGEST_RUBRIC:,} characters: it is sent with every pair, twice."]})
    return rubric


def _save(annotator: AiAnnotator) -> None:
    try:
        annotator.full_clean(exclude=["user", "project", "created_by"])
    except ValidationError as refused:
        told = refused.message_dict
        raise AiAnnotatorRefused(
            {("uses_logprobs" if name == "__all__" else name): list(why) for name, why in told.items()}
        ) from None
    annotator.save()
