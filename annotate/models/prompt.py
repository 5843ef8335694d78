"""Prompts: x, a list of chat messages that ends with the user's."""

import hashlib
import json

from django.db import models

from .preference_import import PreferenceImport
from .project import Project

HELDOUT_IN = 5  # one prompt in five is held out


class Split(models.TextChoices):
    TRAIN = "train", "Train"
    HELDOUT = "heldout", "Held out"

    @classmethod
    def of(cls, content_hash: str) -> "Split":
        """The split of a prompt that is new here, decided by its content alone, unless the import that brings it names one.
        It belongs there for good: no later import moves it."""
        return cls.HELDOUT if int(content_hash[:8], 16) % HELDOUT_IN == 0 else cls.TRAIN


def content_hash(messages: list[dict[str, str]]) -> str:
    """SHA-256 of the messages' canonical JSON."""
    canonical = json.dumps(messages, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class PromptQuerySet(models.QuerySet):
    def train(self):
        return self.filter(split=Split.TRAIN)

    def heldout(self):
        return self.filter(split=Split.HELDOUT)


class Prompt(models.Model):
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompts")
    messages = models.JSONField(help_text='[{"role": "user", "content": "…"}]; a system message may come first.')
    content_hash = models.CharField(max_length=64)
    split = models.CharField(max_length=10, choices=Split.choices)
    tags = models.JSONField(default=list, blank=True)
    source = models.CharField(max_length=200, blank=True)
    batch = models.ForeignKey(PreferenceImport, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PromptQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "content_hash"], name="prompt_is_unique_in_its_project"),
            models.CheckConstraint(condition=models.Q(split__in=Split.values), name="prompt_split_is_known"),
        ]
        indexes = [models.Index(fields=["project", "split"], name="prompt_by_split")]

    @property
    def last_message(self) -> str:
        return self.messages[-1]["content"]
