"""The form of an endpoint."""

from typing import Any

from django import forms

from training.endpoints.registering import EndpointRefused
from training.forms import WithErrorsAtTheFields
from training.models import Endpoint


class ObjectField(forms.JSONField):
    """A JSON object; none is an empty control, not the word "null"."""

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None or value == {} else super().prepare_value(value)


class EndpointForm(WithErrorsAtTheFields, forms.Form):
    """All of an endpoint but its key variable, which only the command line sets. A stored key is never sent back."""

    name = forms.CharField(max_length=100, help_text="How people here see it.")
    base_url = forms.CharField(
        max_length=500,
        label="Base URL",
        help_text="Up to /v1, such as http://127.0.0.1:8000/v1. Addresses inside your own network are allowed: the server that "
        "runs Prefloop asks them.",
        widget=forms.TextInput(attrs={"inputmode": "url", "autocomplete": "off", "spellcheck": "false"}),
    )
    model = forms.CharField(max_length=200, label="Model", help_text="As the server calls it.")
    key = forms.CharField(
        max_length=1000,
        required=False,
        label="Key",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Stored encrypted and never shown again. Many servers of your own need none.",
    )
    requests_per_minute = forms.IntegerField(
        min_value=1, max_value=1_000_000, required=False, label="Requests a minute", help_text="Empty: as many as it takes."
    )
    concurrency = forms.IntegerField(min_value=1, max_value=64, initial=4, label="Requests at once")
    timeout_seconds = forms.IntegerField(
        min_value=1, max_value=3600, initial=60, label="Time-out, in seconds", help_text="The longest silence within an answer."
    )
    price_in = forms.DecimalField(
        min_value=0,
        max_digits=10,
        decimal_places=4,
        initial=0,
        required=False,
        label="Price in",
        help_text="$ per million tokens read.",
    )
    price_out = forms.DecimalField(
        min_value=0,
        max_digits=10,
        decimal_places=4,
        initial=0,
        required=False,
        label="Price out",
        help_text="$ per million written.",
    )
    extra = ObjectField(
        required=False,
        label="More fields of each request",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text='A JSON object for what only this server knows, such as {"top_k": 50}.',
    )
    loads_adapters = forms.BooleanField(
        required=False,
        label="A vLLM that takes LoRA adapters",
        help_text="A LoRA version that is made to serve is loaded into it and answers from there.",
    )

    def __init__(self, *args: Any, endpoint: Endpoint | None = None, **kwargs: Any) -> None:
        if endpoint:
            kwargs["initial"] = {name: getattr(endpoint, name) for name in self.base_fields if name != "key"}
        super().__init__(*args, **kwargs)
        if endpoint and endpoint.has_key:
            self.fields["key"].help_text = (
                f"It comes from {endpoint.key_variable} in the environment." if endpoint.key_variable
                else "One is stored. Leave this empty to keep it; what you type here takes its place."
            )  # fmt: skip
            self.fields["forget_key"] = forms.BooleanField(required=False, label="Forget the stored key")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        for name in ("price_in", "price_out"):
            if cleaned.get(name) is None and name not in self.errors:
                cleaned[name] = 0
        if cleaned.get("extra") is None and "extra" not in self.errors:
            cleaned["extra"] = {}
        return cleaned

    def take(self, refused: EndpointRefused) -> None:
        """Show what was refused at its fields."""
        for name, messages in refused.fields.items():
            for message in messages:
                self.add_error(name if name in self.fields else None, message)
        self.mark_errors()
