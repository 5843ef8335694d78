"""The form that starts a run: what it trains on, from where, and every setting of the trainer."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import QueryDict

from annotate.models import Project
from training.datasets.filter_fields import FILTERS, FilterFields
from training.dpo.config import FIELDS, PRESETS, Hyperparameter, hyperparameters
from training.form_errors import WithErrorsAtTheFields
from training.models import Run, Version
from training.runs.ordering import MOST_PROCESSES, Order

LOSSES = {
    "dpo": "DPO",
    "robust": "Robust DPO",
    "ipo": "IPO",
    "hinge": "Hinge (SLiC)",
    "dpo_norm": "Length-normalised DPO",
    "dpo_ties": "DPO with ties",
    "kto": "KTO (each answer by itself)",
    "sft": "SFT on the chosen answers",
    "unlikelihood": "Unlikelihood",
}
PRESET_LABELS = {"lora": "LoRA"}
LABELS = {
    "loss": "Method (loss)", "beta": "β (pull to the reference)", "learning_rate": "Learning rate", "epochs": "Epochs",
    "batch_pairs": "Pairs per step", "label_smoothing": "Label smoothing ε", "nll_weight": "Weight of the NLL term",
    "strength_offset": "Margin per point of strength", "tie_width": "Width of a tie",
    "desirable_weight": "Weight of chosen answers (KTO)", "undesirable_weight": "Weight of rejected answers (KTO)",
    "unlikelihood_weight": "Weight of unlikelihood", "checkpoint_activations": "Compute layers again (less memory)",
    "sft_epochs": "Epochs of SFT first", "lora_rank": "LoRA rank",
    "lora_alpha": "LoRA α", "lora_targets": "Layers with adapters", "dora": "DoRA", "optimizer": "Optimizer",
    "weight_decay": "Weight decay", "warmup_steps": "Warm-up steps", "schedule": "Schedule", "max_grad_norm": "Clip gradients at",
    "max_steps": "Steps, instead of epochs", "max_prompt_tokens": "Longest prompt, in tokens",
    "max_completion_tokens": "Longest answer, in tokens", "over_long": "Pairs that are too long", "compute": "Arithmetic",
    "device": "Device", "micro_batch_tokens": "Tokens in memory at once", "threads": "CPU threads",
    "heldout_every": "Steps between evaluations", "checkpoint_every": "Steps between checkpoints", "seed": "Seed",
    "samples": "Sample prompts", "sample_tokens": "Longest sample, in tokens", "samples_every": "Steps between samples",
}  # fmt: skip
MAIN = ("loss", "beta", "learning_rate", "epochs", "batch_pairs")  # always in sight
GROUPS = (
    ("Method", (
        "label_smoothing", "nll_weight", "strength_offset", "sft_epochs", "tie_width", "desirable_weight", "undesirable_weight",
        "unlikelihood_weight",
    )),
    ("Adapters (LoRA)", ("lora_rank", "lora_alpha", "lora_targets", "dora")),
    ("Optimizer", ("optimizer", "weight_decay", "warmup_steps", "schedule", "max_grad_norm", "max_steps", "seed")),
    ("Lengths", ("max_prompt_tokens", "max_completion_tokens", "over_long")),
    ("Machine", (
        "compute", "device", "micro_batch_tokens", "checkpoint_activations", "threads", "heldout_every", "checkpoint_every",
        "samples", "sample_tokens", "samples_every",
    )),
)  # fmt: skip


def preset_choices() -> list[tuple[str, str]]:
    return [(name, PRESET_LABELS.get(name, name.capitalize())) for name in PRESETS]


@dataclass(frozen=True)
class Setting:
    """One setting of the trainer as the form shows it."""

    field: forms.BoundField
    as_preset: str  # what the presets make of it: "Paper 1 · Small 2"
    range: str  # "0 to 100", "" where nothing bounds it


class TrainForm(WithErrorsAtTheFields, FilterFields):
    """A preset, where to start, what to train on, and settings that differ from the preset's.

    What is left empty follows the preset, or leaves nothing out.
    """

    preset = forms.ChoiceField(choices=preset_choices)
    parent = forms.ModelChoiceField(
        Version.objects.none(), required=False, empty_label="The serving version", label="Start from",
        help_text="Its weights are where training starts.",
    )  # fmt: skip
    reference = forms.ModelChoiceField(
        Version.objects.none(), required=False, empty_label="The version it starts from", label="Reference",
        help_text="What the trained version is held close to (π_ref).",
    )  # fmt: skip
    processes = forms.IntegerField(
        required=False, min_value=1, max_value=MOST_PROCESSES, label="Processes",
        help_text="That train together on the worker's host, one for each GPU; 1 if empty.",
    )  # fmt: skip

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **{"initial": {"preset": project.preset}} | kwargs)
        self.project = project
        versions = list(Version.objects.of(project).select_related("project"))
        for name in ("parent", "reference"):
            self.fields[name].queryset = Version.objects.of(project).trainable()
            weights = [(v.pk, f"{v}: {v.name}") for v in versions if not v.is_endpoint]
            self.fields[name].choices = [("", self.fields[name].empty_label), *weights]
        self.offer_filters(project, versions)
        for setting in hyperparameters():
            self.fields[setting.name] = _field(setting)
        self.fields["processes"].widget.attrs.setdefault("autocomplete", "off")

    # -- what the template shows -----------------------------------------------------------------------------

    @property
    def presets(self) -> list[dict[str, Any]]:
        chosen = self["preset"].value()
        return [
            {"name": name, "label": label, "help": PRESETS[name].help, "checked": name == chosen}
            for name, label in preset_choices()
        ]

    @property
    def starts(self) -> list[forms.BoundField]:
        return [self[name] for name in ("parent", "reference")]

    @property
    def main(self) -> list[Setting]:
        return [self._setting(name) for name in MAIN]

    @property
    def groups(self) -> list[tuple[str, list[Setting]]]:
        """The other settings, folded. One that nobody has put into a group comes last."""
        named = {name for _, names in GROUPS for name in names} | set(MAIN)
        rest = tuple(setting.name for setting in hyperparameters() if setting.name not in named)
        groups = [(title, [self._setting(name) for name in names]) for title, names in GROUPS]
        return [*groups, ("Others", [self._setting(name) for name in rest])] if rest else groups

    @property
    def more_is_open(self) -> bool:
        """Some folded setting was chosen, or is wrong."""
        folded = [setting.field for _, settings in self.groups for setting in settings]
        return any(field.errors or field.value() not in (None, "") for field in folded) or bool(self["processes"].value())

    def _setting(self, name: str) -> Setting:
        return Setting(self[name], _as_preset(name), _range(name))

    # -- what it gives ---------------------------------------------------------------------------------------

    @property
    def overrides(self) -> dict[str, float | int | str | bool]:
        return {s.name: value for s in hyperparameters() if (value := self.cleaned_data.get(s.name)) not in (None, "")}

    @property
    def order(self) -> Order:
        """What a valid form asks for."""
        cleaned = self.cleaned_data
        return Order(
            preset=cleaned["preset"], overrides=self.overrides, parent=cleaned["parent"], reference=cleaned["reference"],
            filters=cleaned["filters"], processes=cleaned["processes"] or 1,
        )  # fmt: skip


def initial_of(run: Run) -> dict[str, Any]:
    """The form as `run` was asked for: to start one like it, with changes."""
    kept = run.dataset.filters if run.dataset else run.filters
    rule = kept.get("consensus", "")
    return {
        "preset": run.settings.get("preset"), **run.settings.get("overrides", {}),
        "parent": run.parent_id, "reference": run.reference_id if run.reference_id != run.parent_id else None,
        "processes": run.processes if run.processes > 1 else None,
        **{name: kept.get(name) for name in FILTERS}, "consensus": "" if rule == run.project.consensus else rule,
    }  # fmt: skip


def is_asked(data: QueryDict) -> bool:
    """Whether an address carries a filled form, and not just a page's own words."""
    return "preset" in data


