"""`python -m training.dpo CONFIG.json`"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.dpo.config import FIELDS, PRESETS, Config, read_config_file
from training.dpo.errors import EXIT_DONE, ConfigError, OutputBusyError, Stopped, TrainerError, storage_error
from training.dpo.stopping import Stopper


def main(argv: Sequence[str] | None = None) -> int:
    """Run one training; the exit code is 0 done, 1 failure, 2 bad input, 3 stopped and resumable."""
    path = Path(parser().parse_args(argv).config)
    # Before torch is loaded: a thread that spins while it waits steals the core of the one it waits for. With one other
    # busy process on two cores, a step took ten times as long (docs/experiments.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    stopper = Stopper().listen()
    try:
        config = read_config(path)
        if config.stop_with_parent:
            stopper.with_parent()
        train(config.resolved(), stopper)
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    except TrainerError as error:
        if error.__cause__ is not None and "unexpected" in str(error):
            traceback.print_exception(error.__cause__)
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return EXIT_DONE


def parser() -> argparse.ArgumentParser:
    """The command line, with every setting in its help."""
    settings = "\n".join(f"  {name:22} {_default(spec)}{spec.metadata['help']}" for name, spec in FIELDS.items())
    presets = "\n".join(f"  {name:22} {preset.help}" for name, preset in PRESETS.items())
    about = argparse.ArgumentParser(
        prog="python -m training.dpo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Train a language model on preferences by Direct Preference Optimization.\n"
            "The same command again resumes a run that was stopped or killed, and does nothing when it is done."
        ),
        epilog=(
            f"settings of CONFIG.json (default in brackets):\n{settings}\n\npresets:\n{presets}\n\n"
            "triples, one JSON object a line:\n"
            '  {"prompt": [{"role": "user", "content": "Q"}], "chosen": [{"role": "assistant", "content": "A"}],\n'
            '   "rejected": [{"role": "assistant", "content": "B"}], "weight": 1.0, "id": "any"}\n\n'
            "OUTPUT holds config.json, events.jsonl (one JSON object a line), checkpoint/ while running, model/ at the end.\n"
            "exit codes: 0 done, 1 failure, 2 bad config, data or model, 3 stopped after a checkpoint."
        ),
    )
    about.add_argument("config", metavar="CONFIG.json", help="settings of the run")
    return about


def read_config(path: Path) -> Config:
    """The checked config. A fault is also written to the events of the output, if the file names one."""
    given = read_config_file(path)
    try:
        return Config.from_dict(given, where=str(path))
    except ConfigError as error:
        tell_output(given, error)
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
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is read from directories
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    output = Path(config.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "lock").touch()
    except OSError as error:
        raise storage_error("the run", output, error) from error
    from training.dpo.console import Console
    from training.dpo.events import EventLog
    from training.dpo.run import run

    console = Console()
    try:
        run(config, stopper, EventLog(output / "events.jsonl", show=console.show))
    finally:
        console.close()


def _default(spec: Any) -> str:
    default = spec.default
    if spec.metadata["role"] == "file" or not isinstance(default, str | int | float):
        return ""
    return f"[{default}] "


if __name__ == "__main__":
    sys.exit(main())
