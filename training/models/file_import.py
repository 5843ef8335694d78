"""File imports: an uploaded file of judged comparisons, or of prompts, on its way in."""

from django.db import models

from annotate.models import PreferenceImport, Project, User

from .job import Job


class FileImport(Job):
    """A job that brings an upload's rows in; `progress` and `total` are kilobytes of the file as it was uploaded."""

    takes_back = True

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="file_imports")
    upload = models.UUIDField(unique=True, help_text="The file, by the name under which uploads are kept.")
    file_name = models.CharField(max_length=200)
    asked = models.JSONField(help_text="How to read it: format, names, split, single, judge_again.")
    batch = models.ForeignKey(
        PreferenceImport, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="What has come in of it."
    )
    rows = models.PositiveIntegerField(default=0, help_text="Of the file, that are dealt with: to go on after.")
    refused_bytes = models.PositiveBigIntegerField(default=0, help_text="Of the report of refused rows, up to there.")
    by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["state", "heartbeat_at"], name="file_import_by_state")]

    def __str__(self) -> str:
        return f"import of {self.file_name}"
