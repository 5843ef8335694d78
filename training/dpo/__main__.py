"""`python -m training.dpo`: train on triples, make an SFT model of their chosen answers, score them."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.dpo.allocator import begin_again_with_kept_memory
from training.dpo.config import FIELDS, PRESETS, Config, read_config_file
from training.dpo.errors import EXIT_DONE, ConfigError, OutputBusyError, Stopped, TrainerError, storage_error
from training.dpo.stopping import Stopper


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 done, 1 failure, 2 bad input, 3 stopped and resumable."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0].endswith(".json"):
        words.insert(0, "train")
    options = parser().parse_args(words)
    # Before torch is loaded: a thread that spins while it waits steals the core of the one it waits for. With one other
    # busy process on two cores, a step took ten times as long (docs/experiments.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is read from directories
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        options.command(options)
    except Stopped as stop:
        if is_first_process():
            print(stop, file=sys.stderr)
        return stop.exit_code
    except TrainerError as error:
        if error.__cause__ is not None and "unexpected" in str(error):
            traceback.print_exception(error.__cause__)
        if is_first_process() or not error.known_to_first:
            print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return EXIT_DONE


def is_first_process() -> bool:
    """Of those that torchrun has started."""
    return os.environ.get("RANK", "0") == "0"


def parser() -> argparse.ArgumentParser:
    """The command line, with every setting in its help."""
    about = argparse.ArgumentParser(
        prog="python -m training.dpo",
        description="Train a language model on preferences by Direct Preference Optimization, and score triples with it.",
        epilog="`python -m training.dpo CONFIG.json` is short for `train CONFIG.json`. exit codes: " + EXIT_CODES,
    )
    commands = about.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    _add_sft(commands)
    _add_score(commands)
    return about


EXIT_CODES = "0 done, 1 failure, 2 bad config, data or model, 3 stopped after a checkpoint."


def _add_train(commands: Any) -> None:
    settings = "\n".join(f"  {name:22} {_default(spec)}{spec.metadata['help']}" for name, spec in FIELDS.items())
    presets = "\n".join(f"  {name:22} {preset.help}" for name, preset in PRESETS.items())
    train = commands.add_parser(
        "train",
        help="train on a file of triples",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="The same command again resumes a run that was stopped or killed, and does nothing when it is done.",
        epilog=(
            f"settings of CONFIG.json (default in brackets):\n{settings}\n\npresets:\n{presets}\n\n"
            "triples, one JSON object a line:\n"
            '  {"prompt": [{"role": "user", "content": "Q"}], "chosen": [{"role": "assistant", "content": "A"}],\n'
            '   "rejected": [{"role": "assistant", "content": "B"}], "weight": 1.0, "id": "any"}\n\n'
            "for kto also rows of one answer:\n"
            '  {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}],\n'
            '   "label": true}\n\n'
            "OUTPUT holds config.json, events.jsonl (one JSON object a line), checkpoint/ while running, model/ at the end.\n"
            f"exit codes: {EXIT_CODES}"
        ),
    )
    train.add_argument("config", metavar="CONFIG.json", type=Path, help="settings of the run")
    train.set_defaults(command=run_train)


def _add_sft(commands: Any) -> None:
    sft = commands.add_parser(
        "sft",
        help="fine-tune on the chosen answers alone",
        description="Train with the loss sft: −log π(y_w|x), the paper's Preferred-FT. CONFIG.json is that of train, whose help "
        "lists the settings; it names no other loss. Of rows with one answer and its label, the desirable ones are learnt.",
    )
    sft.add_argument("config", metavar="CONFIG.json", type=Path, help="settings of the run")
    sft.set_defaults(command=lambda options: run_train(options, loss="sft"))


def _add_score(commands: Any) -> None:
    score = commands.add_parser(
        "score",
        help="log-probabilities and implicit rewards of a file of triples",
        description="One JSON line per pair: log-probabilities in nats, and with a reference the implicit rewards. In float32.",
    )
    score.add_argument("triples", metavar="TRIPLES.jsonl", type=Path)
    score.add_argument("--model", type=Path, required=True, help="directory of the version that scores")
    score.add_argument("--reference", type=Path, help="directory of the reference, for rewards (default: none)")
    score.add_argument("--output", type=Path, help="where the lines go (default: standard output)")
    score.add_argument("--beta", type=float, default=0.1, help="scale of the rewards (default: %(default)s)")
    score.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    score.add_argument("--max-prompt-tokens", type=int, default=4096, help="longer ones are refused (default: %(default)s)")
    score.add_argument("--max-completion-tokens", type=int, default=4096, help="longer ones are refused (default: %(default)s)")
    score.add_argument("--over-long", choices=("error", "drop"), default="error", help="or leave them out (default: %(default)s)")
    score.set_defaults(command=run_score)


def run_train(options: argparse.Namespace, loss: str | None = None) -> None:
    stopper = Stopper().listen()
    config = read_config(options.config, loss=loss)
    if config.stop_with_parent:
        stopper.with_parent()
    train(config.resolved(), stopper)


def run_score(options: argparse.Namespace) -> None:
    from training.dpo.storage import require_model_directory

    for directory in filter(None, (options.model, options.reference)):
        require_model_directory(directory)
    from training.dpo.score import score_file, tell

    limits = (options.max_prompt_tokens, options.max_completion_tokens)
    tell(
        score_file(
            options.triples,
            options.model,
            options.reference,
            options.output,
            options.beta,
            options.device,
            limits,
            options.over_long,
        )
    )


def read_config(path: Path, loss: str | None = None) -> Config:
    """The checked config. A fault is also written to the events of the output, if the file names one.

    With a `loss`, the command names it, and the file may not name another.
    """
    given = read_config_file(path)
    if loss and given.setdefault("loss", loss) != loss:
        raise ConfigError(f'{path}: "loss" is {given["loss"]!r}, and this command is for {loss}. Leave it out, or use train.')
    try:
        return Config.from_dict(given, where=str(path))
    except ConfigError as error:
        if is_first_process():
            tell_output(given, error)
        error.known_to_first = True
        raise


def tell_output(given: dict[str, Any], error: ConfigError) -> None:
    """Append an error event to a known output directory, unless a trainer is at work there."""
    from training.dpo.events import EventLog
    from training.dpo.storage import exclusive

    if not isinstance(given.get("output"), str) or not given["output"]:
        return
    output = Path(given["output"])
    try:
        output.mkdir(parents=True, exist_ok=True)
        with exclusive(output / "lock", wait_s=0):
            EventLog(output / "events.jsonl").write("error", message=str(error), step=0)
    except (OSError, OutputBusyError, TrainerError):
        return


def train(config: Config, stopper: Stopper) -> None:
    """Make the output directory and run. torch is imported only now, so that --help and bad configs answer at once."""
    output = Path(config.output)
    try:
        if is_first_process():
            output.mkdir(parents=True, exist_ok=True)
            (output / "lock").touch()
    except OSError as error:
        raise storage_error("the run", output, error) from error
    from training.dpo import distributed
    from training.dpo.console import Console
    from training.dpo.events import EventLog
    from training.dpo.run import report, run

    console = Console()
    log = EventLog(output / "events.jsonl", show=console.show, silent=not is_first_process())

    def on_failure(error: TrainerError) -> None:
        report(log, error)
        print(f"error: {error}", file=sys.stderr, flush=True)

    stopper.agree = distributed.agree
    try:
        with distributed.joined(config.device, on_failure):
            run(config, stopper, log)
    finally:
        console.close()


def _default(spec: Any) -> str:
    if choices := spec.metadata.get("choices"):
        marked = (f"[{choice}]" if choice == spec.default else choice for choice in choices)
        return f"{', '.join(marked)}: "
    if spec.metadata["role"] == "file" or not isinstance(spec.default, str | int | float):
        return ""
    return f"[{spec.default}] "


if __name__ == "__main__":
    begin_again_with_kept_memory()
    sys.exit(main())
