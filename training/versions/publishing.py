"""A dataset or a version as a directory that is ready to push, with its card; and pushing it to a Hub repository.

A version's directory is that already (training/dpo/save.py). A dataset's is written here: `data/train.jsonl`, `data/test.jsonl`
(the held-out triples) and `README.md`. The token comes from the environment (HF_TOKEN) and is stored nowhere.
"""

import shutil
from pathlib import Path

from annotate.models.prompt import Split
from training.datasets.cards import CARD_FILE, NO_LICENCE, card_of_dataset
from training.datasets.snapshots import FILES
from training.models import Dataset, Version

PUBLISHED = {Split.TRAIN: "data/train.jsonl", Split.HELDOUT: "data/test.jsonl"}


class PublishError(Exception):
    """It cannot be published; the text says why and what to do."""


def write_dataset_directory(*, dataset: Dataset, directory: Path, licence: str = NO_LICENCE) -> Path:
    """The dataset's files under the names that `datasets.load_dataset` looks for, and its card. Raises PublishError."""
    if directory.exists() and any(directory.iterdir()):
        raise PublishError(f"{directory} is not empty. Name a directory that is, or is not there yet.")
    (directory / "data").mkdir(parents=True, exist_ok=True)
    for split, name in FILES.items():
        if not (dataset.path / name).is_file():
            raise PublishError(f"{dataset.path / name} is not there any more. Take a new dataset.")
        shutil.copyfile(dataset.path / name, directory / PUBLISHED[split])
    card = card_of_dataset(dataset, licence=licence, paths=PUBLISHED)
    (directory / CARD_FILE).write_text(card, encoding="utf-8")
    return directory


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
