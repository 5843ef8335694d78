"""The forms of AI annotators."""

from typing import Any

from django import forms

from annotate.models import Project
from annotate.models.project import AiJudgements
from training.ai.annotators import LONGEST_RUBRIC, PROTOCOLS, AiAnnotatorRefused, protocol_of, settings_of
from training.forms import WithErrorsAtTheFields
from training.models import AiAnnotator

RUBRIC = """- It answers what was asked, and nothing else.
- It is correct, and says so where something is not known.
- It is clear and as short as it can be."""


class AiAnnotatorForm(WithErrorsAtTheFields, forms.Form):
    name = forms.CharField(max_length=100, help_text="People see it beside its judgements, marked as AI.")
    speaker = forms.ChoiceField(label="Who judges", help_text="An endpoint, or a version of this project.")
    rubric = forms.CharField(
        max_length=LONGEST_RUBRIC,
        initial=RUBRIC,
        widget=forms.Textarea(attrs={"rows": 8}),
        help_text="What makes an answer better, in Markdown. Each edition is kept; a judgement knows its own.",
    )
    protocol = forms.ChoiceField(
        choices=PROTOCOLS, label="How it answers", help_text="Each pair is asked in both orders. Where they disagree it is a tie."
    )
    temperature = forms.FloatField(min_value=0, max_value=2, initial=0, help_text="0: the same answer each time.")

    def __init__(self, *args: Any, project: Project, annotator: AiAnnotator | None = None, **kwargs: Any) -> None:
        if annotator:
            kwargs["initial"] = {
                "name": str(annotator), "rubric": annotator.rubric.text, "protocol": protocol_of(annotator),
                "is_on": annotator.is_on, "temperature": annotator.temperature,
            }  # fmt: skip
        super().__init__(*args, **kwargs)
        self.speakers = {f"endpoint-{each.pk}": ("endpoint", each) for each in project.endpoints.order_by("name")}
        own = project.versions.trainable().order_by("-number")
        self.speakers |= {f"version-{each.pk}": ("version", each) for each in own}
        self.fields["speaker"].choices = [
            (key, f"{each} at {each.base_url}" if kind == "endpoint" else f"{each} {each.name}")
            for key, (kind, each) in self.speakers.items()
        ]
        if annotator:
            del self.fields["speaker"]  # another model would be another annotator
            self.fields["is_on"] = forms.BooleanField(required=False, label="It judges new pairs as they come")

    def given(self) -> dict[str, Any]:
        """What the functions of `training.ai.annotators` take."""
        cleaned = dict(self.cleaned_data)
        given = settings_of(cleaned.pop("protocol")) | cleaned
        if speaker := given.pop("speaker", ""):
            kind, each = self.speakers[speaker]
            given[kind] = each
        return given

    def take(self, refused: AiAnnotatorRefused) -> None:
        for name, messages in refused.fields.items():
            for message in messages:
                self.add_error(name if name in self.fields else None, message)
        self.mark_errors()


class PurposeForm(forms.Form):
    ai_judgements = forms.ChoiceField(
        choices=AiJudgements.choices, widget=forms.RadioSelect, label="What their judgements are for"
    )
