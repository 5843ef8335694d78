"""The form of an export: a format, a split, and the filters of a dataset."""

from typing import Any

from django import forms

from annotate.data.exports import Wanted
from annotate.formats.registry import JUDGEMENT_WRITERS, TRIPLE_WRITERS
from annotate.models import Project
from annotate.models.prompt import Split
from training.datasets.cards import NoLicence, check_licence
from training.datasets.filter_fields import FilterFields
from training.form_errors import WithErrorsAtTheFields
from training.models import Version
from training.versions.registry import serving_version


class ExportForm(WithErrorsAtTheFields, FilterFields):
    field_order = ("format", "split", "licence")

    format = forms.ChoiceField(
        choices=[
            ("Triples, by consensus", [(name, name) for name in TRIPLE_WRITERS]),
            ("Every judgement", [(name, name) for name in JUDGEMENT_WRITERS]),
        ]
    )
    split = forms.ChoiceField(choices=[("", "Both"), *Split.choices], required=False, label="Prompts")
    licence = forms.CharField(
        required=False, max_length=60, label="Licence", help_text="For the card: cc-by-4.0, mit, …",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )  # fmt: skip

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "export_%s"} | kwargs)
        self.project = project
        self.offer_filters(project, list(Version.objects.of(project).select_related("project")))

    def clean_licence(self) -> str:
        try:
            return check_licence(self.cleaned_data["licence"])
        except NoLicence as error:
            raise forms.ValidationError(str(error)) from None

    @property
    def wanted(self) -> Wanted:
        """What a valid form asks for."""
        start = serving_version(self.project)
        return self.cleaned_data["filters"].wanted(project=self.project, split=self.cleaned_data["split"], start=start)
