"""What a run will take, said before it starts: tokens, steps, time and memory on a worker's device.

It imports no torch, so a web process can ask. The trainer measures for itself before step 1 (`training/dpo/memory.py`) and
refuses what does not fit; this is the same sum with what the layers keep taken from a formula:

    floats kept per token = layers · (8 · hidden + 2 · keys + 4 · intermediate) + 3 · hidden

fitted to `training.dpo.memory.tokens_keep` of six Llamas of 2 to 5 layers, packed or plain, float32: all within 2 %. Where the
trainer has layers of its own (`training/dpo/layers.py`: on a CPU, not with DoRA) each keeps 4 · hidden + 2 · keys +
2 · intermediate, within 3 %.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum
from django.db.models.functions import Length

from annotate.models import Completion, Project
from training.datasets.previews import Preview, Size
from training.dpo.config import Config
from training.models import Machine, Version
from training.models.job import JobState
from training.runs import curves

STATES = {"adamw": 2, "rmsprop": 1}  # numbers an optimizer keeps for each trained one
PER_HIDDEN, PER_KEY, PER_INTERMEDIATE, PER_HIDDEN_ONCE = 8, 2, 4, 3  # floats kept for a token
FAST_FAMILIES, FAST_PER_HIDDEN, FAST_PER_INTERMEDIATE = {"llama", "mistral", "qwen2"}, 4, 2  # training/dpo/layers.py
TILE = 256  # positions whose logits exist at once: training/dpo/head.py
TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 16384}  # training/dpo/run.py
CERTAIN = 0.8  # of the estimate must exceed what is there before a run is refused
FLOAT = 4  # bytes
HOLES = 0.15  # between blocks of a CPU's heap, of what the layers keep: training/dpo/memory.py
RUNTIME = 192 * 1024**2  # kernels and buffers on a CPU: training/dpo/memory.py
LIBRARIES = 450 * 10**6  # what a process holds on a CPU before its weights
CHARS_PER_TOKEN = 4.0  # of English, where nothing has been counted yet
TEMPLATE_TOKENS = 8  # that a chat template puts around a turn, about
# Of the speed of a float32 matrix product, about. High on a CPU: of what is counted, a prompt is computed once and not twice,
# bfloat16 may be taken, and oneDNN's products are faster than those that are measured.
SHARE_OF_PEAK = {"cpu": 1.0, "cuda": 0.35}
LOOKED_AT = 1_000  # of the newest completions
SAMPLED = 300  # of those, that tell how many characters a token has
GB = 1e9


@dataclass(frozen=True)
class Shape:
    """A model's sizes, from its config.json."""

    parameters: int
    vocabulary: int
    hidden: int
    keys: int  # width of all key heads together
    intermediate: int
    layers: int
    family: str = ""


@dataclass(frozen=True)
class Estimate:
    """None is what cannot be told, and `unknown` says why."""

    tokens: int  # that go through the policy: every pair once, prompt and both answers
    steps: int
    seconds: float | None
    seconds_from: str  # what the time is told from
    memory_bytes: int | None
    machine: Machine | None
    refusal: str = ""  # why it cannot run there, and what helps
    unknown: tuple[str, ...] = ()

    @property
    def memory_percent(self) -> int | None:
        if self.memory_bytes is None or self.machine is None:
            return None
        return min(999, round(100 * self.memory_bytes / self.machine.memory_bytes))


