"""The whole loop through the API alone: project, prompts, pairs, judgements, a run, its version, the next pairs.

    python examples/loop.py http://127.0.0.1:8000 pfl_…

The token needs the scopes read, judge and manage. Standard library only: copy what you need. docs/api.md tells more.
"""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

QUESTIONS = [
    "Why is the sky blue?", "What is a prime number?", "How do bees find flowers?", "Why do we dream?", "What makes bread rise?",
    "How does a lock work?", "Why is ice slippery?", "What is a shadow?", "How do plants drink?", "Why do leaves fall?",
    "What is thunder?", "How do birds navigate?",
]  # fmt: skip


class Api:
    def __init__(self, server: str, token: str) -> None:
        self.base, self.token = f"{server.rstrip('/')}/api/v1/", token

    def __call__(self, method: str, path: str, data: Any = None) -> Any:
        """What the server answers, as Python. A POST carries a key, so that it is done once even if it has to be sent again."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        body = None if method == "GET" else json.dumps(data or {}).encode()
        request = urllib.request.Request(self.base + path, body, headers, method=method)
        for attempt in range(5):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code in (429, 503) and attempt < 4:
                    time.sleep(float(error.headers.get("Retry-After", 2**attempt)))
                    continue
                said = json.load(error)
                sys.exit(f"{method} {path}: {error.code} {said['code']}: {said['message']} {said['fields'] or ''}")
            except urllib.error.URLError as error:
                if attempt == 4:
                    sys.exit(f"{self.base} cannot be reached: {error.reason}")
                time.sleep(2**attempt)


def wait_for(what: str, look: Any, seconds: float) -> Any:
    """What `look()` gives, as soon as it is something."""
    print(f"… {what}", flush=True)
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            sys.exit(f"Not within {seconds:.0f} seconds: {what}.")
        time.sleep(1)
    return found


def judge_all(api: Api, project: str) -> int:
    """Stands for people, or for your own front end: prefers the shorter answer."""
    count = 0
    while True:
        pair = api("POST", f"{project}next/")
        if pair["assignment"] is None:
            return count
        choice = "a" if len(pair["a"]) <= len(pair["b"]) else "b"
        api("POST", f"{project}judgements/", {"assignment": pair["assignment"], "key": str(uuid.uuid4()), "choice": choice})
        count += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server")
    parser.add_argument("token")
    parser.add_argument("--settings", type=json.loads, default={}, help="of the project, as JSON")
    parser.add_argument("--overrides", type=json.loads, default={}, help="settings of the run, as JSON")
    parser.add_argument("--wait", type=float, default=3600, metavar="SECONDS", help="for each step at most")
    given = parser.parse_args()
    api = Api(given.server, given.token)

    print(f"Signed in as {api('GET', 'me/')['username']}")
    made = api("POST", "projects/", {"name": "Short answers", "guidelines": "Prefer the **shorter** answer."})
    project = f"projects/{made['slug']}/"
    settings = {"promoting": "by_hand", "queue_low": 8, "queue_high": len(QUESTIONS), "max_new_tokens": 64}
    api("PATCH", project, settings | given.settings)
    pushed = api("POST", f"{project}prompts/", {"prompts": [{"prompt": question} for question in QUESTIONS]})
    print(f"Project {made['slug']}: {pushed['added']} prompts, {pushed['heldout']} of them held out")

    print(f"If it has no model yet: .venv/bin/python manage.py add_model smollm2 --project {made['slug']} --serve", flush=True)
    wait_for("a model serves", lambda: [v for v in api("GET", f"{project}versions/")["results"] if v["serving"]], given.wait)

    pairs = [
        {
            "prompt": question,
            "first": {"text": "Nobody knows.", "model": "ours"},
            "second": {"text": "It is a long story.", "model": "theirs"},
        }
        for question in QUESTIONS[:3]
    ]  # fmt: skip
    api("POST", f"{project}comparisons/", {"comparisons": pairs})  # of models that run elsewhere
    wait_for("the model has written its pairs", lambda: api("GET", f"{project}progress/")["open"] >= len(QUESTIONS), given.wait)
    print(f"Judged {judge_all(api, project)} pairs")

    run = api("POST", f"{project}runs/", {"overrides": given.overrides})
    number, after, last = run["number"], 0, {}

    def follow() -> bool:
        nonlocal after, last
        told = api("GET", f"{project}runs/{number}/events/?after={after}")
        after = told["last"]
        for event in told["events"]:
            last = event["data"] if event["kind"] == "step" else last
        return told["over"]

    wait_for(f"run {number} trains on {run['dataset']['train_count']} triples", follow, given.wait)
    run = api("GET", f"{project}runs/{number}/")
    if run["state"] != "done":
        sys.exit(f"Run {number} {run['state']}: {run['error']}")
    print(f"Run {number} is done; the last loss was {last['loss']:.3f}")

    version = api("POST", f"{project}versions/{run['version']}/promote/", {"why": "the loop"})
    print(f"Version {version['number']} serves: {version['name']}")
    asked = api("POST", f"{project}generate/", {"version": version["number"], "prompts": QUESTIONS[:1], "max_new_tokens": 32})
    answer = wait_for(
        "it answers", lambda: (said := api("GET", f"{project}inquiries/{asked['id']}/"))["finished_at"] and said, given.wait
    )
    print(f"{QUESTIONS[0]} {answer['answer'][0]['completions'][0]['text']!r}" if answer["answer"] else answer["error"])
    wait_for("it writes the next pairs", lambda: api("GET", f"{project}progress/")["open"] > 0, given.wait)
    print("The loop is closed.")


if __name__ == "__main__":
    main()
