"""Comparisons: two completions of one prompt, waiting for judgements."""

import json
import random
from collections import Counter

from django.db import connection, models
from django.db.models import F, Q

from .completion import Completion
from .preference_import import PreferenceImport
from .project import Project
from .prompt import Prompt


class Purpose(models.TextChoices):
    TRAIN = "train", "Training"
    EVALUATE = "evaluate", "Blind evaluation"
    GOLD = "gold", "Known answer"


class ComparisonState(models.TextChoices):
    OPEN = "open", "Open"
    DONE = "done", "Done"
    RETIRED = "retired", "Retired"  # superseded before anybody judged it


class ComparisonQuerySet(models.QuerySet):
    def open(self):
        return self.filter(state=ComparisonState.OPEN)

    def for_training(self):
        """Not for evaluation, and not gold."""
        return self.filter(purpose=Purpose.TRAIN)

    def unanimous(self):
        """Done, with two judgements or more (`votes`) that all say the same."""
        votes = models.Q(judgements__withdrawn_at=None, judgements__assignment__is_gold=False)
        counted = self.filter(state=ComparisonState.DONE).annotate(
            votes=models.Count("judgements", filter=votes),
            outcomes=models.Count("judgements__outcome", filter=votes, distinct=True),
        )
        return counted.filter(votes__gte=2, outcomes=1)

    def whose_prompt_contains(self, text: str):
        """In whatever case. The text is looked for as it stands in the stored JSON."""
        needle = json.dumps(text, ensure_ascii=connection.vendor == "sqlite")[1:-1]
        return self.filter(prompt__messages__icontains=needle)

    def rounds_of(self, prompts):
        """How many pairs each of the prompts has: the `round` of its next one. Retired ones are as good as none."""
        of_prompts = self.filter(prompt__in=prompts).exclude(state=ComparisonState.RETIRED)
        return Counter(dict(of_prompts.order_by().values_list("prompt").annotate(n=models.Count("pk"))))

    def claimable(self):
        """Open, with a place that neither a judgement nor a live lease takes. Answered by an index."""
        return self.open().filter(free_places__gt=0)


def anywhere() -> float:
    return random.random()


class Comparison(models.Model):
    """A pair (x, y_first, y_second). `first`/`second` is the stored order; what an annotator sees on the left
    is decided per assignment.

    `free_places` = judgements required − judgements − live leases. It is kept in the same transaction as the
    row that changes it (`annotate.queue.claims`, `annotate.judging.judgements`), so that a claim is one index look-up.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="comparisons")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="comparisons")
    first = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    second = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="+")
    purpose = models.CharField(max_length=10, choices=Purpose.choices, default=Purpose.TRAIN)
    state = models.CharField(max_length=10, choices=ComparisonState.choices, default=ComparisonState.OPEN)
    priority = models.FloatField(default=0.0, help_text="Higher comes first.")
    round = models.PositiveIntegerField(
        default=0, help_text="How many pairs its prompt had before it: among equals, the first pair of every prompt comes first."
    )
    shuffle = models.FloatField(default=anywhere, help_text="A number in [0, 1) that an index finds a random one by.")
    judgements_required = models.PositiveSmallIntegerField()
    free_places = models.PositiveSmallIntegerField()
    handout = models.ForeignKey("Handout", null=True, blank=True, on_delete=models.SET_NULL, related_name="comparisons")
    batch = models.ForeignKey(PreferenceImport, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    source = models.CharField(max_length=200, blank=True, help_text="File and row that an imported one came from.")
    content_hash = models.CharField(max_length=64, blank=True, help_text="Of an imported one: the same pair comes in once.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ComparisonQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(first=F("second")),
                name="comparison_of_two_completions",
                violation_error_message="A comparison needs two different completions.",
            ),
            models.CheckConstraint(condition=Q(free_places__gte=0), name="comparison_is_never_overbooked"),
            models.CheckConstraint(
                condition=Q(free_places__lte=F("judgements_required")), name="comparison_places_at_most_required"
            ),
            models.UniqueConstraint(
                fields=["project", "content_hash"], condition=~Q(content_hash=""), name="imported_comparison_is_unique"
            ),
        ]
        indexes = [
            # `state` is the same in all of their rows; with it, SQLite's planner never prefers `comparison_by_state`
            # (and a sort of the whole queue) to them.
            models.Index(
                "project",
                "purpose",
                "state",
                F("priority").desc(),
                "round",
                "id",
                condition=Q(state="open", free_places__gt=0, handout=None),
                name="comparison_claimable",
            ),
            models.Index(
                fields=["project", "purpose", "state", "shuffle"],
                condition=Q(state="open", free_places__gt=0, handout=None),
                name="comparison_claimable_shuffled",
            ),
            models.Index(
                "handout",
                "state",
                F("priority").desc(),
                "round",
                "id",
                condition=Q(state="open", free_places__gt=0, handout__isnull=False),
                name="comparison_handed_out",
            ),
            models.Index(fields=["project", "state"], name="comparison_by_state"),
            models.Index(fields=["project"], condition=Q(purpose="gold"), name="comparison_gold"),  # few among very many
        ]
