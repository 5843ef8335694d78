"""What is asked in the playground: a message, one or two versions, how to sample."""

from typing import Any

from django import forms

from annotate.models import Project
from training.form_errors import WithErrorsAtTheFields
from training.models import Tryout, Version
from training.playground.asking import seed_by_chance

LONGEST = 50_000  # characters of one message
MOST_TURNS = 40
KEPT = ("temperature", "top_p", "max_new_tokens", "first", "second")


class PlaygroundForm(WithErrorsAtTheFields, forms.ModelForm):
    text = forms.CharField(label="Your message", max_length=LONGEST, widget=forms.Textarea(attrs={"rows": 5}))
    system = forms.CharField(label="System prompt", max_length=LONGEST, required=False, widget=forms.Textarea(attrs={"rows": 2}))
    follows = forms.ChoiceField(
        label="Conversation", required=False,
        choices=[("", "A new one"), ("first", "Goes on from the answer on the left"), ("second", "… on the right")],
    )  # fmt: skip

    class Meta:
        model = Tryout
        fields = ("first", "second", "temperature", "top_p", "max_new_tokens", "seed")
        labels = {"first": "Version", "second": "Beside it", "top_p": "Top-p", "max_new_tokens": "Longest answer, in tokens"}
        help_texts = {"seed": "By chance if empty."}

    def __init__(self, *args: Any, project: Project, before: Tryout | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.before = before
        for name in ("first", "second"):
            self.fields[name].queryset = Version.objects.of(project).trainable().select_related("project")
            self.fields[name].label_from_instance = lambda version: f"{version}: {version.name}"
        self.fields["first"].empty_label = None
        self.fields["second"].empty_label = "Nothing"
        self.fields["seed"].required = False
        if before is None:
            del self.fields["follows"]

    def clean_seed(self) -> int:
        seed = self.cleaned_data["seed"]
        return seed_by_chance() if seed is None else seed

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        side = cleaned.get("follows")
        earlier = []
        if side and self.before:
            answer = getattr(self.before, f"{side}_text")
            if not answer.strip():
                self.add_error("follows", "There is no answer on that side to go on from.")
            earlier = [*self.before.messages, {"role": "assistant", "content": answer}]
        elif system := cleaned.get("system", ""):
            earlier = [{"role": "system", "content": system.replace("\r\n", "\n")}]
        if len(earlier) >= MOST_TURNS:
            self.add_error("follows", f"A conversation here has at most {MOST_TURNS} messages. Begin a new one.")
        cleaned["messages"] = [*earlier, {"role": "user", "content": cleaned.get("text", "").replace("\r\n", "\n")}]
        return cleaned

    @property
    def asked(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in (*self.Meta.fields, "messages")}


def initial_of(project: Project, before: Tryout | None, serving: Version | None) -> dict[str, Any]:
    """As the last time; at first the serving version beside its parent, sampled as the project samples."""
    if before:
        return {name: getattr(before, name) for name in KEPT} | {"follows": "first" if before.first_text else ""}
    return {
        "first": serving, "second": serving.parent if serving else None, "temperature": project.temperature,
        "top_p": project.top_p, "max_new_tokens": project.max_new_tokens,
    }  # fmt: skip
