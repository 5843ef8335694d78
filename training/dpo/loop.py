"""The training loop. Everything it needs is in Run; everything that changes is the model, the optimizer and Progress."""

import dataclasses
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from training.dpo import distributed
from training.dpo.allocator import give_back_above
from training.dpo.batches import step_indices
from training.dpo.casts import weights_cast_once
from training.dpo.checkpoint import save_checkpoint
from training.dpo.config import Config
from training.dpo.errors import NonFiniteError, OutOfMemory, Stopped, TrainerError, is_out_of_memory
from training.dpo.evaluate import Objective, metrics, weights_of
from training.dpo.events import EventLog
from training.dpo.lanes import in_turn, side_by_side
from training.dpo.logprobs import ForwardPath, Precision, Scorer, shortest
from training.dpo.losses import Scores
from training.dpo.mismatched import mismatched_name, reference_point
from training.dpo.optimizers import learning_rate_at
from training.dpo.samples import Samples
from training.dpo.stopping import Stopper
from training.dpo.tokens import Example

# Warn when chosen answers have lost this many nats against the reference (e^-5 < 1 %) while the margin is positive.
CHOSEN_FALL_NATS = 5.0
SMOOTHING = 0.8  # of the running mean that this is judged by


@dataclass
class Progress:
    """What a checkpoint keeps besides tensors. The position in the data follows from `step`."""

    step: int = 0
    halvings: int = 0  # of the token budget, after running out of memory
    evaluated: int = -1  # the last step whose held-out pairs were evaluated
    sampled: int = -1  # the last step at which the sample prompts were answered
    seconds: float = 0.0  # spent in steps
    chosen_gain: float = 0.0  # running mean of log π/π_ref of chosen completions, in nats
    warned: list[str] = field(default_factory=list)
    heldout: dict[str, float | None] | None = None
    last_step: dict[str, float | None] | None = None


@dataclass(frozen=True)
class Run:
    """All that stays the same during a run."""

    config: Config
    steps: int
    model: Any
    optimizer: torch.optim.Optimizer
    precision: Precision
    path: ForwardPath
    train: list[Example]
    heldout: list[Example]
    reference: dict[str, torch.Tensor]  # "train" and "heldout" → (N, 2); for kto also of the mismatched pairs of each
    identity: dict[str, str]  # hashes of what a checkpoint must be resumed with
    log: EventLog
    stopper: Stopper
    mismatched: dict[str, list[Example]] = field(default_factory=dict)  # "train" and "heldout", for kto only
    samples: Samples | None = None
    most_held: int | None = None  # bytes of this process after a step, above which what is free is given back; None: no limit

    @property
    def objective(self) -> Objective:
        return Objective.of(self.config)

    def policy(self, halvings: int = 0) -> Scorer:
        """The policy, with the token budget halved so often; the first time by one micro-batch at once in the place of two."""
        path = replace(self.path, budget=max(1, self.path.budget >> halvings), lanes=1 if halvings else self.path.lanes)
        return Scorer(self.model, self.precision, path)

    def scorer(self, model: Any, precision: Precision | None = None) -> Scorer:
        """Another model, scored as this run's policy is."""
        return Scorer(model, precision or self.precision, self.path)

    @property
    def starts_at_reference(self) -> bool:
        return self.config.reference == self.config.model

    @property
    def checkpoints(self) -> Path:
        return Path(self.config.output) / "checkpoint"


def train(run: Run, progress: Progress) -> None:
    """From `progress.step` to the last step. Raises Stopped (after a checkpoint), NonFiniteError, StorageError."""
    try:
        while True:
            if run.heldout and _due(progress.step, run.steps, run.config.heldout_every) and progress.evaluated != progress.step:
                evaluate_heldout(run, progress)
            if run.samples and run.samples.prompts and samples_are_due(run, progress.step) and progress.sampled != progress.step:
                show_samples(run, progress)
            if _due(progress.step, run.steps, run.config.checkpoint_every):
                keep(run, progress)
            if progress.step == run.steps:
                return
            run.stopper.check(progress.step)
            train_step(run, progress)
            give_back_above(run.most_held)
            warn_if_chosen_falls(run, progress)
    except Stopped:
        keep(run, progress)
        raise


