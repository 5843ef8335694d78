"""A dataset or a version as a directory that is ready to push, with its card; and pushing it to a Hub repository.

A version's directory is that already (training/dpo/save.py). A dataset's is written here: `data/train.jsonl`, `data/test.jsonl`
(the held-out triples) and `README.md`. The token comes from the environment (HF_TOKEN) and is stored nowhere.
"""

import json
import shutil
import statistics
from collections import defaultdict
from pathlib import Path

from annotate.models import Judgement
from annotate.models.judgement import Outcome
from annotate.models.prompt import Split
from annotate.quality.agreement import alpha, in_words
from training.datasets.snapshots import FILES
from training.models import Dataset, Version

PUBLISHED = {Split.TRAIN: "data/train.jsonl", Split.HELDOUT: "data/test.jsonl"}
NAMES = {Split.TRAIN: "train", Split.HELDOUT: "test"}  # as others call them
NOMINAL = {outcome: place for place, outcome in enumerate(Outcome)}


class PublishError(Exception):
    """It cannot be published; the text says why and what to do."""


def write_dataset_directory(*, dataset: Dataset, directory: Path) -> Path:
    """The dataset's files under the names that `datasets.load_dataset` looks for, and its card. Raises PublishError."""
    if directory.exists() and any(directory.iterdir()):
        raise PublishError(f"{directory} is not empty. Name a directory that is, or is not there yet.")
    (directory / "data").mkdir(parents=True, exist_ok=True)
    for split, name in FILES.items():
        if not (dataset.path / name).is_file():
            raise PublishError(f"{dataset.path / name} is not there any more. Take a new dataset.")
        shutil.copyfile(dataset.path / name, directory / PUBLISHED[split])
    (directory / "README.md").write_text(card_of(dataset), encoding="utf-8")
    return directory


def card_of(dataset: Dataset) -> str:
    """Markdown with the Hub's YAML head: what it is, counts, agreement, lengths, where it comes from."""
    lengths = {split: _lengths(dataset.path / name) for split, name in FILES.items()}
    without = "\n".join(f"| {reason.replace('_', ' ')} | {count:,} |" for reason, count in dataset.counts.items() if count)
    rows = "\n".join(
        f"| {NAMES[split]} | {count:,} | {found['prompt']} | {found['chosen']} | {found['rejected']} |"
        for (split, found), count in zip(lengths.items(), (dataset.train_count, dataset.heldout_count), strict=True)
    )
    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: {PUBLISHED[Split.TRAIN]}
  - split: test
    path: {PUBLISHED[Split.HELDOUT]}
task_categories:
- text-generation
tags:
- preference
- dpo
- trl
- prefloop
---

# {dataset.project.name}: dataset {dataset.number}

Pairwise preferences in TRL's conversational form, one triple a line: `prompt`, `chosen`, `rejected`, `margin` (the strength)
and `weight`.
Made with Prefloop from {dataset.judgements.count():,} judgements on {dataset.created_at:%d %B %Y}.

| split | triples | prompt | chosen | rejected |
| --- | --- | --- | --- | --- |
{rows}

Lengths are medians, in characters. The prompts of `test` never trained anything in this project.

## Agreement

{_agreement(dataset)}

## What gave no triple

{"| reason | comparisons |" + chr(10) + "| --- | --- |" + chr(10) + without if without else "Every judged comparison gave one."}

## Where it comes from

- Chosen by: `{json.dumps(dataset.filters, ensure_ascii=False)}`
- SHA-256 of train: `{dataset.train_sha256}`
- SHA-256 of test: `{dataset.heldout_sha256}`
"""


def _lengths(path: Path) -> dict[str, str]:
    found: dict[str, list[int]] = defaultdict(list)
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            for name in ("prompt", "chosen", "rejected"):
                found[name].append(sum(len(message["content"]) for message in row[name]))
    return {name: f"{statistics.median(found[name]):,.0f}" if found[name] else "–" for name in ("prompt", "chosen", "rejected")}


def _agreement(dataset: Dataset) -> str:
    """Of the comparisons that several people judged: Krippendorff's alpha of which answer is better."""
    units: dict[int, list[int]] = defaultdict(list)
    rows = Judgement.objects.filter(datasets=dataset).values_list("comparison_id", "outcome")
    for comparison, outcome in rows.iterator(chunk_size=2000):
        units[comparison].append(NOMINAL[Outcome(outcome)])
    several = [unit for unit in units.values() if len(unit) > 1]
    if not several or (value := alpha(several, level="nominal")) is None:
        return "Each comparison was judged by one person, or all say the same: agreement cannot be measured."
    return f"Krippendorff's alpha {value:.2f} ({in_words(value)}), over {len(several):,} comparisons with two judgements or more."


def push_directory(
    *, directory: Path, repository: str, kind: str, token: str, private: bool = True, endpoint: str | None = None
) -> str:
    """Creates the repository ("owner/name"; `kind` "model" or "dataset") if it is not there, and uploads. Returns its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if not token:
        raise PublishError("Set HF_TOKEN in the environment to a token of the Hub that may write.")
    api = HfApi(endpoint=endpoint, token=token)
    try:
        if not api.repo_exists(repository, repo_type=kind):
            api.create_repo(repository, repo_type=kind, private=private)
        api.upload_folder(repo_id=repository, folder_path=directory, repo_type=kind, commit_message="From Prefloop")
    except HFValidationError as error:
        raise PublishError(f"“{repository}” is no name of a repository: {error}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        what = "The token may not write there." if status in (401, 403) else "Try again later."
        raise PublishError(f"The Hub refused it ({status}). {what}") from None
    except OSError as error:
        raise PublishError(f"The Hub cannot be reached: {error}") from None
    return f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repository}"


def directory_of(version: Version) -> Path:
    """Raises PublishError for a version without weights here."""
    if not version.directory or not version.path.is_dir():
        raise PublishError(f"{version} has no model directory here, so there is nothing to publish.")
    return version.path
