import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from training.dpo.config import Config
from training.dpo.events import EventLog
from training.dpo.run import run
from training.dpo.stopping import Stopper

from .tiny import make_config, make_tiny_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def config(tiny_model_dir: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Builds the config of a short run below tmp_path; a `name` keeps several apart."""

    def build(name: str = "a", **overrides: Any) -> dict[str, Any]:
        return make_config(overrides.pop("model", tiny_model_dir), tmp_path / name, **overrides)

    return build


def train(settings: dict[str, Any]) -> Path:
    """Run a training in this process; its output directory."""
    resolved = Config.from_dict(settings).resolved()
    output = Path(resolved.output)
    output.mkdir(parents=True, exist_ok=True)
    run(resolved, Stopper(), EventLog(output / "events.jsonl"))
    return output


@pytest.fixture
def train_here() -> Callable[[dict[str, Any]], Path]:
    return train


@pytest.fixture
def trainer_process(tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """Starts `python -m training.dpo` on a config, as a user would; `before` is Python run first in that process."""

    def start(settings: dict[str, Any], before: str = "") -> subprocess.Popen:
        path = tmp_path / f"config-{len(list(tmp_path.glob('config-*')))}.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        code = f"{before}\nimport sys\nfrom training.dpo.__main__ import main\nsys.exit(main([{str(path)!r}]))"
        command = [sys.executable, "-W", "error", "-c", code]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def read_events(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.torch)
