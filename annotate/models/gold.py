"""Gold: comparisons with a known answer, and who may go on after the first of them."""

from django.db import models
from django.db.models import F, Q

from .comparison import Comparison
from .people import User

BEST, WORST = 4, -4  # the first completion is significantly better, the second one is; 0 is a tie


class GoldAnswer(models.Model):
    """What is accepted of a known answer: a range on the line from WORST to BEST, or that both are bad, or either.

    In stored order, so whatever stands left on a screen. The row stays when its comparison is gold no more.
    """

    comparison = models.OneToOneField(Comparison, primary_key=True, on_delete=models.CASCADE, related_name="gold")
    low = models.SmallIntegerField(null=True, blank=True)
    high = models.SmallIntegerField(null=True, blank=True)
    accepts_both_bad = models.BooleanField(default=False)
    reason = models.TextField(blank=True, help_text="Shown after the answer, where the project gives feedback.")
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    marked_at = models.DateTimeField(auto_now=True, help_text="Or unmarked.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(low__gte=WORST, high__lte=BEST, low__lte=F("high")) | Q(low=None, high=None, accepts_both_bad=True),
                name="gold_accepts_something",
                violation_error_message="A known answer accepts a range of answers, or that both are bad.",
            ),
        ]
