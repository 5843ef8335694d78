"""The trained version as a directory that transformers loads as it is, with proof that what was trained is in it."""

import json
import platform
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers

from training.dpo import distributed
from training.dpo.config import Config
from training.dpo.device import has_bfloat16
from training.dpo.errors import TrainerError
from training.dpo.logprobs import Precision, attend_with
from training.dpo.loop import Progress, Run
from training.dpo.lora import is_adapted, merged, save_adapter, with_adapters
from training.dpo.model import load_model, read_model
from training.dpo.storage import partial_of, write_directory
from training.dpo.tokens import Example

SIGNAL_PAIRS = 16
METHODS = {  # words of the model card; losses that are not here are DPO's relatives
    "dpo": "Direct Preference Optimization (arXiv:2305.18290)",
    "ipo": "Identity Preference Optimization (arXiv:2310.12036)",
    "kto": "Kahneman-Tversky Optimization (arXiv:2402.01306)",
    "sft": "fine-tuning on the preferred answers (Preferred-FT, arXiv:2305.18290)",
    "unlikelihood": "unlikelihood of the rejected answers, a baseline (arXiv:2305.18290)",
}
LEAST_SHARE = 0.9  # of the signal that a serving precision must keep
SAVED_SHARE = 0.999  # of the signal that the files must hold: else saving itself went wrong


def save_version(run: Run, progress: Progress, tokenizer: Any, details: dict[str, Any]) -> dict[str, Any]:
    """Write OUTPUT/model in one step and return its prefloop.json. Raises StorageError, or TrainerError if unfaithful.

    Of several processes the first writes, and all score what it has written.
    """
    path = Path(run.config.output) / "model"
    record: dict[str, Any] = {}

    def fill(partial: Path) -> None:
        examples = signal_examples(run)
        trained_N2 = _scores(run, run.model, examples, _exact(run), progress.step)
        attend_with(run.model)
        model = whole_model(run)
        distributed.by_first(lambda: save_weights(model, tokenizer, partial))
        record.update(describe(run.config, progress, details))
        record["signal"] = measure_signal(run, trained_N2, examples, partial, progress.step)
        record["serve_dtype"] = serving_dtype(record["signal"])
        distributed.by_first(lambda: write_record(record, partial))

    if distributed.is_first():
        write_directory(path, fill, what="the trained model")
    else:
        fill(partial_of(path))
    return record


def describe(config: Config, progress: Progress, details: dict[str, Any]) -> dict[str, Any]:
    """Everything about the version that is known without loading it again."""
    return {
        "format": 1,
        **config.provenance,
        "parent_directory": config.model,
        "reference_directory": config.reference,
        "config": config.to_dict(),
        "seed": config.seed,
        "steps": progress.step,
        "seconds": round(progress.seconds, 1),
        "metrics": {"train": progress.last_step, "heldout": progress.heldout},
        "versions": library_versions(),
        **details,
    }


def library_versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
    }


def write_record(record: dict[str, Any], directory: Path) -> None:
    (directory / "README.md").write_text(model_card(record), encoding="utf-8")
    text = json.dumps(record, indent=2, ensure_ascii=False, default=str)
    (directory / "prefloop.json").write_text(text + "\n", encoding="utf-8")


