"""Nothing that reaches an annotator tells which version wrote what: not a name, a number, an id, a directory."""

import re
import uuid
from datetime import UTC, datetime

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.models import Assignment, Completion, Judgement, Rating
from tests.builders import make_comparison, make_completion, make_member, make_prompt, make_version
from tests.collecting.judged import judge

SCRIPT = {"HTTP_ACCEPT": "application/json"}


@pytest.fixture
def traces(project):
    """Two versions with names, numbers, directories and ids like nothing else, an answer by each, and what to look for.

    The numbers are long: a time to the microsecond, or a hash, may hold any three digits."""
    versions = [
        make_version(project, pk=8_700_000 + n, number=7_650_340 + n, name=f"zyxwv-{n}-instruct", directory=f"models/qponm-{n}")
        for n in (1, 2)
    ]
    prompt = make_prompt(project, text="What is it?", pk=8_710_001)
    answers = [
        make_completion(
            prompt, f"Answer {word}.", version, pk=8_720_000 + version.pk % 10, seed=8_730_001, temperature=0.8765,
            top_p=0.9123, token_count=874_103, logprob=-8.7512, finish_reason="length", dtype="bfloat16",
        )
        for word, version in zip(("alpha", "beta"), versions, strict=True)
    ]  # fmt: skip
    make_comparison(project, prompt, first=answers[0], second=answers[1], pk=8_760_001)
    make_comparison(project, make_prompt(project), version=versions[0], priority=-1)
    Completion.objects.update(created_at=datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC))
    words = ["zyxwv", "qponm", "instruct", "models/", "bfloat16", "finish", "870000", "765034", "8710001", "872000"]
    words += ["8730001", "0.8765", "0.9123", "874103", "8.7512", "8760001", "version", "swapped", "logprob"]
    words += ["completion_id", "comparison_id"]
    project.versions.update(created_at=datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC))  # else the moment of an answer may be the same
    return [*words, "2001-02-03", "3 feb 2001"]


# Random names (tokens, UUIDs) may hold any digits.
RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|csrftoken=\w+|[A-Za-z0-9]{64}")


def everything(response) -> str:
    dull = ("Content-Length", "Date", "Expires")
    headers = " ".join(f"{name}: {value}" for name, value in response.items() if name not in dull)
    cookies = response.cookies.output() + "\n" if "sessionid" not in response.cookies else ""
    body = re.sub(r'(csrf-token" content|csrfmiddlewaretoken" value|X-CSRFToken": )="?[^"]*"', "", response.content.decode())
    return headers + RANDOM.sub("", cookies + body)


def at_any_second(response) -> str:
    """Of two pages that are compared, one may be a second younger."""
    return re.sub(r"\d\d:\d\d:\d\d GMT", "", everything(response))


@pytest.mark.parametrize("swapped", [False, True])
def test_no_trace_of_a_version(client, annotator, project, traces, swapped):
    client.force_login(annotator)

    def at(name: str) -> str:
        return reverse(name, args=[project.slug])

    answers = [client.get(at("compare"))]
    Assignment.objects.update(swapped=swapped)
    shown = str(Assignment.objects.get().pk)
    answers += [
        client.get(at("compare")),
        client.get("/"),
        client.get(at("guidelines")),
        client.get(reverse("account")),
        client.post(at("compare_next"), {"beside": shown}, **SCRIPT),
        client.post(at("compare_renew"), {"assignment": shown}, **SCRIPT),
        client.post(at("compare_judge"), {"assignment": shown, "key": "x"}, **SCRIPT),
        client.post(at("compare_judge"), {"assignment": shown, "key": uuid.uuid4(), "choice": "a"}, **SCRIPT),
        client.post(at("compare_judge"), {"assignment": shown, "key": uuid.uuid4(), "choice": "a"}),
        client.post(at("compare_undo"), **SCRIPT),
        client.post(at("api_next"), {}, content_type="application/json"),
        client.post(
            at("api_judgements"), {"assignment": shown, "key": str(uuid.uuid4()), "choice": "b"}, content_type="application/json"
        ),
        client.get(at("own_work")),
        client.get(reverse("own_judgement", args=[project.slug, shown])),
        client.post(reverse("own_judgement", args=[project.slug, shown]), {"key": uuid.uuid4(), "choice": "tie"}),
        client.post(reverse("own_judgement", args=[project.slug, shown]), {"key": uuid.uuid4(), "choice": "q"}),
        client.get(at("api_judgements")),
        client.post(at("api_renew"), {"assignment": shown}, content_type="application/json"),
        client.get(at("api_progress")),
        client.get(at("api_project")),
        client.get(reverse("api_projects")),
        client.get(reverse("api_me")),
        client.post(at("api_undo"), {}, content_type="application/json"),
        client.post(
            at("api_judgements"), {"assignment": shown, "key": str(uuid.uuid4()), "choice": "b"}, content_type="application/json"
        ),
        client.post(at("compare_undo")),
        client.post(at("compare_skip"), {"assignment": shown}, **SCRIPT),
        client.post(at("compare_judge"), {"assignment": shown, "key": uuid.uuid4(), "choice": "a"}, **SCRIPT),
        client.get(at("own_work"), {"show": "skipped"}),
        client.post(reverse("own_take_up", args=[project.slug, shown])),
    ]
    assert Judgement.objects.count() == 4 and all(answer.status_code in (200, 201, 302, 409, 422) for answer in answers)
    for answer in answers:
        seen = everything(answer).lower()
        for trace in traces:
            assert trace.lower() not in seen, (answer.request["PATH_INFO"], trace)