def estimate_run(*, project: Project, preview: Preview, parent: Version, config: Config, processes: int = 1) -> Estimate:
    """Of a run on what `preview` counts, from `parent`, on the machine with most memory that was seen lately."""
    per_token = characters_per_token(project)
    each_pass = _tokens(preview.size, per_token)
    longest = min(_longest(preview.size, per_token), config.max_prompt_tokens + 2 * config.max_completion_tokens)
    epochs = config.max_steps * config.batch_pairs / preview.train if config.max_steps and preview.train else config.epochs
    steps = config.max_steps or math.ceil(preview.train * config.epochs / config.batch_pairs)
    machine, unknown = _machine(config.device), []
    if machine is None:
        unknown.append("No worker has told yet what it runs on: time and memory are known once one has worked here.")
    shape = shape_of(parent)
    if shape is None:
        unknown.append(f"The sizes of {parent} cannot be read here, so its memory cannot be told.")
    seconds, told_from = _seconds(
        project, parent, config, machine, each_pass * epochs, each_pass + _tokens(preview.size_heldout, per_token), processes
    )
    memory, refusal = None, ""
    if shape:
        budget = config.micro_batch_tokens or TOKENS_AT_ONCE[machine.device if machine else "cpu"]
        share = each_pass / max(preview.train, 1) * min(config.batch_pairs, preview.train or 1) / processes
        full = max(longest, min(budget, round(share)))
        on_cpu = machine is None or machine.device == "cpu"
        memory = memory_of(shape, config, tokens=full, processes=processes, accumulates=share > budget, on_cpu=on_cpu)
        least = memory_of(shape, config, tokens=longest, processes=processes, accumulates=False, on_cpu=on_cpu)
        refusal = _refusal(least, config, machine, processes) if machine else ""
    return Estimate(
        tokens=round(each_pass * epochs), steps=steps, seconds=seconds, seconds_from=told_from, memory_bytes=memory,
        machine=machine, refusal=refusal, unknown=tuple(unknown),
    )  # fmt: skip


