"""A tiny model, made once per test process, and folders of a test's own below VAR_DIR."""

import shutil
from pathlib import Path

import pytest
from django.conf import settings

from tests import builders
from training.models import Version


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A random two-layer model that has been imported: read it, do not change it."""
    from tests.trainer.tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def var_dir(tmp_path, monkeypatch) -> Path:
    """Where this test's models, runs and datasets go."""
    monkeypatch.setattr(settings, "VAR_DIR", tmp_path / "var")
    for name in ("models", "runs", "datasets"):
        monkeypatch.setattr(settings, f"{name.upper()}_DIR", tmp_path / "var" / name)
        (tmp_path / "var" / name).mkdir(parents=True)
    return tmp_path / "var"


@pytest.fixture
def base(project, var_dir, tiny_model) -> Version:
    """The tiny model as the project's serving version."""
    shutil.copytree(tiny_model, var_dir / "models" / "tiny")
    project.max_new_tokens = 12
    project.save()
    return builders.make_version(project, serving=True, name="tiny", directory="models/tiny")