def test_no_trace_of_a_version_where_single_answers_are_rated(client, annotator, project, traces):
    project.asks_for_ratings = True
    project.save()
    client.force_login(annotator)
    page, api = reverse("rate", args=[project.slug]), {"content_type": "application/json"}

    def at(name: str) -> str:
        return reverse(name, args=[project.slug])

    def shown() -> str:
        return str(Rating.objects.open().earliest("shown_at").pk)

    answers = [client.get(page)]
    answers += [
        client.post(page, {"rating": shown(), "say": "good", "seconds": 2}),
        client.post(page, {"say": "x"}),
        client.post(page, {"say": "undo"}),
        client.get(page),
        client.post(page, {"rating": shown(), "say": "skip"}),
        client.post(at("api_rating_next"), {}, **api),
    ]
    rating = shown()
    answers += [
        client.post(at("api_ratings"), {"rating": rating, "good": False}, **api),
        client.post(at("api_ratings"), {"rating": rating, "good": None}, **api),
        client.post(at("api_ratings"), {"rating": "none"}, **api),
        client.get(at("api_ratings")),
        client.post(at("api_rating_undo"), {}, **api),
        client.post(at("api_rating_undo"), {}, **api),
        client.get(page),
        client.post(at("api_ratings"), {"rating": rating, "good": True}, **api),
        client.get(page),
    ]
    assert Rating.objects.given().exists() and all(answer.status_code in (200, 201, 302, 400, 409, 422) for answer in answers)
    for answer in answers:
        seen = everything(answer).lower()
        for trace in traces:
            assert trace.lower() not in seen, (answer.request["PATH_INFO"], trace)


def test_what_others_have_rated_changes_nothing_that_one_sees(client, annotator, project):
    project.asks_for_ratings, project.judgements_required = True, 3
    project.save()
    answer = make_completion(make_prompt(project, "Why?"), "Because.")
    client.force_login(annotator)
    page = reverse("rate", args=[project.slug])
    before = at_any_second(client.get(page))
    for good in (True, False):
        other = make_member(project, "annotator")
        Rating.objects.create(completion=answer, annotator=other, good=good, answered_at=timezone.now())
    assert at_any_second(client.get(page)) == before


def test_this_test_can_see(client, annotator, project, traces):
    """Broken on purpose: a page that did name the version would be caught."""
    Completion.objects.update(text="by zyxwv-1-instruct")
    client.force_login(annotator)
    assert "zyxwv" in everything(client.get(reverse("compare", args=[project.slug])))


def test_swapping_changes_only_the_places_of_the_two_answers(client, annotator, project, traces):
    client.force_login(annotator)
    url = reverse("compare", args=[project.slug])
    client.get(url)
    pages = []
    for swapped in (False, True):
        Assignment.objects.update(swapped=swapped)
        pages.append(at_any_second(client.get(url)))
    assert pages[0] != pages[1]
    trade = {"alpha": "beta", "beta": "alpha"}
    assert pages[0] == re.sub("alpha|beta", lambda word: trade[word[0]], pages[1])


CLOSED = ["api_datasets", "api_generations", "api_evaluations", "api_completions", "api_comparisons", "api_judgements_all"]


def test_what_others_have_said_changes_nothing_that_one_sees(client, annotator, project):
    """The same pages, answers of the API and headers, whether or not somebody has judged the pair before."""
    project.flags, project.judgements_required = ["unsafe"], 3
    project.save()
    comparison = make_comparison(project)
    client.force_login(annotator)

    def seen() -> list[str]:
        def at(name: str) -> str:
            return reverse(name, args=[project.slug])

        shown = str(Assignment.objects.get(annotator=annotator).pk)
        answers = [
            client.get(at("compare")),
            client.post(at("compare_next"), {"beside": shown}, **SCRIPT),
            client.post(at("compare_renew"), {"assignment": shown}, **SCRIPT),
            client.post(at("api_next"), {}, content_type="application/json"),
            client.get(at("own_work")),
            client.get(at("project")),
            client.get("/"),
        ]
        assert [answer.status_code for answer in answers] == [200] * len(answers)
        return [re.sub(r"\d\d:\d\d:\d\d(\.\d+)?", "", everything(answer)) for answer in answers]

    client.get(reverse("compare", args=[project.slug]))
    before = seen()
    for name in ("bob", "carla"):
        judge(comparison, make_member(project, "annotator", name), "first", rationale="It is wrong.", flags=["unsafe"])
    assert seen() == before


@pytest.mark.parametrize("name", ["project_settings", "runs", "versions", "api_runs", "api_versions", "members", *CLOSED])
def test_pages_about_versions_are_closed_to_annotators(client, annotator, project, name):
    client.force_login(annotator)
    assert client.get(reverse(name, args=[project.slug])).status_code in (403, 405)