def memory_of(
    shape: Shape, config: Config, *, tokens: int, processes: int = 1, accumulates: bool = False, on_cpu: bool = False
) -> int:
    """Bytes of one process at its peak, for micro-batches of `tokens`: the sum of `training/dpo/memory.py`."""
    trained = adapter_numbers(shape, config.lora_rank) if config.lora_rank else shape.parameters
    head = shape.vocabulary * shape.hidden
    lanes = 2 if on_cpu and processes == 1 and config.threads != 1 else 1  # training/dpo/lanes.py
    fast = on_cpu and shape.family in FAST_FAMILIES and not config.dora
    per_hidden, per_intermediate = (FAST_PER_HIDDEN, FAST_PER_INTERMEDIATE) if fast else (PER_HIDDEN, PER_INTERMEDIATE)
    layer = per_hidden * shape.hidden + PER_KEY * shape.keys + per_intermediate * shape.intermediate
    kept = shape.hidden if config.checkpoint_activations else layer  # of a layer; the rest is then computed again, one at a time
    activations = FLOAT * (shape.layers * kept + PER_HIDDEN_ONCE * shape.hidden) * tokens
    at_work = 2 * FLOAT * layer * tokens if config.checkpoint_activations else activations // shape.layers
    computing = round(activations * (1 + HOLES * on_cpu)) + max(
        lanes * FLOAT * (2 * min(TILE, tokens) * shape.vocabulary + (0 if config.lora_rank else 2 * head)), at_work
    )
    whole = FLOAT * (head + (shape.parameters - head) // shape.layers) if processes > 1 else 0
    weights, states = FLOAT * shape.parameters // processes, FLOAT * trained * STATES[config.optimizer] // processes
    held = weights + whole + states + (RUNTIME + LIBRARIES) * on_cpu
    gradients = FLOAT * trained // processes + whole
    return held + (computing + gradients if accumulates or lanes > 1 else max(computing, 2 * gradients))


def adapter_numbers(shape: Shape, rank: int) -> int:
    """Trained numbers of LoRA beside every linear layer: four of the attention, taken as square, and three of the MLP."""
    return shape.layers * rank * (4 * 2 * shape.hidden + 3 * (shape.hidden + shape.intermediate))


def shape_of(version: Version) -> Shape | None:
    """None where its directory is not here, or is of a kind whose config names its sizes otherwise."""
    try:
        told = json.loads((version.path / "config.json").read_text(encoding="utf-8"))
        told = told.get("text_config") or told
        hidden, heads = int(told["hidden_size"]), int(told.get("num_attention_heads") or 1)
        return Shape(
            parameters=version.parameters,
            vocabulary=int(told["vocab_size"]),
            hidden=hidden,
            keys=hidden * int(told.get("num_key_value_heads") or heads) // heads,
            intermediate=int(told.get("intermediate_size") or 4 * hidden),
            layers=max(1, int(told["num_hidden_layers"])),
            family=str(told.get("model_type") or ""),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
        return None


def characters_per_token(project: Project) -> float:
    """Of those of the newest answers whose tokens are known; of English where there is none."""
    newest = Completion.objects.filter(prompt__project=project).order_by("-pk").values_list("pk", flat=True)[:LOOKED_AT]
    known = Completion.objects.filter(pk__in=list(newest), token_count__gt=0).order_by("-pk")[:SAMPLED]
    told = Completion.objects.filter(pk__in=known.values("pk")).aggregate(
        characters=Sum(Length("text")), tokens=Sum("token_count")
    )
    return max(0.5, told["characters"] / told["tokens"]) if told["tokens"] else CHARS_PER_TOKEN


def _tokens(size: Size, per_token: float) -> int:
    return math.ceil((size.prompt + size.answers) / per_token) + 3 * TEMPLATE_TOKENS * size.triples


def _longest(size: Size, per_token: float) -> int:
    return math.ceil(size.longest / per_token) + 3 * TEMPLATE_TOKENS


def _machine(device: str) -> Machine | None:
    """The one with most memory of those that workers have told of lately; GPUs first, unless the CPU is asked for."""
    seen = list(Machine.objects.seen_lately())
    if device != "auto":
        seen = [machine for machine in seen if machine.device == device]
    return max(seen, key=lambda machine: (machine.device == "cuda", machine.memory_bytes), default=None)


def _seconds(
    project: Project, parent: Version, config: Config, machine: Machine | None, trained: float, scored: float, processes: int
) -> tuple[float | None, str]:
    """Trained tokens go forward and back, scored ones (the reference, once; held-out pairs) only forward: a third."""
    work = trained + scored / 3
    speed, run = _speed_before(project, parent, config)
    if speed:
        return work / speed, f"from the {speed:,.0f} tokens a second of {run}"
    if machine is None or not parent.parameters:
        return None, ""
    flops = machine.flops * SHARE_OF_PEAK[machine.device] * (processes if machine.device == "cuda" else 1)
    return 6 * parent.parameters * work / flops, f"from the speed of {machine}; no run here has been timed yet"


def _speed_before(project: Project, parent: Version, config: Config) -> tuple[float | None, Any]:
    """Tokens a second of the newest finished run here of a model of this size, with adapters if this one has them."""
    finished = project.runs.filter(state=JobState.DONE, parent__parameters=parent.parameters).order_by("-number")
    for run in finished[:5]:
        _, last = curves.ends(run=run, kind=curves.TRAIN)
        adapted = curves.resolved_settings(run=run).get("lora_rank") is not None
        if last.get("tokens_per_s") and adapted == (config.lora_rank is not None):
            return last["tokens_per_s"], run
    return None, None


def _refusal(least: int, config: Config, machine: Machine, processes: int) -> str:
    if least * CERTAIN <= machine.memory_bytes / (processes if machine.device == "cpu" else 1):
        return ""
    adapters = "" if config.lora_rank else "take the preset LoRA, "
    return (
        f"It cannot fit: even one pair at a time needs about {least / GB:.1f} GB, and {machine} has "
        f"{machine.memory_bytes / GB:.1f} GB. To make it fit, {adapters}lower the longest prompt and answer, choose a smaller "
        "model to start from, or start a worker on a larger machine."
    )
