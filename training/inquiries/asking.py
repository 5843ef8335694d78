"""Asking a version something by program. The answers are written in `training.inquiries.answers`, by a worker."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from annotate.models import User
from training import tasks
from training.models import Inquiry, Version
from training.models.inquiry import InquiryKind
from training.runs.curves import resolved_settings


class InquiryRefused(Exception):
    """It cannot be asked of this version; the text says why and what to do."""


def reference_of(version: Version) -> Version | None:
    """π_ref of the run that made it; None for one that was not trained here."""
    return version.run.reference if version.run_id else None


def beta_of(version: Version) -> float:
    """β of the run that made it; the paper's 0.1 for one that was not trained here."""
    return float(resolved_settings(run=version.run)["beta"] or 0.1) if version.run_id else 0.1


@transaction.atomic
def start_inquiry(*, kind: InquiryKind, version: Version, asked: Mapping[str, Any], by: User) -> Inquiry:
    """Queued. `asked` is what `training.inquiries.answers` takes. Raises InquiryRefused."""
    if kind == InquiryKind.SCORE and version.is_endpoint:
        raise InquiryRefused(f"{version} is an endpoint: only a model whose weights are here can score given answers.")
    rows = asked["prompts"] if kind == InquiryKind.GENERATE else asked["answers"]
    inquiry = Inquiry.objects.create(
        project=version.project, kind=kind, version=version, asked=asked, by=by, total=len(rows) * asked.get("n", 1)
    )
    tasks.answer_inquiry.enqueue(inquiry.pk)
    return inquiry
