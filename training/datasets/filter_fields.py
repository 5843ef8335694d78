"""The filters of a dataset as fields of a form: of the page that starts a run, and of an export."""

from typing import Any

from django import forms

from annotate.data.prompts import FORMAT as PROMPTS
from annotate.models import Project
from annotate.models.project import Consensus
from annotate.projects.judged import people_of
from training.datasets.filters import GENERATED, STRONGEST, FilterError, Filters
from training.models import Version

FILTERS = ("consensus", "min_strength", "since", "until", "people", "sources", "versions", "fresh")


class FilterFields(forms.Form):
    """What is left empty leaves nothing out. A valid form has its `Filters` in `cleaned_data["filters"]`."""

    consensus = forms.ChoiceField(required=False, label="From judgements to triples")
    min_strength = forms.TypedChoiceField(required=False, coerce=int, empty_value=None, label="Least strength")
    since = forms.DateField(required=False, label="Judged from", widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(required=False, label="Judged until", widget=forms.DateInput(attrs={"type": "date"}))
    people = forms.MultipleChoiceField(required=False, label="Only judgements of")
    sources = forms.MultipleChoiceField(required=False, label="Only pairs from")
    versions = forms.MultipleChoiceField(required=False, label="Only pairs written by")
    fresh = forms.BooleanField(required=False, label="Leave stale pairs out")

    project: Project

    def offer_filters(self, project: Project, versions: list[Version]) -> None:
        """What there is to choose from in this project."""
        offered = self.fields
        rule = Consensus(project.consensus).label.partition(":")[0].lower()
        offered["consensus"].choices = [("", f"The project's rule ({rule})"), *Consensus.choices]
        strengths = [(n, f"{n} of {STRONGEST}") for n in range(2, STRONGEST + 1)]
        offered["min_strength"].choices = [("", "Every strength"), *strengths]
        offered["people"].choices = [(str(user.pk), user.get_full_name()) for user in people_of(project).order_by("username")]
        judged = project.imports.filter(undone_at=None).exclude(format=PROMPTS)
        imports = judged.order_by("number").values_list("number", "file_name")
        offered["sources"].choices = [(GENERATED, "Generated here"), *((f"i{n}", f"Import {n}: {name}") for n, name in imports)]
        offered["versions"].choices = [(str(version.number), f"{version}: {version.name}") for version in versions]
        for name in ("people", "sources", "versions"):
            offered[name].widget = forms.SelectMultiple(choices=offered[name].choices, attrs={"size": 4})
        for name in ("since", "until", "consensus", "min_strength"):
            offered[name].widget.attrs.setdefault("autocomplete", "off")

    @property
    def choosers(self) -> list[forms.BoundField]:
        return [self[name] for name in ("people", "sources", "versions")]

    @property
    def filters_are_open(self) -> bool:
        return any(self[name].errors or self[name].value() for name in FILTERS)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        try:
            cleaned["filters"] = Filters.read({name: cleaned.get(name) for name in FILTERS}, project=self.project)
        except FilterError as error:
            for name, message in error.fields.items():
                self.add_error(name, message)
        return cleaned
