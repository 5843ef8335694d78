"""One measured training of TRL's DPOTrainer: `TRL_PYTHON theirs.py SETTINGS.json`. Prints what ours.py prints.

It runs in an environment of its own, which has TRL, and imports nothing of ours.
"""

import json
import sys
import tempfile
import time
from pathlib import Path


def main(settings_file: str) -> None:
    import torch
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    settings = json.loads(Path(settings_file).read_text())
    rows = [json.loads(line) for line in Path(settings["train"]).read_text().splitlines()]
    kept = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in rows]
    cuda = torch.cuda.is_available()
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: object, **kwargs: object) -> None:
            if cuda:
                torch.cuda.synchronize()
            ends.append(time.time())

    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(settings["model"], dtype=torch.float32)
    is_sorted = settings["trl"].pop("sorted", False)
    if is_sorted:
        kept.sort(key=lambda row: longer_row(tokenizer, row))
    rank = settings["trl"].pop("lora_rank", None)

    class InOrder(DPOTrainer):
        def _get_train_sampler(self, *args: object, **kwargs: object) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    with tempfile.TemporaryDirectory() as output:
        config = DPOConfig(
            output_dir=output, num_train_epochs=2, per_device_train_batch_size=settings["batch_pairs"],
            max_length=settings["max_length"],
            learning_rate=settings["learning_rate"], use_cpu=not cuda, report_to=[], save_strategy="no", logging_steps=1,
            disable_tqdm=True, seed=0, beta=0.1, **settings["trl"],
        )  # fmt: skip
        trainer = (InOrder if is_sorted else DPOTrainer)(
            model,
            args=config,
            train_dataset=Dataset.from_list(kept),
            processing_class=tokenizer,
            callbacks=[Clock()],
            peft_config=adapters_of(rank) if rank else None,
        )
        trainer.train()
    half = len(ends) // 2
    losses = [round(entry["loss"], 4) for entry in trainer.state.log_history if "loss" in entry]
    peak = torch.cuda.max_memory_allocated() if cuda else most_resident()
    print()
    json.dump(
        {
            "seconds_per_pair": (ends[-1] - ends[half - 1]) / (half * settings["batch_pairs"]),
            "peak_bytes": peak,
            "losses": losses[:half],
        },
        sys.stdout,
    )


def adapters_of(rank: int):
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM")


def longer_row(tokenizer, row: dict) -> int:
    """Tokens, about: of the prompt with the longer answer."""
    texts = ["".join(turn["content"] for turn in row[key]) for key in ("prompt", "chosen", "rejected")]
    prompt, chosen, rejected = (len(tokenizer(text)["input_ids"]) for text in texts)
    return prompt + max(chosen, rejected)


def most_resident() -> int:
    """Most bytes this process has held. Not getrusage's maximum: after vfork that begins with what the parent held."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(sys.argv[1])
