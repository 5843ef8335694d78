"""Directories ready to push, their cards, and a push to a server that stands for the Hub."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.core.management import CommandError, call_command

from annotate.models.prompt import Split
from tests.builders import make_prompt, make_version
from tests.training.rows import make_judgement
from training.datasets.snapshots import create_dataset
from training.versions.publishing import PublishError, push_directory, write_dataset_directory


@pytest.fixture
def dataset(project, annotator, manager, var_dir):
    for split in (Split.TRAIN, Split.TRAIN, Split.HELDOUT):
        make_judgement(project, annotator, prompt=make_prompt(project, split=split))
    make_judgement(project, annotator, "tie", prompt=make_prompt(project, split=Split.TRAIN))
    return create_dataset(project=project)


def test_a_dataset_becomes_a_directory_with_its_card(dataset, tmp_path):
    directory = write_dataset_directory(dataset=dataset, directory=tmp_path / "out")
    assert sorted(str(path.relative_to(directory)) for path in directory.rglob("*.*")) == [
        "README.md", "data/test.jsonl", "data/train.jsonl",
    ]  # fmt: skip
    card = (directory / "README.md").read_text()
    assert (
        card.startswith("---\npretty_name:")
        and "| train | 2 |" in card
        and "license: unknown" in card
        and "| test | 1 |" in card
        and "| tie | 1 |" in card
    )
    assert dataset.train_sha256 in card and "license: unknown" in card and "agreement cannot be measured" in card
    with pytest.raises(PublishError, match="not empty"):
        write_dataset_directory(dataset=dataset, directory=directory)


class Hub(BaseHTTPRequestHandler):
    """What `create_repo` and `upload_folder` ask of the Hub, for small files."""

    def log_message(self, *_: object) -> None: ...

    def say(self, value: object, status: int = 200, code: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.asked.append((self.command, self.path, None))
        if not self.server.made:
            return self.say({"error": "Repository not found"}, 404, "RepoNotFound")
        self.say({"id": "me/taste", "sha": "0" * 40, "siblings": [], "private": True, "tags": [], "downloads": 0, "likes": 0})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, body))
        at = f"http://127.0.0.1:{self.server.server_port}"
        if self.server.refuses:
            return self.say({"error": "no"}, self.server.refuses)
        if self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            return self.say({"files": [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]})
        if "/commit/" in self.path:
            return self.say({"commitUrl": f"{at}/datasets/me/taste/commit/{'1' * 40}", "commitOid": "1" * 40, "success": True})
        if self.path.endswith("/validate-yaml"):
            return self.say({"errors": [], "warnings": []})
        self.server.made = True
        self.say({"url": f"{at}/datasets/me/taste", "name": "me/taste", "id": "x"})


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.refuses, server.made = [], 0, False
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_it_is_pushed_whole(dataset, tmp_path, hub):
    directory = write_dataset_directory(dataset=dataset, directory=tmp_path / "out")
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    push_directory(directory=directory, repository="me/taste", kind="dataset", token="hf_x", endpoint=endpoint)
    (commit,) = [body for method, path, body in hub.asked if "/commit/" in path]
    told = [json.loads(line) for line in commit.splitlines()]
    assert sorted(each["value"]["path"] for each in told if each["key"] == "file") == [
        "README.md", "data/test.jsonl", "data/train.jsonl",
    ]  # fmt: skip
    hub.refuses = 403
    with pytest.raises(PublishError, match="may not write"):
        push_directory(directory=directory, repository="me/taste", kind="dataset", token="hf_x", endpoint=endpoint)


def test_the_command(dataset, project, tmp_path, var_dir, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    call_command("publish", project="taste", dataset=1, to=tmp_path / "d", licence="CC-BY-4.0")
    assert "license: cc-by-4.0\n" in (tmp_path / "d" / "README.md").read_text()
    with pytest.raises(CommandError, match="as the Hub does"):
        call_command("publish", project="taste", dataset=1, to=tmp_path / "e", licence="mine: all mine")
    (var_dir / "models" / "m").mkdir()
    (var_dir / "models" / "m" / "config.json").write_text("{}")
    make_version(project, directory="models/m")
    call_command("publish", project="taste", version_number=0, to=tmp_path / "v")
    assert (tmp_path / "v" / "config.json").exists()
    for wrong in ({"dataset": 9, "to": tmp_path / "x"}, {"version_number": 9, "to": tmp_path / "x"}, {"dataset": 1}):
        with pytest.raises(CommandError):
            call_command("publish", project="taste", **wrong)
    with pytest.raises(CommandError, match="HF_TOKEN"):
        call_command("publish", project="taste", dataset=1, push="me/taste")
