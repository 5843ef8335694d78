"""What the pages accept from a browser."""

from typing import Any

from django import forms
from django.contrib.auth.password_validation import password_validators_help_text_html, validate_password
from django.core.validators import RegexValidator

from annotate.judging.edits import MAX_EDIT
from annotate.judging.flags import read_flags
from annotate.judging.judgements import MAX_RATIONALE
from annotate.judging.offer import VALUES, read_value
from annotate.people.invitations import MOST_DAYS, MOST_USES
from annotate.projects.guidelines import LONGEST as LONGEST_GUIDELINES
from annotate.review.decisions import MAX_WHY, MOST_MORE

from .models import User
from .models.project import Role
from .models.review import Reason
from .models.scale import Grades

DAY = 24 * 3600


class AssignmentForm(forms.Form):
    assignment = forms.UUIDField()


class AnswerForm(forms.Form):
    """`choice` is the value of a button (`annotate.judging.offer`); cleaned, it is the choice alone, beside its `strength`.

    `flags` come as one field each (a form without its script) or as the lines of one; cleaned, they are a list.
    """

    key = forms.UUIDField()
    choice = forms.ChoiceField(
        choices=[(value, value) for value in VALUES], error_messages={"required": "Choose one of the answers."}
    )
    rationale = forms.CharField(required=False, max_length=MAX_RATIONALE)
    flags = forms.Field(required=False, widget=forms.SelectMultiple)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if "choice" in cleaned:
            cleaned["choice"], cleaned["strength"] = read_value(cleaned["choice"])
        return cleaned

    def clean_flags(self) -> list[str]:
        return read_flags("\n".join(self.cleaned_data["flags"] or []))


class JudgementForm(AnswerForm, AssignmentForm):
    edited_text = forms.CharField(required=False, max_length=MAX_EDIT)
    seconds = forms.FloatField(required=False, min_value=0, max_value=DAY)
    then = forms.ChoiceField(choices=[("next", "next")], required=False)
    beside = forms.UUIDField(required=False)


class SkipForm(AssignmentForm):
    reason = forms.CharField(required=False, max_length=200)


class BesideForm(forms.Form):
    beside = forms.UUIDField(required=False)


class PauseForm(forms.Form):
    reason = forms.CharField(
        label="What annotators read (optional)",
        required=False,
        max_length=300,
        help_text="Why it is paused and when it goes on: “The guidelines change today; back on Monday.”",
    )


class QueueForm(forms.Form):
    """Where in the queue of disputes somebody is."""

    reason = forms.ChoiceField(choices=Reason.choices, required=False)
    after = forms.IntegerField(min_value=0, max_value=2**62, required=False)


class WithdrawForm(forms.Form):
    why = forms.CharField(max_length=MAX_WHY, error_messages={"required": "Say why the judgement is withdrawn."})


