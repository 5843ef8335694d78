"""One run from its config to its model directory: take the lock, resume or begin, check, train, save."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training.dpo import distributed, kernels
from training.dpo.allocator import resident_bytes
from training.dpo.batches import steps_total
from training.dpo.checkpoint import latest_checkpoint, load_checkpoint, read_state
from training.dpo.config import FIELDS, LOSS_OPTIONS, Config
from training.dpo.dataset import Data, read_data
from training.dpo.errors import (
    ConfigError,
    OtherRunError,
    Stopped,
    StorageError,
    TrainerError,
    is_device_lost,
    is_out_of_memory,
    storage_error,
)
from training.dpo.evaluate import Objective
from training.dpo.events import Event, EventLog
from training.dpo.layers import speed_up_layers
from training.dpo.logprobs import TOKENS_AT_ONCE, ForwardPath, Precision, Scorer, choose_path
from training.dpo.loop import Progress, Run, keep, peak_memory, train
from training.dpo.lora import adapters_off, with_adapters
from training.dpo.memory import Memory, foresee
from training.dpo.model import choose_precision, load_model, read_model
from training.dpo.optimizers import make_optimizer
from training.dpo.preflight import (
    check_checkpoint,
    check_generation_config,
    check_reference,
    check_space,
    check_start,
)
from training.dpo.recompute import recompute_layers
from training.dpo.reference import Reference, describe_reference, reference_scores
from training.dpo.save import library_versions, save_version
from training.dpo.stopping import Stopper
from training.dpo.storage import exclusive, remove_partials, write_json

PREFLIGHT_PAIRS = 8
# Times what was foreseen, on a CPU. Giving memory back takes time, and the next step takes it again page by page: with the limit
# where the estimate ends it came after most steps (docs/experiments.md).
MOST_HELD = 1.2
MEMORY = "memory.json"  # in OUTPUT: how often the token budget is halved from the next start on
# Settings that may change between a run's start and its resumption: they change no number beyond the last digits.
FREE_TO_CHANGE = {"device", "reference_cache", "stop_with_parent", "checkpoint_activations"}


def run(config: Config, stopper: Stopper, log: EventLog) -> None:
    """Train, or resume, or do nothing when the model is complete. Raises TrainerError; each is in the events, too.

    Of several processes the first one holds the lock and writes; all must call this.
    """
    output = Path(config.output)
    with exclusive(output / "lock") if distributed.is_first() else contextlib.nullcontext():
        try:
            if distributed.by_first((output / "model" / "prefloop.json").exists):
                distributed.by_first(lambda: finish(config, log))
            else:
                begin_or_resume(config, stopper, log)
        except Stopped as stop:
            log.write("stopped", step=stop.step, reason=stop.reason)
            raise
        except OtherRunError:
            raise
        except TrainerError as error:
            report(log, error)
            raise
        except Exception as error:
            failure = as_trainer_error(error, config)
            report(log, failure)
            raise failure from error


def begin_or_resume(config: Config, stopper: Stopper, log: EventLog) -> None:
    output, held = Path(config.output), resident_bytes()
    found = distributed.by_first(lambda: find_checkpoint(config, log))
    checkpoint = Path(found) if found else None
    if config.threads:
        torch.set_num_threads(config.threads)
    config = after_sft(config, stopper, log)
    data = read_data(config)
    steps = steps_total(len(data.train.examples), config.batch_pairs, config.epochs, config.max_steps)
    precision, reason = choose_precision(config, steps, read_state(checkpoint).get("compute") if checkpoint else None)
    model = load_start(config, precision.device)
    budget = config.micro_batch_tokens or TOKENS_AT_ONCE[precision.device.type]
    path, path_reason = choose_path(model, data.train.examples, precision.device, budget)
    memory = foresee(config, Scorer(model, precision, path), data.train.examples, held)
    if not checkpoint:
        reasons = {"compute_reason": reason, "path_reason": path_reason, "kernels": kernels_of(precision, path)}
        announce(config, data, steps, precision, path.lanes, memory, reasons, log)
    reference = describe_reference(
        Path(str(config.reference)), Path(config.model), data.tokenizer.chat_template,
        (config.max_prompt_tokens, config.max_completion_tokens), precision,
    )  # fmt: skip
    scores = score_reference(config, reference, data, Scorer(model, precision, path), stopper)
    prepared = prepare(config, data, reference, scores, steps, Scorer(model, precision, path), log, stopper)
    most_held = round(MOST_HELD * memory.peak) if precision.device.type == "cpu" else None
    prepared = replace(prepared, most_held=most_held)
    progress = resume(prepared, checkpoint) if checkpoint else preflight(prepared, reference)
    train(prepared, progress)
    record = save_version(prepared, progress, data.tokenizer, details_of(data, reference))
    distributed.by_first(lambda: conclude(output, record, log))


def load_start(config: Config, device: torch.device) -> Any:
    """The weights to start from, with adapters if they are asked for. Of several processes, each has its part of all."""
    model = read_model(Path(config.model))
    if config.lora_rank:
        model = with_adapters(model, config)
    speed_up_layers(model)
    if config.checkpoint_activations:
        recompute_layers(model)
    return distributed.shard(model, device)


def find_checkpoint(config: Config, log: EventLog) -> str | None:
    """The checkpoint to go on from; where there is none, a new run begins. Clears what a killed run left half-written."""
    output = Path(config.output)
    checkpoint = latest_checkpoint(output / "checkpoint")
    remove_partials(output)
    if checkpoint:
        require_same_config(config, read_config(output))
        return str(checkpoint)
    log.restart()
    write_json(output / "config.json", config.to_dict(), "the config")
    return None


def after_sft(config: Config, stopper: Stopper, log: EventLog) -> Config:
    """The config of what follows SFT on the chosen answers, which is a run of its own in OUTPUT/sft: the paper's recipe where
    there is no SFT model (arXiv:2305.18290, section 4). Resumes like any run.
    """
    if not config.sft_epochs:
        return config

    def show(event: Event) -> None:
        if event["event"] == "step":
            log.write("sft", done=event["step"], of=event["steps"], loss=event["loss"])

    output = Path(config.output) / "sft"
    distributed.by_first(lambda: output.mkdir(exist_ok=True))
    alone = {name: FIELDS[name].default for name in {option for names in LOSS_OPTIONS.values() for option in names}}
    phase = replace(
        config,
        **alone,
        loss="sft",
        nll_weight=0.0,
        sft_epochs=None,
        epochs=config.sft_epochs,
        max_steps=None,
        samples=0,
        output=str(output),
    )
    run(phase, stopper, EventLog(output / "events.jsonl", show, silent=log.silent))
    model = str(output / "model")
    return replace(config, model=model, reference=model)


def announce(
    config: Config,
    data: Data,
    steps: int,
    precision: Precision,
    lanes: int,
    memory: Memory,
    reasons: dict[str, str],
    log: EventLog,
) -> None:
    log.write(
        "start", config=config.to_dict(), steps=steps, device=str(precision.device), threads=torch.get_num_threads(), lanes=lanes,
        compute=str(precision.compute).removeprefix("torch."), **reasons, versions=library_versions(),
        data_sha256=data.hashes, memory_bytes=peak_memory(precision.device), memory_estimate_bytes=memory.told(),
    )  # fmt: skip
    if reasons["kernels"].startswith("not compiled"):
        message = (
            f"the trainer's kernels for this processor were {reasons['kernels']}, so a step takes about a third longer. "
            "Install a C compiler (gcc or clang), or name it in CC, before the next run."
        )
        log.write("warning", code="no_kernels", message=message)
    log.write("audit", train=data.train.audit, heldout=data.heldout.audit if data.heldout else None)
    for name, part in (("training", data.train), ("held-out", data.heldout)):
        if part and part.audit["dropped"] > 0.1 * part.audit["rows"]:
            message = (
                f"{part.audit['dropped']} of {part.audit['rows']} {name} pairs are too long and were dropped. "
                "Raise max_prompt_tokens or max_completion_tokens if memory allows."
            )
            log.write("warning", code="many_dropped", message=message)


def kernels_of(precision: Precision, path: ForwardPath) -> str:
    """Whether layers are compiled (kernels.py), in words."""
    if precision.device.type != "cpu" or not path.packed:
        return "not used"
    return kernels.why()


def score_reference(config: Config, reference: Reference, data: Data, start: Scorer, stopper: Stopper) -> dict[str, torch.Tensor]:
    """`start` holds the weights that training starts from, untouched; most often they, without adapters, are the reference."""

    def load() -> Scorer:
        if config.reference == config.model:
            return start
        return replace(start, model=load_model(reference.directory, start.precision.device))

    cache = Path(str(config.reference_cache))
    with adapters_off(start.model):
        return reference_scores(reference, data.scored, load, cache, before_each=lambda part, done: stopper.check(0))


def prepare(
    config: Config, data: Data, reference: Reference, scores: dict[str, torch.Tensor], steps: int,
    start: Scorer, log: EventLog, stopper: Stopper,
) -> Run:  # fmt: skip
    return Run(
        config=config, steps=steps, model=start.model,
        optimizer=make_optimizer(config.optimizer, start.model, config.learning_rate, config.weight_decay),
        precision=start.precision, path=start.path, train=data.train.examples, heldout=data.parts.get("heldout", []),
        reference=scores, identity={name: reference.key(examples) for name, examples in data.parts.items()},
        log=log, stopper=stopper, mismatched=data.mismatched, samples=data.samples,
    )  # fmt: skip


def preflight(run: Run, reference: Reference) -> Progress:
    """All checks before step 1. Raises PreflightError or StorageError; writes the checkpoint of step 0."""
    distributed.by_first(lambda: check_space(Path(run.config.output), run.model, run.config.optimizer))
    check_generation_config(run.model, run.config.model)
    count = min(len(run.train), run.config.batch_pairs, PREFLIGHT_PAIRS)
    examples, kept = run.train[:count], run.reference["train"][:count]
    same = run.starts_at_reference
    model = run.model if same else load_model(reference.directory, run.precision.device)
    scores_N2 = run.scorer(model).score(examples, lambda done: run.stopper.check(0))
    if same:
        objective = Objective.of(run.config)
        figures = check_start(scores_N2, kept, examples, objective, run.precision.compute)
    else:
        figures = check_reference(scores_N2, kept, examples, run.precision.compute)
    progress = Progress(halvings=halvings_before(run))
    keep(run, progress)
    check_checkpoint(run.checkpoints / "step-00000000", run.model, run.optimizer)
    trained = sum(parameter.numel() for parameter in run.model.parameters() if parameter.requires_grad)
    run.log.write("preflight", reference_is_start=same, pairs=count, figures=figures, trained_parameters=trained)
    return progress


def resume(run: Run, checkpoint: Path) -> Progress:
    """Put back the state of `checkpoint`. Raises ConfigError when model, reference or data are no longer the same."""
    state = read_state(checkpoint)
    if changed := [name for name in run.identity if state["identity"].get(name) != run.identity[name]]:
        raise ConfigError(
            f"{run.config.output} cannot be resumed: the {' and '.join(changed)} pairs, the reference or the arithmetic are not "
            "what the run began with. Put the old files back, or choose another output."
        )
    here = run.precision.device.type
    if state.get("device", here) != here and run.config.device == "auto":
        raise ConfigError(
            f"{run.config.output} began on {state['device']} and would go on on {here}, for torch finds nothing else here. "
            f'Put the GPU back, or set device to "{here}" to go on there, at another speed.'
        )
    load_checkpoint(checkpoint, run.model, run.optimizer)
    progress = Progress(**state["progress"])
    run.log.rewind(progress.step, {"heldout": progress.evaluated, "samples": progress.sampled})
    if (halvings := halvings_before(run)) > progress.halvings:
        progress.halvings = halvings
        message = (
            f"a process was out of memory; going on with {run.path.budget >> halvings} tokens at once, which changes speed only."
        )
        run.log.write("warning", step=progress.step, code="out_of_memory", message=message)
    run.log.write("resumed", step=progress.step, steps=run.steps, device=str(run.precision.device))
    return progress


def details_of(data: Data, reference: Reference) -> dict[str, Any]:
    return {
        "data_sha256": data.hashes,
        "reference_sha256": reference.weights,
        "train_pairs": len(data.train.examples),
        "heldout_pairs": len(data.parts.get("heldout", [])),
        "audit": data.train.audit,
    }


def finish(config: Config, log: EventLog) -> None:
    """The model is complete: only complete the events, if the run was killed before them."""
    output = Path(config.output)
    require_same_config(config, read_config(output))
    record = json.loads((output / "model" / "prefloop.json").read_text(encoding="utf-8"))
    if not any(event["event"] == "done" for event in log.read()):
        log.mend()
    conclude(output, record, log)


def conclude(output: Path, record: dict[str, Any], log: EventLog) -> None:
    """Write what is missing of the last events, and clear what is no longer needed."""
    told = {event["event"] for event in log.read()}
    if record["serve_dtype"] == "float32" and "saved" not in told and record["signal"]["share"]["bfloat16"] is not None:
        share = max(record["signal"]["share"]["bfloat16"], 0.0)
        message = f"served in bfloat16 the model would keep {share:.0%} of what was trained. Serve it in float32."
        log.write("warning", code="bfloat16_loses_signal", message=message)
    if "saved" not in told:
        log.write("saved", path=str(output / "model"), signal=record["signal"], serve_dtype=record["serve_dtype"])
    shutil.rmtree(output / "checkpoint", ignore_errors=True)
    (output / MEMORY).unlink(missing_ok=True)
    if "done" not in told:
        log.write("done", steps=record["steps"], seconds=record["seconds"], metrics=record["metrics"])


def read_config(output: Path) -> dict[str, Any]:
    path = output / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}, so the run cannot be resumed: {error}. Choose another output.") from error


def require_same_config(config: Config, begun: dict[str, Any]) -> None:
    """Raises OtherRunError that lists what differs from the config the run began with."""
    now = config.to_dict()
    keys = sorted((set(now) | set(begun)) - FREE_TO_CHANGE)
    if differing := [
        f"  - {key}: {begun.get(key)!r} then, {now.get(key)!r} now" for key in keys if begun.get(key) != now.get(key)
    ]:
        raise OtherRunError(
            f"{config.output} holds a run with another config:\n" + "\n".join(differing) + "\n"
            "Use the same config to go on with it, or choose another output."
        )


def as_trainer_error(error: Exception, config: Config) -> TrainerError:
    """Out of memory, a full disk, the failure of another process or a fault of this program, in words."""
    if failed := distributed.failure_soon():
        return failed
    if is_out_of_memory(error):
        again = (
            "" if config.checkpoint_activations else "Set checkpoint_activations and start again, which goes on with less, or l"
        )
        return TrainerError(
            f"out of memory. {again or 'L'}ower micro_batch_tokens (the result stays the same), max_prompt_tokens or "
            "max_completion_tokens in a new run. The last checkpoint stays."
        )
    if is_device_lost(error):
        return TrainerError(
            f"the GPU stopped working ({' '.join(str(error).split())[:200]}). The last checkpoint stays. When nvidia-smi shows "
            "the GPU again, start the same command to go on; if it fails at the same step, report this."
        )
    if isinstance(error, OSError):
        return storage_error("the run", Path(config.output), error)
    return TrainerError(f"unexpected {type(error).__name__}: {error}. The last checkpoint stays. Please report this.")


def halvings_before(run: Run) -> int:
    """How often the token budget is halved because a process had no memory left at an earlier start. SFT lies within its run."""
    output = Path(run.config.output)
    paths = [place / MEMORY for place in (output, output.parent)]

    def read() -> int:
        return max((json.loads(path.read_text(encoding="utf-8"))["halvings"] for path in paths if path.exists()), default=0)

    return distributed.by_first(read)


def report(log: EventLog, error: TrainerError) -> None:
    """The error event, and what the next start must know. A disk too full to hold it must not hide the error itself."""
    if log.silent:
        return
    message, halvings = str(error), getattr(error, "halvings", None)
    if halvings is not None:
        with contextlib.suppress(StorageError):
            write_json(log.path.with_name(MEMORY), {"halvings": halvings}, "the memory that is left")
    step = max((event.get("step", 0) for event in log.read()), default=0)
    with contextlib.suppress(StorageError):
        log.write("error", message=message, step=step)
