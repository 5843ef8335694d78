"""Scripted people who use the product as a person does: over HTTP, through the pages' own addresses."""

import time
import uuid
from html.parser import HTMLParser
from typing import Any

import requests

from .tastes import Taste


class Page(HTMLParser):
    """What a scripted reader needs of a page: hidden fields, the pair's name, and the text of its two answers."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.assignment = ""
        self.answers: list[str] = []
        self._in_answer = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        if tag == "input" and found.get("type") == "hidden":
            self.fields[found["name"]] = found.get("value", "")
        if found.get("id") == "pair":
            self.assignment = found.get("data-assignment", "")
        if tag == "pre" and "data-raw" in found:
            self.answers.append("")
            self._in_answer = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._in_answer = False

    def handle_data(self, data: str) -> None:
        if self._in_answer:
            self.answers[-1] += data


class Person:
    """Signed in with a one-time link, as `make run` prints it."""

    def __init__(self, sign_in_link: str, project: str) -> None:
        self.base = sign_in_link.split("/sign-in/")[0]
        self.project = f"{self.base}/projects/{project}"
        self.session = requests.Session()
        page = Page(self.get(sign_in_link).text)
        answer = self.session.post(sign_in_link, data=page.fields, timeout=60)
        answer.raise_for_status()
        if "/sign-in/" in answer.url:
            raise RuntimeError(f"The sign-in link did not sign anybody in: {sign_in_link}")

    def get(self, url: str) -> requests.Response:
        answer = self.session.get(url, timeout=60)
        answer.raise_for_status()
        return answer

    def post(self, url: str, data: dict[str, str], accept: str = "text/html") -> requests.Response:
        """A form of the page: with the token its cookie names, and the page as the referrer."""
        headers = {"Accept": accept, "X-CSRFToken": self.session.cookies["csrftoken"], "Referer": self.base}
        answer = self.session.post(url, data=data, headers=headers, timeout=60)
        answer.raise_for_status()
        return answer

    def next_pair(self) -> Page:
        return Page(self.post(f"{self.project}/compare/next/", {}).text)

    def judge(self, pair: Page, taste: Taste) -> str:
        """Reads both answers, chooses, and sends the choice once. Returns the choice."""
        a, b = pair.answers
        choice = taste(a, b)
        answer = {"assignment": pair.assignment, "key": str(uuid.uuid4()), "choice": choice, "seconds": "5"}
        self.post(f"{self.project}/compare/judge/", answer, accept="application/json")
        return choice

    def start_training(self, preset: str) -> int:
        """Presses “Train”. Returns the run's number, to whose page that leads."""
        return int(self.post(f"{self.project}/train/", {"preset": preset}).url.rstrip("/").rsplit("/", 1)[1])

    def read_api(self, path: str) -> Any:
        """What scripts read of the project."""
        return self.get(self.project.replace("/projects/", "/api/v1/projects/") + "/" + path).json()


def judge_until(people: list[Person], taste: Taste, pairs: int, patience: float = 600) -> dict[str, int]:
    """The people take turns until `pairs` judgements have chosen one side. Returns how often each choice was made.

    Raises TimeoutError when the queue stays empty for `patience` seconds.
    """
    choices = {"a": 0, "b": 0, "tie": 0, "both_bad": 0}
    waiting_since = time.monotonic()
    while choices["a"] + choices["b"] < pairs:
        pages = [(person, person.next_pair()) for person in people]
        for person, pair in pages:
            if pair.assignment:
                choices[person.judge(pair, taste)] += 1
                waiting_since = time.monotonic()
        if not any(pair.assignment for _, pair in pages):
            if time.monotonic() - waiting_since > patience:
                raise TimeoutError(f"No comparison came for {patience:.0f} seconds; see the log of the worker.")
            time.sleep(1)
    return choices