def _as_preset(name: str) -> str:
    values = {label: PRESETS[preset].values.get(name, FIELDS[name].default) for preset, label in preset_choices()}
    if len(set(values.values())) == 1:
        return f"Presets: {_plainly(name, next(iter(values.values())))}"
    return " · ".join(f"{label} {_plainly(name, value)}" for label, value in values.items())


def _plainly(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return LOSSES.get(value, value) if isinstance(value, str) else f"{value:g}"


def _range(name: str) -> str:
    """ "0 to 100", "above 0, to 1", "from 1"."""
    about = FIELDS[name].metadata
    low, above = about.get("low"), about.get("above")
    high, below = about.get("high"), about.get("below")
    if high is not None and high >= 2**31 - 1:
        high = None
    start = f"{low:g}" if low is not None else f"above {above:g}" if above is not None else ""
    end = f"{high:g}" if high is not None else f"below {below:g}" if below is not None else ""
    if start and end:
        return f"{start} to {end}"
    return f"from {start}" if start and low is not None else start or end


def _field(setting: Hyperparameter) -> forms.Field:
    about = {"required": False, "label": LABELS.get(setting.name, setting.name), "help_text": setting.help}
    if setting.type == "bool":
        return forms.TypedChoiceField(
            choices=[("", "As the preset"), ("True", "Yes"), ("False", "No")], coerce=lambda value: value == "True",
            empty_value=None, **about,
        )  # fmt: skip
    if setting.choices:
        labels = LOSSES if setting.name == "loss" else {}
        choices = [("", "As the preset"), *((choice, labels.get(choice, choice)) for choice in setting.choices)]
        return forms.ChoiceField(choices=choices, **about)
    if setting.type == "str":
        return forms.CharField(max_length=1000, widget=forms.TextInput(attrs={"autocomplete": "off"}), **about)
    kind = forms.IntegerField if setting.type == "int" else forms.FloatField
    field = kind(min_value=setting.low, max_value=setting.high, **about)
    if setting.above is not None or setting.below is not None:
        field.validators.append(lambda value: _between(value, setting))
    field.widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
    return field


def _between(value: float, setting: Hyperparameter) -> None:
    if setting.above is not None and value <= setting.above:
        raise forms.ValidationError(f"Must be above {setting.above:g}.")
    if setting.below is not None and value >= setting.below:
        raise forms.ValidationError(f"Must be below {setting.below:g}.")
