"""The layout's promises, beyond the import contracts that `lint-imports` holds (pyproject.toml)."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = ("annotate", "config", "training")


def modules_loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_trainer_runs_without_django_or_the_web_app() -> None:
    loaded = modules_loaded_by("import training.dpo.loop")
    ours = {name for name in loaded if name.split(".")[0] in OURS}
    assert not {name for name in loaded if name.split(".")[0] in ("django", "rest_framework")}
    assert {name for name in ours if not name.startswith("training.dpo")} == {"training"}


def test_a_web_process_never_loads_torch() -> None:
    """Every view and URL is imported when the resolver is filled; torch would cost each process 300 MB and seconds."""
    loaded = modules_loaded_by(
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'\n"
        "import config.wsgi\nfrom django.urls import get_resolver; get_resolver().reverse_dict"
    )
    assert "annotate.urls" in loaded and "training.urls" in loaded
    assert not {"torch", "transformers", "openai"} & loaded


def test_the_clock_never_loads_torch() -> None:
    loaded = modules_loaded_by(
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'\n"
        "import django; django.setup()\nimport training.clock.automation"
    )
    assert not {"torch", "transformers"} & loaded


def test_no_file_is_a_catch_all() -> None:
    vague = {"utils", "helpers", "common", "misc", "services"}
    found = [path for app in ("annotate", "training", "config") for path in (ROOT / app).rglob("*.py") if path.stem in vague]
    assert found == []


def test_pages_load_nothing_from_elsewhere_and_hold_no_inline_code() -> None:
    import re

    forbidden = re.compile(r"""(src|href|action)="https?://|<script>|<script(?![^>]*\bsrc=)[^>]*>[^<]|\sstyle="|\son[a-z]+=""")
    bad = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "templates").rglob("*.html")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if forbidden.search(line)
    ]
    assert bad == []
