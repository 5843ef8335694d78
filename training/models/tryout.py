"""Tryouts: a prompt or a conversation that somebody puts to one or two versions in the playground."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse

from annotate.models import Comparison, Project, User

from .job import Job
from .version import Version


class Tryout(Job):
    """The texts grow while a worker writes them. Nothing of it enters the project unless somebody makes it a comparison."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="tryouts")
    messages = models.JSONField(help_text="A conversation that ends with the user's message.")
    first = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="+")
    second = models.ForeignKey(Version, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    temperature = models.FloatField(validators=[MinValueValidator(0.0), MaxValueValidator(5.0)])
    top_p = models.FloatField(validators=[MinValueValidator(0.01), MaxValueValidator(1.0)])
    max_new_tokens = models.PositiveIntegerField(validators=[MinValueValidator(1), MaxValueValidator(4096)])
    seed = models.BigIntegerField(validators=[MinValueValidator(0), MaxValueValidator(2**31 - 1)])
    first_text = models.TextField(blank=True)
    second_text = models.TextField(blank=True)
    told = models.JSONField(default=dict, blank=True, help_text="Of each side that is done: tokens, finish reason, log π, dtype.")
    comparison = models.OneToOneField(Comparison, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")

    def get_absolute_url(self) -> str:
        return reverse("tryout", args=[self.project.slug, self.pk])
