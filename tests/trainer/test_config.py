"""Settings: checked as a whole, with presets, and readable without torch."""

import subprocess
import sys

import pytest

from training.dpo.config import PRESETS, Config, hyperparameters
from training.dpo.errors import ConfigError

from .conftest import ROOT

PATHS = {"model": "m", "train": "t.jsonl", "output": "o"}


def test_all_faults_at_once() -> None:
    wrong = {
        "modle": "m", "train": "t.jsonl", "beta": -1, "epochs": True, "seed": 1.5, "loss": "dpoo", "zebra": 3,
        "label_smoothing": 0.5, "learning_rate": float("nan"), "output": "", "max_steps": 0, "provenance": [],
    }  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(wrong, where="run.json")
    text = str(caught.value)
    for part in (
        "run.json: 12 fault(s)", "modle: unknown key; did you mean model?", "zebra: unknown key; valid keys: model, train",
        "model: missing", "beta: must be above 0 and at most 100, not -1", "epochs: must be a number, not true",
        "seed: must be a whole number, not 1.5", 'loss: "dpoo" is not one of dpo',
        "label_smoothing: must be at least 0 and below 0.5", "learning_rate: must be finite", "output: must not be empty",
        "max_steps: must be at least 1 and at most", "provenance: must be an object",
    ):  # fmt: skip
        assert part in text
    assert text.count("\n  - ") == 12
    assert caught.value.exit_code == 2


def test_an_option_the_loss_does_not_take_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"label_smoothing: the loss hinge does not take it. Leave it out, or choose dpo, robust"
    ):
        Config.from_dict({**PATHS, "loss": "hinge", "label_smoothing": 0.1})
    with pytest.raises(ConfigError, match=r"tie_width: the loss dpo does not take it. Leave it out, or choose dpo_ties"):
        Config.from_dict({**PATHS, "tie_width": 2.0})
    with pytest.raises(ConfigError, match=r"reference: with sft_epochs it is what SFT makes"):
        Config.from_dict({**PATHS, "sft_epochs": 1, "reference": "other"})
    with pytest.raises(ConfigError, match=r"dora: it is for LoRA only. Leave it out, or set lora_rank"):
        Config.from_dict({**PATHS, "dora": True})
    assert Config.from_dict({**PATHS, "loss": "sft", "beta": 0.5, "label_smoothing": 0.0}).loss == "sft"


def test_defaults_are_the_papers() -> None:
    config = Config.from_dict(PATHS)
    named = Config.from_dict({**PATHS, "preset": "paper"})
    assert named.to_dict() | {"preset": None} == config.to_dict()
    assert (config.beta, config.optimizer, config.learning_rate, config.batch_pairs) == (0.1, "rmsprop", 1e-6, 64)
    assert (config.warmup_steps, config.max_grad_norm) == (150, 10.0)


def test_explicit_keys_override_the_preset() -> None:
    config = Config.from_dict({**PATHS, "preset": "small", "beta": 1})
    assert config.beta == 1.0 and isinstance(config.beta, float)
    assert config.learning_rate == PRESETS["small"].values["learning_rate"]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name: str) -> None:
    Config.from_dict({**PATHS, **PRESETS[name].values})


def test_resolved_config_can_be_given_again() -> None:
    resolved = Config.from_dict(PATHS).resolved()
    assert resolved.reference == resolved.model
    assert Config.from_dict(resolved.to_dict()).resolved() == resolved


def test_form_gets_range_help_and_preset_defaults() -> None:
    settings = {setting.name: setting for setting in hyperparameters("small")}
    assert settings["learning_rate"].default == PRESETS["small"].values["learning_rate"]
    assert settings["label_smoothing"].below == 0.5 and settings["optimizer"].choices == ("rmsprop", "adamw")
    assert settings["max_steps"].optional and settings["max_steps"].type == "int"
    assert not {"model", "train", "output", "provenance"} & set(settings)
    assert all(setting.help.endswith(".") for setting in settings.values())


def test_trainer_loads_no_django_and_its_config_no_torch() -> None:
    code = (
        "import sys; import training.dpo.config, training.dpo.__main__; assert 'torch' not in sys.modules;"
        "import training.dpo.run; loaded = {name.split('.')[0] for name in sys.modules};"
        "assert not loaded & {'django', 'annotate', 'config', 'rest_framework'}, loaded;"
        "ours = {name for name in sys.modules if name.startswith('training')};"
        "assert all(name == 'training' or name.startswith('training.dpo') for name in ours), ours"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