def train_step(run: Run, progress: Progress) -> None:
    """One optimizer step; where memory runs out, the same step again in smaller micro-batches.

    Of several processes the others wait within a layer for the one that has no memory left, and cannot be called back: all
    end (OutOfMemory), and the next start goes on from the checkpoint.
    """
    while True:
        try:
            return step_once(run, progress)
        except Exception as error:
            if not is_out_of_memory(error) or run.path.budget >> progress.halvings <= 1:
                raise
        run.optimizer.zero_grad(set_to_none=True)
        progress.halvings += 1
        budget = run.path.budget >> progress.halvings
        if distributed.count() > 1:
            raise OutOfMemory(_out_of_memory_text(budget), progress.halvings)
        message = (
            f"out of memory; going on with {budget} tokens at once, which changes speed only. Set micro_batch_tokens to it"
            + ("." if run.config.checkpoint_activations else ", or set checkpoint_activations.")
        )
        run.log.write("warning", step=progress.step, code="out_of_memory", message=message)
        if run.precision.device.type == "cuda":
            torch.cuda.empty_cache()


def step_once(run: Run, progress: Progress) -> None:
    """One optimizer step over one batch, in micro-batches whose gradients add up to those of the batch's mean loss."""
    began, config = time.monotonic(), run.config
    places = step_indices(progress.step, len(run.train), config.batch_pairs, config.epochs, config.max_steps, config.seed)
    examples = [run.train[place] for place in places]
    reference_B2 = run.reference["train"][places]
    policy_B2 = torch.zeros(len(places), 2)
    weights_B = weights_of(examples)
    bad_B = torch.zeros(len(places))
    policy = run.policy(progress.halvings)
    z, divisor = reference_point_of(run, "train", places, progress), run.objective.divisor(examples)
    parts = distributed.share(policy.micro_batches(examples))

    def add_gradients(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Of one micro-batch: its log-probabilities, and where the loss is not finite."""
        run.stopper.check(progress.step)  # what was accumulated is dropped: the step is made again on resuming
        part = parts[number]
        taken_part = part or [shortest(examples)]  # all processes go through the model equally often
        pairs = [examples[i] for i in taken_part]
        with turns.of(number):
            policy_P2 = policy.logprobs(pairs)
            losses_P = run.objective.losses(Scores.of(policy_P2, reference_B2[taken_part], pairs, z))
            weights_P = weights_B[taken_part] if part else torch.zeros(1)
            (losses_P * weights_P.to(losses_P.device)).sum().div(divisor).backward()
        return policy_P2.detach().float().cpu(), (~losses_P.detach().isfinite()).float().cpu()

    with in_turn(list(run.model.parameters()) if policy.path.lanes > 1 else []) as turns, weights_cast_once():
        added = side_by_side(add_gradients, range(len(parts)), policy.path.lanes)
        for part, (policy_P2, bad_P) in zip(parts, added, strict=True):
            if part:
                policy_B2[part], bad_B[part] = policy_P2, bad_P
    _require_finite(distributed.total(bad_B), examples, progress.step)
    policy_B2 = distributed.total(policy_B2)
    rate = learning_rate_at(progress.step, run.steps, config.learning_rate, config.warmup_steps, config.schedule)
    grad_norm = update(run, rate, examples, progress.step)
    taken, tokens = time.monotonic() - began, sum(example.tokens for example in examples)
    progress.step += 1
    progress.seconds += taken
    progress.last_step = metrics(policy_B2, reference_B2, examples, run.objective, z)
    run.log.write(
        "step", step=progress.step, steps=run.steps,
        epoch=round(min(progress.step * config.batch_pairs / len(run.train), config.epochs if not config.max_steps else 1e9), 4),
        **progress.last_step, grad_norm=grad_norm, learning_rate=rate, tokens_per_s=round(tokens / taken, 1),
        memory_bytes=peak_memory(run.precision.device),
        eta_s=round((run.steps - progress.step) * progress.seconds / progress.step, 1),
    )  # fmt: skip


def reference_point_of(run: Run, part: str, places: Sequence[int], progress: Progress) -> float:
    """KTO's z for these rows, under the policy as it is now; 0 for every other loss. All of a step's micro-batches share it."""
    if part not in run.mismatched or (progress.step == 0 and run.starts_at_reference):
        return 0.0
    examples = [run.mismatched[part][place] for place in places]
    policy_B2 = run.policy(progress.halvings).score(examples, lambda done: run.stopper.check(progress.step))
    return reference_point(policy_B2, run.reference[mismatched_name(part)][list(places)], examples)


def update(run: Run, rate: float, examples: list[Example], step: int) -> float:
    """Clip, step and clear the gradients; the norm before clipping. Raises NonFiniteError and leaves the weights."""
    norm = distributed.whole(torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.config.max_grad_norm)).item()
    if not torch.isfinite(torch.tensor(norm)):
        run.optimizer.zero_grad(set_to_none=True)
        raise NonFiniteError(_non_finite_text("gradient", examples, step))
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return norm


def evaluate_heldout(run: Run, progress: Progress) -> None:
    """Score all held-out pairs and report. Raises Stopped between micro-batches when asked to."""
    if progress.step == 0 and run.starts_at_reference:
        scores_N2 = run.reference["heldout"]  # of the same weights, as the preflight has shown
    else:
        scores_N2 = run.policy(progress.halvings).score(run.heldout, lambda done: run.stopper.check(progress.step))
    z = reference_point_of(run, "heldout", range(len(run.heldout)), progress)
    progress.heldout = metrics(scores_N2, run.reference["heldout"], run.heldout, run.objective, z)
    progress.evaluated = progress.step
    run.log.write("heldout", step=progress.step, **progress.heldout, pairs=len(run.heldout))


def samples_are_due(run: Run, step: int) -> bool:
    every = run.config.samples_every
    return step in (0, run.steps) or (step % every == 0 if every else step == run.steps // 2)


def show_samples(run: Run, progress: Progress) -> None:
    """Answer the sample prompts and report. Raises Stopped when asked to; where it cannot be done, the run goes on without."""
    assert run.samples is not None
    try:
        told = run.samples.answers(
            run.model, run.precision.device, run.config.sample_tokens, lambda: run.stopper.check(progress.step)
        )
        run.log.write("samples", step=progress.step, **told)
    except TrainerError:
        raise
    except Exception as error:  # model code raises what it likes, and a sample is not worth a run
        distributed.recover(run.model)
        if "no_samples" not in progress.warned:
            progress.warned.append("no_samples")
            message = f"the sample prompts were not answered ({type(error).__name__}: {error}); the training is unharmed."
            run.log.write("warning", step=progress.step, code="no_samples", message=message)
    progress.sampled = progress.step


def keep(run: Run, progress: Progress) -> None:
    """Write the checkpoint of this step, unless it is there already."""
    if distributed.by_first((run.checkpoints / f"step-{progress.step:08d}").exists):
        return
    run.optimizer.zero_grad(set_to_none=True)
    precision = {"device": run.precision.device.type, "compute": str(run.precision.compute).removeprefix("torch.")}
    state = {"progress": dataclasses.asdict(progress), "identity": run.identity, **precision}
    save_checkpoint(run.checkpoints, progress.step, run.model, run.optimizer, state)
    run.log.write("checkpoint", step=progress.step)


def warn_if_chosen_falls(run: Run, progress: Progress) -> None:
    """Say once when chosen answers become unlikely while the margin grows (arXiv:2410.08847)."""
    assert progress.last_step is not None
    if progress.last_step["chosen_reward"] is None or progress.last_step["margin"] is None:  # answers of one kind only
        return
    gain = progress.last_step["chosen_reward"] / run.config.beta
    progress.chosen_gain = SMOOTHING * progress.chosen_gain + (1 - SMOOTHING) * gain
    code = "chosen_falls"
    if progress.chosen_gain < -CHOSEN_FALL_NATS and progress.last_step["margin"] > 0 and code not in progress.warned:
        progress.warned.append(code)
        message = (
            f"chosen answers have lost {-progress.chosen_gain:.1f} nats against the reference while the margin grew. "
            "The model moves away from both answers: stop earlier, lower the learning rate or raise beta."
        )
        run.log.write("warning", step=progress.step, code=code, message=message)


def peak_memory(device: torch.device) -> int:
    """Most bytes held so far: on the GPU, or by the process.

    Where the kernel tells it of this program alone, it is asked: `getrusage` begins with what the parent held at vfork.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    held = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")] if status.exists() else []
    return int(held[0].split()[1]) * 1024 if held else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _due(step: int, steps: int, every: int) -> bool:
    return step in (0, steps) or (every > 0 and step % every == 0)


def _require_finite(bad_B: torch.Tensor, examples: list[Example], step: int) -> None:
    if bad := [example for example, is_bad in zip(examples, bad_B.tolist(), strict=True) if is_bad]:
        raise NonFiniteError(_non_finite_text("loss", bad, step))


def _out_of_memory_text(budget: int) -> str:
    return (
        f"out of memory. Started again, the same command goes on from the last checkpoint with {budget} tokens at once, which "
        "changes speed only; torchrun --max-restarts 3 does so by itself. Or set checkpoint_activations."
    )


def _non_finite_text(what: str, examples: list[Example], step: int) -> str:
    rows = ", ".join(f"{example.id!r} (line {example.line})" for example in examples[:20])
    return (
        f"the {what} of step {step + 1} is not a finite number; rows: {rows}. The weights of step {step} are unharmed and "
        "the last checkpoint stays. Look at these rows, or lower the learning rate and start a new run."
    )
