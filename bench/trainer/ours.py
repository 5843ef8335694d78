"""One measured training of ours: `python -m bench.trainer.ours CONFIG.json`. Prints seconds per pair and peak memory as JSON.

The run itself, as a user starts it; the first epoch warms up and the second is measured, by the times of its step events.
"""

import json
import sys
from pathlib import Path


def main(config_file: str) -> None:
    from training.dpo.__main__ import main as train

    settings = json.loads(Path(config_file).read_text())
    if code := train([config_file]):
        sys.exit(code)
    events = [json.loads(line) for line in (Path(settings["output"]) / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    half = len(steps) // 2
    spent = steps[-1]["time"] - steps[half - 1]["time"]
    json.dump(
        {
            "seconds_per_pair": spent / (half * settings["batch_pairs"]),
            "peak_bytes": max(step["memory_bytes"] for step in steps),
            "losses": [round(step["loss"], 4) for step in steps[:half]],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    from training.dpo.allocator import begin_again_with_kept_memory

    begin_again_with_kept_memory()
    main(sys.argv[1])
