"""The settings of a run: one frozen dataclass, whose fields carry their own range and help.

This module imports no torch: the web form reads `hyperparameters()` and `PRESETS` from it.
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.dpo.errors import ConfigError

FILE, TUNE = "file", "hyperparameter"

PRESET_NAMES = ("paper", "small", "lora")

# What each loss of losses.py takes; an option that the chosen loss does not take is refused, not ignored.
LOSS_OPTIONS: dict[str, tuple[str, ...]] = {
    "dpo": ("beta", "label_smoothing", "strength_offset"),
    "robust": ("beta", "label_smoothing"),
    "ipo": ("beta",),
    "hinge": ("beta",),
    "dpo_norm": ("beta", "label_smoothing"),
    "dpo_ties": ("beta", "tie_width"),
    "kto": ("beta", "desirable_weight", "undesirable_weight"),
    "sft": (),
    "unlikelihood": ("unlikelihood_weight",),
}

# Losses that also take rows of one answer with its label; sft learns from the desirable ones.
UNPAIRED = ("kto", "sft")


def _setting(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    role: str = TUNE,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A field with its range (`low` ≤ value ≤ `high`, `above` < value < `below`), choices and one line of help."""
    about = dict(help=help, role=role, low=low, high=high, above=above, below=below, choices=choices)
    return field(default=default, metadata=about)


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of one run. Paths are relative to the process's directory until `resolved()`."""

    model: str = _setting(role=FILE, help="Directory of the version to start from.")
    train: str = _setting(role=FILE, help="Triples to train on: JSONL with prompt, chosen and rejected messages.")
    output: str = _setting(role=FILE, help="Directory of the run: config, events, checkpoint, model.")
    reference: str | None = _setting(None, role=FILE, help="Directory of the reference version; null: the start version.")
    heldout: str | None = _setting(None, role=FILE, help="Triples that are only evaluated; null: none.")
    reference_cache: str | None = _setting(
        None, role=FILE, help="Directory that keeps reference log-probabilities; null: OUTPUT/reference-cache."
    )
    preset: str | None = _setting(None, role=FILE, help="Named defaults, which other keys override.", choices=PRESET_NAMES)

    loss: str = _setting("dpo", help="What is minimised: DPO or one of its relatives.", choices=tuple(LOSS_OPTIONS))
    beta: float = _setting(0.1, above=0, high=100, help="Strength of the pull towards the reference (β): larger stays closer.")
    label_smoothing: float = _setting(
        0.0, low=0, below=0.5, help="Share of judgements taken to be the wrong way round (ε): makes DPO conservative, or robust."
    )
    nll_weight: float = _setting(
        0.0, low=0, high=1000, help="Weight of −log π(chosen) per token, added to any loss: keeps chosen answers likely."
    )
    strength_offset: float = _setting(
        0.0, low=0, high=1000, help="Reward margin asked for each point of a judgement's strength (DPO with an offset)."
    )
    tie_width: float = _setting(1.0, above=0, high=100, help="Reward margin within which dpo_ties takes answers to be equal.")
    desirable_weight: float = _setting(1.0, low=0, high=1000, help="Weight of the chosen (desirable) answers in kto.")
    undesirable_weight: float = _setting(1.0, low=0, high=1000, help="Weight of the rejected (undesirable) answers in kto.")
    unlikelihood_weight: float = _setting(1.0, low=0, high=1000, help="Weight of the rejected answers in unlikelihood.")
    sft_epochs: float | None = _setting(
        None, above=0, high=1000,
        help="Epochs of SFT on the chosen answers first; its result is then start and reference. Null: none.",
    )  # fmt: skip
    lora_rank: int | None = _setting(
        None, low=1, high=4096, help="Rank of LoRA adapters, which are trained instead of the weights; none: all weights."
    )
    lora_alpha: float | None = _setting(
        None, above=0, high=1e6, help="Scale of the adapters, divided by rank; null: twice the rank."
    )
    lora_targets: str = _setting("all-linear", help="Names of the layers that get adapters, with commas; or all-linear.")
    dora: bool = _setting(False, help="Train the adapters' direction and size apart (DoRA).")
    optimizer: str = _setting("rmsprop", help="RMSprop as in the paper, or AdamW.", choices=("rmsprop", "adamw"))
    learning_rate: float = _setting(1e-6, above=0, high=1, help="Step size after warm-up.")
    weight_decay: float = _setting(0.0, low=0, high=1, help="Decay of weight matrices per step, relative to the step size.")
    warmup_steps: int = _setting(150, low=0, help="Steps of linear warm-up; never more than a tenth of the run.")
    schedule: str = _setting(
        "constant", help="Learning rate after warm-up: constant, or linear down to zero.", choices=("constant", "linear")
    )
    max_grad_norm: float = _setting(10.0, above=0, help="Gradients are scaled down to at most this norm.")
    batch_pairs: int = _setting(64, low=1, help="Pairs per optimizer step.")
    micro_batch_tokens: int | None = _setting(
        None, low=1, high=2**31 - 1, help="Tokens in memory at once; changes memory and speed, not the result. Null: by device."
    )
    checkpoint_activations: bool = _setting(
        False,
        help="Compute each layer again for its gradient instead of keeping it: less memory, about a third slower, same numbers.",
    )
    epochs: float = _setting(1.0, above=0, high=1000, help="Passes over the training pairs; may be a fraction.")
    max_steps: int | None = _setting(
        None, low=1, high=2**31 - 1, help="Number of optimizer steps, instead of epochs; null: use epochs."
    )
    max_prompt_tokens: int = _setting(1024, low=1, help="Longest prompt, in tokens.")
    max_completion_tokens: int = _setting(512, low=2, help="Longest answer, in tokens, with its end-of-turn token.")
    over_long: str = _setting(
        "drop",
        help="Too long pairs: drop and count them, cut prompts from the left (answers are never cut), or refuse the file.",
        choices=("drop", "truncate_prompt", "error"),
    )
    compute: str = _setting(
        "auto",
        help="Arithmetic over float32 weights; auto: float32 where bfloat16 would hide the updates.",
        choices=("auto", "float32", "bfloat16"),
    )
    device: str = _setting("auto", help="Where to train; auto: the GPU if there is one.", choices=("auto", "cpu", "cuda"))
    seed: int = _setting(0, low=0, high=2**31 - 1, help="Order of the pairs.")
    threads: int | None = _setting(None, low=1, high=1024, help="CPU threads; null: torch decides.")
    heldout_every: int = _setting(50, low=0, help="Steps between evaluations on held-out pairs; 0: only at start and end.")
    samples: int = _setting(
        4, low=0, high=64, help="Prompts that are answered at the start, half-way and at the end, to be read; 0: none."
    )
    sample_tokens: int = _setting(64, low=1, high=4096, help="Longest of these answers, in tokens.")
    samples_every: int | None = _setting(None, low=1, help="Steps between them; null: start, half-way and end.")
    checkpoint_every: int = _setting(50, low=0, help="Steps between checkpoints; 0: only at start, end and when stopped.")

    stop_with_parent: bool = _setting(False, role=FILE, help="Stop, as by SIGTERM, when the parent process ends.")
    provenance: dict[str, Any] = field(
        default_factory=dict,
        metadata=dict(role=FILE, help="Copied into the model's prefloop.json: parent version, dataset and so on."),
    )

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], where: str = "config") -> "Config":
        """Check `given` as a whole. Raises one ConfigError that names every unknown, missing and wrong key."""
        faults = _unknown_keys(given) + _missing_keys(given)
        faults += [fault for spec in FIELDS.values() if spec.name in given and (fault := _fault(spec, given[spec.name]))]
        merged = {**(PRESETS[given["preset"]].values if given.get("preset") in PRESETS else {}), **given}
        faults += _unused_options(merged) if not faults else []
        if faults:
            raise ConfigError(f"{where}: {len(faults)} fault(s)\n" + "\n".join(f"  - {fault}" for fault in faults))
        return cls(**{key: _coerced(FIELDS[key], value) for key, value in merged.items()})

    @classmethod
    def from_file(cls, path: Path) -> "Config":
        """Read a JSON config. Raises ConfigError when the file is missing, not JSON, or has faults."""
        return cls.from_dict(read_config_file(path), where=str(path))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def resolved(self) -> "Config":
        """The same settings with absolute paths and with `reference` and `reference_cache` filled in."""
        output = Path(self.output).resolve()
        return dataclasses.replace(
            self,
            model=str(Path(self.model).resolve()),
            train=str(Path(self.train).resolve()),
            output=str(output),
            reference=str(Path(self.reference or self.model).resolve()),
            heldout=str(Path(self.heldout).resolve()) if self.heldout else None,
            reference_cache=str(Path(self.reference_cache).resolve() if self.reference_cache else output / "reference-cache"),
        )


