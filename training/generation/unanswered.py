"""Which prompts a version has still to answer: it writes one pair for each, and then waits for new ones."""

from django.db.models import Exists, OuterRef, Q, QuerySet

from annotate.models import Comparison, Prompt
from annotate.models.comparison import Purpose
from training.models import Version


def unanswered_prompts(version: Version) -> QuerySet[Prompt]:
    """Those of its project without a pair of its own to train on, judged, waiting or retired."""
    own = Q(first__version=version) | Q(second__version=version)
    pairs = Comparison.objects.filter(own, prompt=OuterRef("pk"), purpose=Purpose.TRAIN)
    return Prompt.objects.filter(~Exists(pairs), project_id=version.project_id)