class DecisionForm(forms.Form):
    """What a manager decides: to settle (then `choice` and `why` are needed), to ask for more, or to leave it as it is.

    Cleaned, `choice` is the choice alone, beside its `strength`.
    """

    decide = forms.ChoiceField(choices=[(each, each) for each in ("settle", "more", "leave")], initial="settle")
    choice = forms.ChoiceField(
        choices=[(value, value) for value in VALUES],
        required=False,
        error_messages={"invalid_choice": "Choose one of the answers."},
    )
    why = forms.CharField(max_length=MAX_WHY, required=False, widget=forms.Textarea)
    more = forms.IntegerField(min_value=1, max_value=MOST_MORE, required=False)
    seen = forms.IntegerField(min_value=0, max_value=2**62, required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("decide") == "settle":
            if not cleaned.get("choice") and "choice" not in self.errors:
                self.add_error("choice", "Choose the answer that it is settled for.")
            if not cleaned.get("why") and "why" not in self.errors:
                self.add_error("why", "Say why: it stays in the record.")
        if cleaned.get("decide") == "more" and not cleaned.get("more") and "more" not in self.errors:
            self.add_error("more", f"How many more? 1 to {MOST_MORE}.")
        if cleaned.get("choice"):
            cleaned["choice"], cleaned["strength"] = read_value(cleaned["choice"])
        return cleaned


class AccountForm(forms.ModelForm):
    class Meta:
        model = User
        fields = ["name"]
        labels = {"name": "Your name"}
        help_texts = {"name": "How others see you. Empty: your user name."}


class BreakForm(forms.ModelForm):
    class Meta:
        model = User
        fields = ["break_minutes"]
        labels = {"break_minutes": "Remind me of a break after"}
        help_texts = {"break_minutes": "Minutes of work on the compare page. 0: never."}


class PasswordForm(forms.Form):
    """Sets a password; asks for none, since a person who came by a link has none."""

    new_password = forms.CharField(
        label="New password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=password_validators_help_text_html,
    )

    def __init__(self, *args, user: User, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        if user.has_usable_password():
            self.fields["old_password"] = forms.CharField(
                label="Password until now", strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
            )
            self.order_fields(["old_password", "new_password"])

    def clean_old_password(self) -> str:
        password = self.cleaned_data["old_password"]
        if not self.user.check_password(password):
            raise forms.ValidationError("That is not your password.")
        return password

    def clean_new_password(self) -> str:
        password = self.cleaned_data["new_password"]
        validate_password(password, self.user)
        return password


class NewMemberForm(forms.Form):
    username = forms.CharField(
        label="User name",
        max_length=150,
        validators=[RegexValidator(r"^[\w.@+-]+\Z", "Letters, digits and . @ + - _ only.")],
        help_text="Someone new, or a person who already has an account here.",
    )
    role = forms.ChoiceField(choices=Role.choices, initial=Role.ANNOTATOR)


class InvitationForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices, initial=Role.ANNOTATOR)
    uses = forms.IntegerField(label="People", min_value=1, max_value=MOST_USES, initial=1, help_text="How many may join by it.")
    days = forms.IntegerField(label="Days", min_value=1, max_value=MOST_DAYS, initial=7, help_text="How long it works.")
    note = forms.CharField(label="For whom", required=False, max_length=100, help_text="Shown to managers only.")


class JoinForm(forms.Form):
    """An account, made by whoever holds an invitation."""

    username = forms.CharField(
        label="User name",
        max_length=150,
        validators=[RegexValidator(r"^[\w.@+-]+\Z", "Letters, digits and . @ + - _ only.")],
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none"}),
    )
    name = forms.CharField(
        label="Your name", required=False, max_length=100, help_text="How others see you. Empty: your user name.",
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )  # fmt: skip
    password = forms.CharField(
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=password_validators_help_text_html,
    )

    def clean_username(self) -> str:
        username = User.normalize_username(self.cleaned_data["username"])
        if User.objects.filter(username__iexact=username).exists():
            raise forms.ValidationError("This name is taken. If it is you, sign in first; else choose another.")
        return username

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("password"):
            try:
                validate_password(cleaned["password"], User(username=cleaned.get("username", ""), name=cleaned.get("name", "")))
            except forms.ValidationError as error:
                self.add_error("password", error)
        return cleaned


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


class NewProjectForm(forms.Form):
    name = forms.CharField(max_length=100)
    guidelines = forms.CharField(
        required=False,
        max_length=LONGEST_GUIDELINES,
        widget=forms.Textarea(attrs={"rows": 10}),
        help_text="Markdown: what makes one answer better than the other here. They can be changed at any time.",
    )
    grades = forms.TypedChoiceField(
        choices=Grades.choices,
        coerce=int,
        initial=Grades.TWO,
        help_text="How finely people say which answer is better. They can be changed at any time.",
    )


class GuidelinesForm(forms.Form):
    text = forms.CharField(
        label="Guidelines", required=False, max_length=LONGEST_GUIDELINES, widget=forms.Textarea(attrs={"rows": 24}),
        help_text="Markdown: headings, lists, tables, code.",
    )  # fmt: skip
    why = forms.CharField(
        label="What changes", required=False, max_length=200, help_text="In a few words. Annotators read it beside the news."
    )
    based_on = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)


class EditionForm(forms.Form):
    edition = forms.IntegerField(min_value=1, max_value=2**31 - 1)


class ExclusionForm(forms.Form):
    why = forms.CharField(
        label="Why", max_length=2000, widget=forms.Textarea(attrs={"rows": 2}), error_messages={"required": "Say why."},
        help_text="Kept with the date and your name.",
    )  # fmt: skip
