"""What the gold pages accept from a browser."""

from typing import Any

from django import forms

from annotate.gold.known_answers import MAX_REASON
from annotate.gold.lists import SHOWN
from annotate.gold.scale_line import place_at, places_of
from annotate.models import GoldAnswer
from annotate.models.scale import Grades


class GoldListForm(forms.Form):
    show = forms.ChoiceField(choices=list(SHOWN.items()), required=False)
    q = forms.CharField(max_length=200, required=False, label="Search the prompts")
    before = forms.IntegerField(min_value=0, max_value=2**62, required=False)


class GoldForm(forms.Form):
    """The first and the last answer that is right, as on a row from A to B; cleaned, `low` and `high` on the line."""

    first = forms.ChoiceField(label="Right are: from", required=False)
    last = forms.ChoiceField(label="to", required=False)
    accepts_both_bad = forms.BooleanField(label="“Both bad” is right too", required=False)
    reason = forms.CharField(
        label="Why (optional)", required=False, max_length=MAX_REASON, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Annotators read it after their answer, where the project gives feedback.",
    )  # fmt: skip

    def __init__(self, *args: Any, grades: Grades, gold: GoldAnswer | None = None, **kwargs: Any) -> None:
        self.places = places_of(grades)
        if gold:
            kwargs["initial"] = {
                "first": place_at(self.places, gold.high), "last": place_at(self.places, gold.low),
                "accepts_both_bad": gold.accepts_both_bad, "reason": gold.reason,
            }  # fmt: skip
        super().__init__(*args, **kwargs)
        for name in ("first", "last"):
            self.fields[name].choices = [("", "none of the row"), *((place.key, place.label) for place in self.places)]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        order = [place.key for place in self.places]
        first, last = cleaned.get("first", ""), cleaned.get("last", "") or cleaned.get("first", "")
        if first and order.index(first) > order.index(last):
            first, last = last, first
        at = {place.key: place for place in self.places}
        cleaned["low"], cleaned["high"] = (at[last].low, at[first].high) if first else (None, None)
        if not first and not cleaned.get("accepts_both_bad") and not self.errors:
            self.add_error("first", "Choose the answers that are right.")
        return cleaned


class PeopleField(forms.ModelMultipleChoiceField):
    """Some of its people, by their ids. Anything else is none of the choices, also what no column of ids could hold."""

    def clean(self, value: Any) -> Any:
        known = {str(pk) for pk in self.queryset.values_list("pk", flat=True)}
        if strange := [each for each in value or [] if str(each) not in known]:
            raise forms.ValidationError(self.error_messages["invalid_choice"], "invalid_choice", {"value": strange[0][:20]})
        return super().clean(value)


class HandoutForm(forms.Form):
    name = forms.CharField(label="Name of the batch", max_length=100)
    count = forms.IntegerField(label="Comparisons", min_value=1, max_value=10_000, initial=20)
    containing = forms.CharField(
        label="Only prompts that contain (optional)", max_length=200, required=False, help_text="A word or a phrase."
    )
    people = PeopleField(
        queryset=None, label="For", widget=forms.CheckboxSelectMultiple, error_messages={"required": "Choose who gets it."}
    )

    def __init__(self, *args: Any, people: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["people"].queryset = people
        self.fields["people"].label_from_instance = lambda user: user.get_full_name()
