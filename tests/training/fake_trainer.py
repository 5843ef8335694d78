"""Stands for `python -m training.dpo` where only the supervision is tested: does what a file beside its config says.

`script.json`: a list of ["event", {…}], ["rewrite", [{…}, …]], ["half", "…"], ["wait", seconds], ["exit", code],
["until_sigterm", code].
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

output = Path(json.loads(Path(sys.argv[1]).read_text())["output"])
events = output / "events.jsonl"
told: list[int] = []
signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
print("hello from the trainer", flush=True)
for action, value in json.loads((output / "script.json").read_text()):
    if action == "event":
        with events.open("a") as file:
            file.write(json.dumps({"time": time.time(), **value}) + "\n")
    elif action == "half":
        with events.open("a") as file:
            file.write(value)
    elif action == "rewrite":
        partial = events.with_suffix(".partial")
        partial.write_text("".join(json.dumps(event) + "\n" for event in value))
        os.replace(partial, events)
    elif action == "wait":
        time.sleep(value)
    elif action == "kill":
        os.kill(os.getpid(), value)
    elif action == "until_sigterm":
        while not told:
            time.sleep(0.02)
        sys.exit(value)
    elif action == "exit":
        sys.exit(value)
