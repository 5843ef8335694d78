"""Each file loaded with `datasets` and trained on for a step by TRL: `TRL_PYTHON theirs.py JOB.json`.

It runs in an environment of its own, which has TRL, and imports nothing of ours. Prints a JSON line for each file.
"""

import json
import sys
import tempfile
from pathlib import Path

BOOKKEEPING = ("judgements", "ratings")  # lists of ids that say where a row came from
IMPLICIT = (
    "prompt",
    "prompt_id",
    "messages",
)  # of UltraFeedback: both sides hold the prompt, as in TRL's own copy


def main(job_file: str) -> None:
    from datasets import load_dataset

    job = json.loads(Path(job_file).read_text())
    for each in job["files"]:
        loaded = load_dataset("json", data_files=each["path"], split="train", cache_dir=job["cache"])
        print(
            json.dumps(each | {"rows": len(loaded), "columns": loaded.column_names} | step(loaded, each["trainer"], job)),
            flush=True,
        )
    for directory in job["directories"]:  # as the Hub would: by the head of its card
        loaded = load_dataset(directory, cache_dir=job["cache"])
        told = {"path": directory, "splits": {name: len(split) for name, split in loaded.items()}}
        print(json.dumps(told | step(loaded["train"], "dpo", job)), flush=True)


def step(rows: object, trainer: str, job: dict) -> dict:
    """One step of TRL's trainer on the rows as they are."""
    if not trainer:
        return {}
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    if trainer == "kto":
        try:
            from trl import KTOConfig as Config
            from trl import KTOTrainer as Trainer
        except ImportError:
            from trl.experimental.kto import KTOConfig as Config
            from trl.experimental.kto import KTOTrainer as Trainer
    else:
        Config, Trainer = DPOConfig, DPOTrainer
    dropped = BOOKKEEPING + (IMPLICIT if "messages" in rows.column_names else ())
    rows = rows.remove_columns([name for name in dropped if name in rows.column_names])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    with tempfile.TemporaryDirectory() as output:
        config = Config(
            output_dir=output, max_steps=1, per_device_train_batch_size=4, use_cpu=True, report_to=[], save_strategy="no",
            logging_steps=1, disable_tqdm=True, seed=0, max_length=256,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(job["model"])
        made = Trainer(model, args=config, train_dataset=rows, processing_class=tokenizer)
        made.train()
        losses = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
    return {"trainer": type(made).__name__, "loss": round(losses[0], 4)}


if __name__ == "__main__":
    main(sys.argv[1])
