"""Projects, datasets, generations, evaluations and inquiries by program."""

import math

import pytest

from annotate.models import Project
from annotate.models.prompt import Split
from tests.builders import make_prompt, make_version
from tests.training.endpoints import make_endpoint
from tests.training.model_server import model_server
from tests.training.rows import make_judgement, make_trained
from training.endpoints.registering import serve_endpoint
from training.inquiries.answers import run_inquiry
from training.models import Dataset, Generation, Inquiry

API = "/api/v1/projects/"
JSON = {"content_type": "application/json"}
BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def api(client, owner):
    client.force_login(owner, BACKEND)

    def ask(method: str, path: str, data: object = None):
        answer = getattr(client, method)(API + path, data, **({} if method == "get" else JSON))
        return answer.status_code, answer.json() if answer.content else None

    return ask


def test_a_project_is_created_seen_and_changed(api, client, owner):
    status, said = api("post", "", {"name": "Short answers", "guidelines": "Shorter is better.", "grades": 4})
    assert status == 201 and (said["slug"], said["role"], said["settings"]["grades"]) == ("short-answers", "owner", 4)
    assert [row["slug"] for row in api("get", "")[1]["results"]] == ["short-answers", "taste"]
    status, said = api("patch", "short-answers/", {"flags": ["unsafe"], "judgements_required": 3, "guidelines": "New."})
    assert status == 200 and said["settings"]["flags"] == ["unsafe"] and said["guidelines"] == "New."
    project = Project.objects.get(slug="short-answers")
    assert project.judgements_required == 3 and project.grades == 4 and project.guidelines_edition.number == 2
    assert api("patch", "short-answers/", {"name": "Shorter"})[1]["settings"]["flags"] == ["unsafe"]
    assert api("post", "short-answers/archive/", {"archived": True})[1]["archived"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"temperature": 0}, "temperature"), ({"queue_low": 50, "queue_high": 5}, "queue_low"), ({"grades": 3}, "grades"),
        ({"flags": ["a"] * 99}, "flags"), ({"name": ""}, "name"), ({"allows_tie": "perhaps"}, "allows_tie"),
        ({"judgements_required": 99}, "judgements_required"), ({"promoting": "x"}, "promoting"),
    ],
)  # fmt: skip
def test_the_settings_keep_to_the_rules_of_the_page(api, project, change, field):
    status, said = api("patch", "taste/", change)
    assert status == 400 and field in said["fields"], said


def test_annotators_see_no_settings(client, project, annotator):
    client.force_login(annotator, BACKEND)
    assert client.get(API + "taste/").json()["settings"] is None


def test_a_dataset_is_taken_and_its_file_downloaded(api, client, project, annotator, var_dir):
    assert api("post", "taste/datasets/", {})[0] == 409
    make_judgement(project, annotator, prompt=make_prompt(project, split=Split.TRAIN))
    status, said = api("post", "taste/datasets/", {})
    assert status == 201 and said["train_count"] == 1 and api("post", "taste/datasets/", {})[1] == said
    answer = client.get(API + "taste/datasets/1/train.jsonl")
    assert answer["ETag"] == f'"{said["train_sha256"]}"' and b'"chosen"' in b"".join(answer)
    assert client.get(API + "taste/datasets/1/train.jsonl", headers={"If-None-Match": answer["ETag"]}).status_code == 304
    assert client.get(API + "taste/datasets/1/secret.jsonl").status_code == 404
    Dataset.objects.update(directory="datasets/elsewhere")
    assert client.get(API + "taste/datasets/1/train.jsonl").status_code == 404


def test_an_etag_says_that_nothing_has_changed(client, project, owner):
    make_version(project, serving=True)
    client.force_login(owner, BACKEND)
    first = client.get(API + "taste/versions/")
    unchanged = {"If-None-Match": first["ETag"]}
    assert client.get(API + "taste/versions/", headers=unchanged).status_code == 304
    make_version(project)
    assert client.get(API + "taste/versions/", headers=unchanged).status_code == 200


def test_a_generation_is_started_once_and_cancelled(api, project):
    assert api("post", "taste/generations/", {})[0] == 409
    make_version(project, serving=True)
    status, said = api("post", "taste/generations/", {})
    assert status == 201 and said["state"] == "queued" and api("post", "taste/generations/", {})[0] == 409
    assert api("post", f"taste/generations/{said['id']}/cancel/", {})[1]["state"] == "cancelled"
    assert Generation.objects.get().state == "cancelled"


