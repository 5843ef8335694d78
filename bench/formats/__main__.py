"""Do TRL and `datasets` take what goes out? `python -m bench.formats --trl TRL_PYTHON`.

Judged pairs and ratings of a made-up project are exported, each format is loaded with `datasets`, and where TRL names the format,
its trainer makes a step on it with a tiny model. The first loss of DPO must be ln 2.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

from bench.environment import fresh_django

TRAINERS = {"trl": "dpo", "ultrafeedback": "dpo", "trl-kto": "kto"}  # the formats that TRL takes as they are
PAIRS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trl", required=True, metavar="PYTHON", help="The Python of an environment with trl and datasets.")
    trl = parser.parse_args().trl
    with fresh_django():
        sys.exit(check(trl))


def check(trl: str) -> int:
    from django.conf import settings

    from annotate.data.exports import FORMATS, export_preferences
    from tests.trainer.tiny import make_tiny_model
    from training.datasets.filters import Filters
    from training.datasets.snapshots import create_dataset
    from training.versions.publishing import write_dataset_directory

    project, directory = judged_project(), Path(settings.VAR_DIR) / "files"
    directory.mkdir()
    files = []
    for format in FORMATS:
        path = directory / f"{format}.{'json' if format == 'label-studio' else 'jsonl'}"
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            report = export_preferences(project=project, format=format, stream=stream)
        files.append({"format": format, "path": str(path), "written": report.rows, "trainer": TRAINERS.get(format, "")})
    pushed = write_dataset_directory(dataset=create_dataset(project=project), directory=directory / "pushed")
    unpaired = create_dataset(project=project, filters=Filters(unpaired=True))
    job = directory / "job.json"
    model = make_tiny_model(directory / "model")
    about = {"files": files, "directories": [str(pushed)], "model": str(model), "cache": str(directory / "cache")}
    job.write_text(json.dumps(about))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    ended = subprocess.run(
        [trl, str(Path(__file__).with_name("theirs.py")), str(job)], capture_output=True, text=True, env=environment
    )
    found = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('{"')]
    for each in found:
        name = each.get("format", "published directory")
        count, trainer = each.get("rows", each.get("splits")), each.get("trainer") or "loaded"
        print(f"{name}: {count} rows, {trainer}, loss {each.get('loss', '–')}")
    faults = [each["format"] for each in found if "format" in each and each["rows"] != each["written"]]
    faults += [str(each) for each in found if each.get("trainer") == "DPOTrainer" and abs(each["loss"] - math.log(2)) > 1e-3]
    if ended.returncode or len(found) != len(files) + 1 or faults:
        print(f"It failed: {faults}\n{ended.stderr[-4000:]}", file=sys.stderr)
        return 1
    print(f"Ours besides: {unpaired.train_count} rows of pairs and single answers together, which only our trainer takes.")
    return 0


def judged_project():
    """Pairs with every outcome, and a thumb for each third answer."""
    from io import BytesIO

    from django.utils import timezone

    from annotate.data.imports import import_preferences
    from annotate.models import Completion, Project, Rating, User

    project = Project.objects.create(slug="check", name="Check")
    outcomes = ["first", "second", "first", "tie", "second", "both_bad"]
    rows = [
        {"prompt": [{"role": "user", "content": f"Question {n}? 😀"}], "first": f"Answer {n}.", "second": f"Another answer\n{n}.",
         "outcome": outcomes[n % 6], "strength": 1 + n % 3}
        for n in range(PAIRS)
    ]  # fmt: skip
    content = "\n".join(json.dumps(row) for row in rows).encode()
    import_preferences(project=project, stream=BytesIO(content), file_name="made-up.jsonl")
    somebody = User.objects.create_user("somebody")
    for completion in Completion.objects.order_by("pk")[::3]:
        Rating.objects.create(completion=completion, annotator=somebody, good=completion.pk % 2 == 0, answered_at=timezone.now())
    return project


if __name__ == "__main__":
    main()