FIELDS = {spec.name: spec for spec in dataclasses.fields(Config)}


@dataclass(frozen=True)
class Preset:
    """Named defaults for a kind of run."""

    help: str
    values: dict[str, Any]


PRESETS = {
    "paper": Preset(
        help="The DPO paper's settings, for thousands of judgements.",
        values=dict(
            beta=0.1, optimizer="rmsprop", learning_rate=1e-6, batch_pairs=64,
            warmup_steps=150, max_grad_norm=10.0, schedule="constant", epochs=1.0,
        ),
    ),
    "small": Preset(
        help="For 30 to 500 judgements: larger steps in float32, so that a small model visibly moves.",
        values=dict(
            beta=0.1, optimizer="adamw", learning_rate=1e-5, batch_pairs=8, warmup_steps=150,
            max_grad_norm=10.0, schedule="constant", epochs=2.0, compute="float32", heldout_every=5, checkpoint_every=10,
        ),
    ),
    "lora": Preset(
        help="Adapters of rank 16 instead of all weights: a fraction of the memory, for larger models.",
        values=dict(
            beta=0.1, optimizer="adamw", learning_rate=2e-4, batch_pairs=8, warmup_steps=150, max_grad_norm=10.0,
            schedule="constant", epochs=2.0, lora_rank=16, heldout_every=5, checkpoint_every=10,
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Hyperparameter:
    """What a form needs to offer one setting. `type` is "int", "float" or "str"; bounds are None where open."""

    name: str
    type: str
    default: Any
    help: str
    optional: bool
    low: float | None
    high: float | None
    above: float | None
    below: float | None
    choices: tuple[str, ...] | None


def hyperparameters(preset: str | None = None) -> list[Hyperparameter]:
    """The settings a user may tune, with range and help; defaults are those of `preset` when given."""
    values = PRESETS[preset].values if preset else {}
    return [_hyperparameter(spec, values) for spec in FIELDS.values() if spec.metadata["role"] == TUNE]


def read_config_file(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, unchecked. Raises ConfigError when there is none."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror}. Give the path of a JSON file.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}. Correct it there.") from error
    if not isinstance(given, dict):
        raise ConfigError(f'{path} holds no JSON object. Write the settings as {{"model": …, "train": …}}.')
    return given


def _hyperparameter(spec: dataclasses.Field, values: Mapping[str, Any]) -> Hyperparameter:
    about = {key: spec.metadata[key] for key in ("help", "low", "high", "above", "below", "choices")}
    kind, optional = _kind(spec)
    default = values.get(spec.name, spec.default)
    return Hyperparameter(name=spec.name, type=kind.__name__, default=default, optional=optional, **about)


def _unused_options(given: Mapping[str, Any]) -> list[str]:
    """Options that are set and do nothing: the chosen loss does not take them, or there are no adapters.

    beta always counts: it scales the rewards shown, whatever the loss.
    """
    loss = given.get("loss", FIELDS["loss"].default)
    options = {name for names in LOSS_OPTIONS.values() for name in names} - {"beta", *LOSS_OPTIONS[loss]}
    own_reference = given.get("sft_epochs") and given.get("reference") not in (None, given.get("model"))
    faults = ["reference: with sft_epochs it is what SFT makes. Leave one of them out"] if own_reference else []
    lonely = [] if given.get("lora_rank") else [name for name in ("lora_alpha", "dora") if given.get(name)]
    return (
        faults
        + [f"{name}: it is for LoRA only. Leave it out, or set lora_rank" for name in lonely]
        + [
            f"{name}: the loss {loss} does not take it. Leave it out, or choose {_listed(users)}"
            for name in sorted(options)
            if name in given and given[name] != FIELDS[name].default
            for users in [[other for other, names in LOSS_OPTIONS.items() if name in names]]
        ]
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _kind(spec: dataclasses.Field) -> tuple[type, bool]:
    """The plain type of a field and whether null is allowed."""
    kinds = getattr(spec.type, "__args__", (spec.type,)) if spec.name != "provenance" else (dict,)
    plain = [kind for kind in kinds if kind is not type(None)]
    return plain[0], len(plain) < len(kinds)


def _unknown_keys(given: Mapping[str, Any]) -> list[str]:
    faults = []
    for key in sorted(set(given) - set(FIELDS)):
        near = difflib.get_close_matches(key, FIELDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"valid keys: {', '.join(FIELDS)}"
        faults.append(f"{key}: unknown key; {hint}")
    return faults


def _missing_keys(given: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: missing. {spec.metadata['help']}"
        for name, spec in FIELDS.items()
        if spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING and name not in given
    ]


def _fault(spec: dataclasses.Field, value: Any) -> str | None:
    """What is wrong with `value` for this field, or None."""
    kind, optional = _kind(spec)
    if value is None and optional:
        return None
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "an object"}
        return f"{spec.name}: must be {names[kind]}{' or null' if optional else ''}, not {json.dumps(value, default=str)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{spec.name}: must be finite, not {value}"
    if kind is str and not value:
        return f"{spec.name}: must not be empty"
    return _range_fault(spec, value)


def _range_fault(spec: dataclasses.Field, value: Any) -> str | None:
    about = spec.metadata
    if about.get("choices") and value not in about["choices"]:
        return f"{spec.name}: {json.dumps(value)} is not one of {', '.join(about['choices'])}"
    bounds = [
        ("low", "at least", lambda v, b: v >= b),
        ("above", "above", lambda v, b: v > b),
        ("high", "at most", lambda v, b: v <= b),
        ("below", "below", lambda v, b: v < b),
    ]
    stated = [(words, about[name], holds) for name, words, holds in bounds if about.get(name) is not None]
    if all(holds(value, bound) for _, bound, holds in stated):
        return None
    return f"{spec.name}: must be {' and '.join(f'{words} {bound:g}' for words, bound, _ in stated)}, not {value}"


def _coerced(spec: dataclasses.Field, value: Any) -> Any:
    """JSON may write 1 for 1.0; a dict is copied so that a config never changes with its source."""
    if isinstance(value, int) and _kind(spec)[0] is float:
        return float(value)
    return json.loads(json.dumps(value)) if isinstance(value, dict) else value