def whole_model(run: Run) -> Any:
    """The trained model; of several processes the first one gets a whole one, the others get nothing."""
    if distributed.count() == 1:
        return run.model
    weights = distributed.gathered({name: parameter.detach() for name, parameter in run.model.named_parameters()})
    if not weights:
        return None
    model = read_model(Path(run.config.model))
    if is_adapted(run.model):
        model = with_adapters(model, run.config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model


def save_weights(model: Any, tokenizer: Any, directory: Path) -> None:
    """Whole weights, which anything loads; of adapters also the adapter alone, in a directory of its own."""
    if is_adapted(model):
        save_adapter(model, directory)
        model = merged(model)
    model.save_pretrained(directory, safe_serialization=True)
    tokenizer.save_pretrained(directory)


def signal_examples(run: Run) -> list[Example]:
    return (run.heldout or run.train)[:SIGNAL_PAIRS]


@torch.no_grad()
def measure_signal(run: Run, trained: torch.Tensor, examples: list[Example], saved: Path, step: int) -> dict[str, Any]:
    """How much of log π/π_ref survives when the saved version is loaded in each precision it may be served in.

    a are the log-ratios of the weights in memory (float32; `trained` their log-probabilities), b those of the files in a
    precision, policy and reference both: the share kept is 1 − ‖a − b‖² / ‖a‖², None when nothing was learned (‖a‖ = 0).
    """
    name = "heldout" if run.heldout else "train"
    exact = _exact(run)
    base = Path(str(run.config.reference))
    if run.precision.compute == torch.float32:
        reference = run.reference[name][: len(examples)]
    else:
        reference = _scores(run, load_model(base, exact.device), examples, exact, step)
    signal: dict[str, Any] = {"pairs": len(examples), "of": name, "share": {}, "arithmetic": {}}
    for dtype in (torch.float32, torch.bfloat16):
        # Without bfloat16 hardware the rounded weights are computed with in float32: a hundred times faster, and the
        # rounding of the weights is what loses the signal.
        native = dtype == torch.float32 or has_bfloat16(exact.device)
        served = _scores(run, _loaded(saved, exact.device, dtype, native), examples, exact, step)
        against = reference
        if dtype != torch.float32:
            against = _scores(run, _loaded(base, exact.device, dtype, native), examples, exact, step)
        key = str(dtype).removeprefix("torch.")
        signal["share"][key] = share_kept(trained - reference, served - against)
        signal["arithmetic"][key] = key if native else "float32 on bfloat16 weights"
    kept = signal["share"]["float32"]
    if kept is not None and kept < SAVED_SHARE:
        raise TrainerError(
            f"the saved model, loaded again, keeps {kept:.3f} of what was trained: saving {type(run.model).__name__} is faulty "
            "in this version of transformers. The checkpoint stays; report this, or try another version."
        )
    return signal


def share_kept(trained: torch.Tensor, served: torch.Tensor) -> float | None:
    """1 − ‖a − b‖² / ‖a‖² of two sets of log-ratios. Example: (3, 4) served as (3, 3) keeps 1 − 1/25 = 0.96."""
    power = trained.double().square().sum().item()
    lost = (trained.double() - served.double()).square().sum().item()
    return round(1 - lost / power, 6) if power > 0 else None


def serving_dtype(signal: dict[str, Any]) -> str:
    """bfloat16 only where it keeps what was trained."""
    share = signal["share"]["bfloat16"]
    return "bfloat16" if share is not None and share >= LEAST_SHARE else "float32"


def model_card(record: dict[str, Any]) -> str:
    """README.md of the version's directory."""
    config, heldout = record["config"], record["metrics"]["heldout"]
    share = record["signal"]["share"]
    figures = (
        f"- on {record['heldout_pairs']} held-out pairs: accuracy {heldout['accuracy']:.1%}, "
        f"margin {'unknown' if heldout['margin'] is None else format(heldout['margin'], '.3f')}, loss {heldout['loss']:.4f}\n"
        if heldout
        else ""
    )
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [dpo, prefloop]\n---\n\n"
        "# A version trained by Prefloop\n\n"
        f"Trained from `{Path(config['model']).name}` by {METHODS.get(config['loss'], METHODS['dpo'])} on "
        f"{record['train_pairs']} pairs of human preferences.\n\n"
        f"- {record['steps']} steps, β {config['beta']:g}, {config['optimizer']}, learning rate {config['learning_rate']:g}, "
        f"{config['batch_pairs']} pairs per step\n"
        f"{figures}"
        f"- serve it in **{record['serve_dtype']}**: of what was trained, bfloat16 keeps {_percent(share['bfloat16'])}, "
        f"float32 {_percent(share['float32'])}\n\n"
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained("DIRECTORY", dtype="{record["serve_dtype"]}")\n'
        'tokenizer = AutoTokenizer.from_pretrained("DIRECTORY")\n```\n\n'
        "`prefloop.json` has the parent, the data's hash, all settings, metrics and library versions.\n"
    )


def _exact(run: Run) -> Precision:
    return Precision(run.precision.device, torch.float32)


def _loaded(directory: Path, device: torch.device, dtype: torch.dtype, native: bool) -> Any:
    return load_model(directory, device, dtype, exact=not native)


def _scores(run: Run, model: Any, examples: list[Example], precision: Precision, step: int) -> torch.Tensor:
    return run.scorer(model, precision).score(examples, lambda done: run.stopper.check(step))


def _percent(share: float | None) -> str:
    return "nothing to keep" if share is None else f"{max(share, 0.0):.1%}"
