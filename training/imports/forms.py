"""Forms of the data page: files that come in."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from annotate.formats.registry import READERS
from annotate.models.prompt import Split

MEGABYTE = 1024 * 1024


def check_size(file: UploadedFile, megabytes: int, command: str) -> UploadedFile:
    if file.size > megabytes * MEGABYTE:
        raise forms.ValidationError(f"The file is larger than {megabytes:,} MB. Import it with manage.py {command}.")
    return file


class UploadForm(forms.Form):
    file = forms.FileField(
        help_text=f"JSON Lines, a JSON array or Parquet, plain, .gz or .zst, up to {settings.LARGEST_UPLOAD_MB:,} MB."
    )

    def clean_file(self) -> Any:
        return check_size(self.cleaned_data["file"], settings.LARGEST_UPLOAD_MB, "import_preferences")


class PromptsForm(forms.Form):
    prompts = forms.FileField(
        label="File",
        help_text="JSON Lines, CSV, Parquet, or plain text with one prompt a line; plain, .gz or .zst, "
        f"up to {settings.LARGEST_UPLOAD_MB:,} MB.",
    )
    system = forms.CharField(
        required=False, label="System message", widget=forms.Textarea(attrs={"rows": 2}), help_text="For prompts that have none."
    )

    def clean_prompts(self) -> Any:
        return check_size(self.cleaned_data["prompts"], settings.LARGEST_UPLOAD_MB, "import_prompts")


class ImportForm(forms.Form):
    """How to read an upload. `field-chosen=better` among the data maps our names to the file's."""

    upload = forms.UUIDField(widget=forms.HiddenInput)
    format = forms.ChoiceField(choices=[("", "as its content says"), *((name, name) for name in sorted(READERS))], required=False)
    split = forms.ChoiceField(
        choices=[("", "decided by their content"), *Split.choices], required=False, label="New prompts belong to"
    )
    single = forms.BooleanField(required=False, label="Keep each answer of a KTO file by itself, as a rating")
    judge_again = forms.BooleanField(required=False, label="Our annotators judge these comparisons, too")

    @property
    def names(self) -> dict[str, str]:
        given = {key.removeprefix("field-"): value for key, value in self.data.items() if key.startswith("field-")}
        return {ours: theirs for ours, theirs in given.items() if theirs and theirs != ours}

    @property
    def asked(self) -> dict[str, Any]:
        """What a valid form asks of `training.imports.ordering.order_import`."""
        return {name: self.cleaned_data[name] for name in ("format", "split", "single", "judge_again")} | {"names": self.names}
