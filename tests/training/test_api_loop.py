"""The documented script, with a real server, worker, clock and trainer, and a tiny model: the API alone runs the whole loop."""

import json
import shutil
import subprocess
import sys
import threading

import pytest
from django.conf import settings

from annotate.models import Judgement, Project
from annotate.models.token import Scope
from annotate.people.tokens import create_token
from tests.builders import make_user
from tests.training.test_loop import QUICK
from tests.training.workers import wait_for, worker
from training.clock import automation
from training.models import Run, Version
from training.versions.registry import promote, serving_version

SCRIPT = settings.BASE_DIR / "examples" / "loop.py"


@pytest.mark.torch
@pytest.mark.django_db(transaction=True)
def test_the_script_closes_the_loop(live_server, var_dir, tiny_model):
    person = make_user("script", is_staff=True)
    _, token = create_token(user=person, name="loop", scopes=Scope.values)
    options = [
        "--settings",
        json.dumps({"max_new_tokens": 12}),
        "--overrides",
        json.dumps(QUICK | {"max_steps": 3}),
        "--wait",
        "200",
    ]
    script = subprocess.Popen(
        [sys.executable, str(SCRIPT), live_server.url, token, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(script.stdout))
    reader.start()
    running = worker()
    try:
        wait_for(lambda: Project.objects.filter(prompts__isnull=False).exists() or script.poll() is not None)
        project = Project.objects.get()
        shutil.copytree(tiny_model, var_dir / "models" / "tiny")
        promote(
            version=Version.objects.create(project=project, number=0, name="tiny", directory="models/tiny", serve_dtype="float32")
        )

        def over() -> bool:
            automation.tick()
            return script.poll() is not None

        wait_for(over, 240)
    finally:
        script.kill()
        running.terminate()
        running.wait(30)
        reader.join(10)
        script.stdout.close()
    assert script.returncode == 0 and said[-1] == "The loop is closed.\n", "".join(said)
    assert serving_version(project).run == Run.objects.get() and Judgement.objects.count() >= 12