def test_an_evaluation_is_started_seen_and_stopped(api, project):
    base = make_version(project, serving=True)
    assert api("post", "taste/evaluations/", {"candidate": 0})[0] == 409
    make_trained(project, base)
    assert api("post", "taste/evaluations/", {"candidate": 1})[0] == 409  # no prompt is held out
    make_prompt(project, split=Split.HELDOUT)
    status, said = api("post", "taste/evaluations/", {"candidate": 1})
    assert status == 201 and (said["candidate"], said["opponent"], said["prompts_wanted"]) == (1, 0, 1)
    assert "candidate" in api("post", "taste/evaluations/", {"candidate": 9})[1]["fields"]
    assert api("post", "taste/evaluations/1/stop/", {})[1]["state"] == "cancelled"


def test_a_versions_files_come_by_their_names_alone(client, project, owner, var_dir):
    directory = var_dir / "models" / "m"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (var_dir / "secret").write_text("no")
    make_version(project, directory="models/m")
    client.force_login(owner, BACKEND)
    url = API + "taste/versions/0/files/"
    assert client.get(url).json() == {"files": [{"name": "config.json", "size": 2}]}
    file = client.get(url + "config.json")
    assert b"".join(file) == b"{}" and client.get(url + "config.json", headers={"If-None-Match": file["ETag"]}).status_code == 304
    for name in ("..%2f..%2fsecret", "..", "nothing", "%00", ".%2fconfig.json"):
        assert client.get(url + name).status_code == 404, name


# -- inquiries -------------------------------------------------------------------------------------------------


@pytest.mark.torch
def test_a_version_answers_and_scores(api, project, base):
    status, asked = api("post", "taste/generate/", {"prompts": ["Hi!", "Why?"], "n": 2, "seed": 3, "max_new_tokens": 5})
    assert status == 202 and asked["state"] == "queued" and asked["total"] == 4
    run_inquiry(asked["id"])
    said = api("get", f"taste/inquiries/{asked['id']}/")[1]
    assert said["state"] == "done" and [len(row["completions"]) for row in said["answer"]] == [2, 2]
    written = said["answer"][0]["completions"][0]
    truncated = written["finish_reason"] == "length"
    status, asked = api("post", "taste/score/", {"answers": [{"prompt": "Hi!", "text": written["text"], "truncated": truncated}]})
    run_inquiry(asked["id"])
    (row,) = api("get", f"taste/inquiries/{asked['id']}/")[1]["answer"]
    assert row["tokens"] > 0 and row["logprob"] < 0 and row["reward"] is None
    assert project.comparisons.count() == 0


@pytest.mark.torch
def test_the_implicit_reward_of_a_version_against_itself_is_nought(api, project, base):
    trained = make_trained(project, base, directory=base.directory)
    trained.run.settings = {"preset": "small", "overrides": {"beta": 0.3}}
    trained.run.save()
    body = {"version": 1, "answers": [{"prompt": "Hi!", "text": "Hello."}, {"prompt": "Hi!", "text": "x " * 5000}]}
    _, asked = api("post", "taste/score/", body)
    assert Inquiry.objects.get().asked["beta"] == 0.3
    run_inquiry(asked["id"])
    good, long = api("get", f"taste/inquiries/{asked['id']}/")[1]["answer"]
    assert math.isclose(good["reward"], 0, abs_tol=1e-6) and good["logprob"] == good["reference_logprob"]
    assert long["logprob"] is None and "tokens" in long["error"]


def test_what_cannot_be_asked_is_refused(api, project):
    assert api("post", "taste/generate/", {"prompts": ["Hi!"]})[0] == 409  # nothing serves
    assert "version" in api("post", "taste/generate/", {"prompts": ["Hi!"], "version": 3})[1]["fields"]
    for bad in ({"prompts": []}, {"prompts": ["x"] * 65}, {"prompts": [""]}, {"prompts": ["x"], "n": 17}):
        assert api("post", "taste/generate/", bad)[0] == 400
    assert not Inquiry.objects.exists()


def test_an_endpoint_answers_and_cannot_score(api, project):
    with model_server("Hello there.") as server:
        version = serve_endpoint(endpoint=make_endpoint(project, server))
        _, asked = api("post", "taste/generate/", {"version": version.number, "prompts": ["Hi!"], "n": 2})
        run_inquiry(asked["id"])
    said = api("get", f"taste/inquiries/{asked['id']}/")[1]
    assert said["state"] == "done", said["error"]
    assert [row["text"] for row in said["answer"][0]["completions"]] == ["Hello there."] * 2
    body = {"version": version.number, "answers": [{"prompt": "Hi!", "text": "Hello."}]}
    assert api("post", "taste/score/", body)[0] == 409
    _, asked = api("post", "taste/generate/", {"version": version.number, "prompts": ["Hi!"]})
    run_inquiry(asked["id"])  # the server is gone
    said = api("get", f"taste/inquiries/{asked['id']}/")[1]
    assert said["state"] == "failed" and said["error"]
