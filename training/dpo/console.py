"""What a person at the terminal sees of the events: a progress bar in a terminal, a line each in a log file."""

import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

Event = dict[str, Any]


class Console:
    """Shows events on `stream`."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self.stream = stream
        self.bar: tqdm | None = None

    def show(self, event: Event) -> None:
        if event["event"] == "step" and self.stream.isatty():
            self._advance(event)
            return
        describe = LINES.get(event["event"])
        if describe is not None:
            tqdm.write(describe(event), file=self.stream)
            self.stream.flush()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def _advance(self, event: Event) -> None:
        if self.bar is None:
            self.bar = tqdm(total=event["steps"], initial=event["step"] - 1, unit="step", file=self.stream)
        self.bar.set_postfix_str(f"loss {event['loss']:.4f}, accuracy {event['accuracy']:.0%}, margin {_margin(event)}")
        self.bar.update(event["step"] - self.bar.n)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _start(event: Event) -> str:
    memory = event["memory_estimate_bytes"]
    return (
        f"{event['steps']} steps on {event['device']}; compute: {event['compute_reason']}; rows: {event['path_reason']}\n"
        f"memory, at most about {_bytes(memory['peak'])}: libraries {_bytes(memory['libraries'])}, "
        f"weights {_bytes(memory['weights'])}, gradients {_bytes(memory['gradients'])}, optimizer {_bytes(memory['optimizer'])}, "
        f"activations {_bytes(memory['activations'])}, head {_bytes(memory['head'])}"
    )


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _audit(event: Event) -> str:
    train, heldout = event["train"], event["heldout"]
    extra = f", {heldout['pairs']} held out" if heldout else ""
    if train["unpaired"]:
        extra += f"; {train['unpaired']} rows of a single answer"
    if left := train.get("left_out"):
        extra += f"; {left} undesirable answers left out"
    if cut := train["answers_cut"]:
        extra += f"; {cut} answers had been cut at their limit and are not taught to end there"
    return (
        f"{train['pairs']} pairs{extra}; {train['dropped']} too long and dropped, {train['truncated']} prompts cut; "
        f"end of turn: {train['end_of_turn']}"
    )


def _step(event: Event) -> str:
    return (
        f"step {event['step']}/{event['steps']}  loss {event['loss']:.4f}  accuracy {event['accuracy']:.0%}  "
        f"margin {_margin(event)}  grad norm {event['grad_norm']:.2f}  {event['tokens_per_s']:.0f} tokens/s  "
        f"{_duration(event['eta_s'])} left"
    )


def _heldout(event: Event) -> str:
    return (
        f"held out at step {event['step']}: loss {event['loss']:.4f}, accuracy {event['accuracy']:.0%}, "
        f"margin {_margin(event)} on {event['pairs']} pairs"
    )


def _margin(event: Event) -> str:
    """Unpaired rows may all be of one kind."""
    return "unknown" if event["margin"] is None else f"{event['margin']:+.3f}"


def _samples(event: Event) -> str:
    """The first prompt's answer; all are in events.jsonl."""
    ended, first = sum(each["ended"] for each in event["samples"]), event["samples"][0]
    answer = " ".join(first["answer"].split())
    return (
        f"samples at step {event['step']} ({event['seconds']} s): {ended} of {len(event['samples'])} answers end by themselves "
        f"within {event['limit']} tokens; the first: {answer[:160]}{'…' if len(answer) > 160 or not first['ended'] else ''}"
    )


def _saved(event: Event) -> str:
    shares = ", ".join(
        f"{name} keeps {max(share, 0.0):.1%}" for name, share in event["signal"]["share"].items() if share is not None
    )
    return f"saved {event['path']}; of what was trained {shares or 'there is nothing'}; serve it in {event['serve_dtype']}"


LINES: dict[str, Callable[[Event], str]] = {
    "start": _start,
    "audit": _audit,
    "preflight": lambda event: "preflight passed: " + ", ".join(f"{k} {v:.3g}" for k, v in event["figures"].items()),
    "step": _step,
    "heldout": _heldout,
    "samples": _samples,
    "checkpoint": lambda event: f"checkpoint of step {event['step']} written",
    "resumed": lambda event: f"resumed from the checkpoint of step {event['step']}",
    "warning": lambda event: f"warning: {event['message']}",
    "saved": _saved,
    "done": lambda event: f"done: {event['steps']} steps in {_duration(event['seconds'])}",
}
