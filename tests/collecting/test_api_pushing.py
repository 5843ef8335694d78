"""Programs push prompts, answers and pairs, look at what became of them, and manage members."""

import pytest

from annotate.models import Comparison, Completion, Judgement, Prompt, User
from annotate.queue.claims import claim_comparison
from tests.builders import make_comparison, make_project, make_prompt
from tests.training.judges import judge_all, shorter

API = "/api/v1/projects/taste/"
JSON = {"content_type": "application/json"}
PAIR = {"prompt": "Why?", "first": {"text": "Because.", "model": "ours"}, "second": {"text": " So.", "model": "theirs"}}


@pytest.fixture
def api(client, owner):
    """api("post", "prompts/", {...}) → (status, what it said)"""
    client.force_login(owner, "django.contrib.auth.backends.ModelBackend")

    def ask(method: str, path: str, data: object = None):
        answer = getattr(client, method)(API + path, data, **({} if method == "get" else JSON))
        return answer.status_code, answer.json() if answer.content else None

    return ask


def test_prompts_are_pushed_once(api, project):
    rows = [
        {"prompt": "Why?", "tags": ["small"], "id": "q1"},
        {"prompt": [{"role": "user", "content": "How?"}], "system": "Be brief."},
    ]
    status, said = api("post", "prompts/", {"prompts": rows})
    assert (status, said["added"], said["known"]) == (201, 2, 0)
    assert api("post", "prompts/", {"prompts": rows})[1]["known"] == 2
    status, page = api("get", "prompts/")
    assert [prompt["messages"][-1]["content"] for prompt in page["results"]] == ["How?", "Why?"] and page["next"] is None
    assert page["results"][0]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert page["results"][1]["tags"] == ["small"] and page["results"][1]["source"] == "api#q1"
    assert api("get", f"prompts/{page['results'][0]['id']}/")[1] == page["results"][0]


@pytest.mark.parametrize(
    "bad",
    [
        {"prompt": ""}, {"prompt": "x" * 20_001}, {"prompt": [{"role": "assistant", "content": "Hi"}]}, {"prompt": 7}, {},
        {"prompt": "a\0b"}, {"prompt": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}], "system": "c"},
    ],
)  # fmt: skip
def test_of_prompts_all_are_taken_or_none(api, project, bad):
    status, said = api("post", "prompts/", {"prompts": [{"prompt": "Fine?"}, bad]})
    assert status == 400 and "prompts" in said["fields"] and not Prompt.objects.exists()


def test_a_list_comes_in_pages_that_nothing_new_moves(api, project):
    for number in range(5):
        make_prompt(project, f"Question {number}")
    _, first = api("get", "prompts/?limit=2")
    make_prompt(project, "One more")
    _, second = api("get", f"prompts/?limit=2&cursor={first['next']}")
    _, third = api("get", f"prompts/?limit=2&cursor={second['next']}")
    seen = [row["messages"][0]["content"] for page in (first, second, third) for row in page["results"]]
    assert seen == [f"Question {number}" for number in (4, 3, 2, 1, 0)] and third["next"] is None
    for nonsense in ("cursor=x", "limit=0", "limit=501", "limit=x", "split=x"):
        assert api("get", f"prompts/?{nonsense}")[0] == 400


def test_pairs_are_pushed_once_whichever_side_is_first(api, project):
    status, said = api("post", "comparisons/", {"comparisons": [PAIR]})
    assert status == 201 and said["comparisons"][0]["new"]
    turned = PAIR | {"first": PAIR["second"], "second": PAIR["first"]}
    again = api("post", "comparisons/", {"comparisons": [turned, PAIR]})[1]["comparisons"]
    assert [row["new"] for row in again] == [False, False] and {row["id"] for row in again} == {said["comparisons"][0]["id"]}
    comparison = Comparison.objects.select_related("first", "second").get()
    assert (comparison.first.text, comparison.second.text) == ("Because.", " So.") and comparison.state == "open"
    assert comparison.free_places == project.judgements_required


def test_what_was_pushed_is_judged_and_seen(api, project, annotator):
    pushed = api("post", "comparisons/", {"comparisons": [PAIR]})[1]["comparisons"][0]["id"]
    assert judge_all(project, annotator, shorter) == 1
    _, said = api("get", f"comparisons/{pushed}/")
    assert (said["state"], said["judgements"], said["first"]["model"]) == ("done", 1, "ours")
    assert said["given"][0]["outcome"] == "second" and said["given"][0]["annotator"] == "anna"
    assert api("get", "judgements/all/")[1]["results"] == said["given"]
    assert api("get", "comparisons/?state=open")[1]["results"] == []
    assert api("get", "comparisons/?state=done&purpose=train")[1]["results"][0]["id"] == pushed


def test_completions_are_pushed_and_compared_by_their_ids(api, project):
    body = {"prompt": "Why?", "completions": [{"text": "One.", "model": "m"}, {"text": "Two."}, {"text": "One.", "model": "m"}]}
    _, said = api("post", "completions/", body)
    one, two, again = said["completions"]
    assert one["id"] == again["id"] != two["id"] and Completion.objects.count() == 2
    assert api("post", "completions/", body)[1]["completions"][0]["id"] == one["id"]
    by_id = {"comparisons": [{"first_id": one["id"], "second_id": two["id"]}]}
    assert api("post", "comparisons/", by_id)[1]["comparisons"][0]["new"]
    assert not api("post", "comparisons/", by_id)[1]["comparisons"][0]["new"]
    assert [row["text"] for row in api("get", f"completions/?prompt={one['prompt']}")[1]["results"]] == ["Two.", "One."]


@pytest.mark.parametrize("name", ["prompt", "version"])
def test_a_number_that_no_row_can_have_is_refused(api, project, name):
    status, said = api("get", f"completions/?{name}={10**30}")
    assert status == 400 and name in said["fields"]


def test_pairs_that_are_none_are_refused_all_together(api, project):
    other = make_comparison(make_project())
    here = make_comparison(project)
    for bad in (
        {}, {"prompt": "Why?"}, PAIR | {"first_id": 1}, PAIR | {"second": {"text": "Because.\n"}},
        PAIR | {"first": {"text": " "}},
        {"first_id": here.first_id, "second_id": here.first_id}, {"first_id": here.first_id, "second_id": other.first_id},
        {"first_id": other.first_id, "second_id": other.second_id}, PAIR | {"priority": float("1e300")},
    ):  # fmt: skip
        status, said = api("post", "comparisons/", {"comparisons": [PAIR, bad]})
        assert status == 400 and "comparisons" in said["fields"], bad
    assert project.comparisons.count() == 1


def test_members_are_added_changed_and_removed(api, project, owner):
    assert api("post", "members/", {"username": "nadia", "role": "annotator"})[0] == 201
    assert api("post", "members/", {"username": "nadia", "role": "viewer"})[1]["code"] == "already_member"
    assert api("patch", "members/nadia/", {"role": "manager"})[1]["role"] == "manager"
    assert [row["username"] for row in api("get", "members/")[1]["results"]] == ["olivia", "nadia"]
    status, said = api("post", "members/nadia/link/", {})
    assert status == 201 and "/sign-in/" in said["link"]
    assert api("delete", "members/nadia/")[0] == 204 and api("get", "members/nadia/")[0] == 404
    assert api("delete", "members/olivia/") == (409, {"code": "last_owner", "fields": {}, "message": "A project needs an owner. "
                                                     "Make somebody else an owner first."})  # fmt: skip
    assert api("get", "members/%00/")[0] == 404 and User.objects.filter(username="nadia").exists()


def test_a_manager_makes_no_owner(client, project, manager):
    client.force_login(manager, "django.contrib.auth.backends.ModelBackend")
    answer = client.post(API + "members/", {"username": "nadia", "role": "owner"}, **JSON)
    assert answer.status_code == 409 and answer.json()["code"] == "owners_only"


def test_the_export_is_that_of_the_page(api, client, project, annotator):
    api("post", "comparisons/", {"comparisons": [PAIR]})
    judge_all(project, annotator, shorter)
    for format in ("judgements", "trl", "label-studio"):
        page = client.get(f"/projects/taste/data/export/?format={format}")
        assert b"".join(client.get(f"{API}export/?as={format}")) == b"".join(page.streaming_content) != b""


# -- judging by program ----------------------------------------------------------------------------------------


def test_another_front_end_can_do_all_that_the_page_can(client, project, annotator):
    client.force_login(annotator, "django.contrib.auth.backends.ModelBackend")

    def post(path: str, data: object) -> dict:
        return client.post(API + path, data, **JSON).json()

    for number in range(3):
        make_comparison(project, priority=-number)
    shown = post("next/", {})
    assert post("renew/", {"assignment": shown["assignment"]}) == {"held": True}
    assert post("next/", {"beside": shown["assignment"]})["assignment"] != shown["assignment"]
    key = "0b9f9a52-2f0e-4c53-9c0c-1f6f2f5f7d11"
    assert post("judgements/", {"assignment": shown["assignment"], "key": key, "choice": "b"})["key"] == key
    (mine,) = client.get(API + "judgements/").json()["results"]
    assert (mine["choice"], mine["assignment"]) == ("b", shown["assignment"])
    assert post("undo/", {})["assignment"] == shown["assignment"] and not Judgement.objects.standing().exists()
    assert post("skip/", {"assignment": shown["assignment"], "reason": "hm"})["skipped"]
    assert post("undo/", {})["assignment"] == shown["assignment"]
    assert client.get(API + "progress/").json()["open"] == 3


def test_nothing_is_done_for_an_assignment_of_another(client, project, annotator, manager):
    make_comparison(project)
    theirs = claim_comparison(project=project, annotator=manager)
    client.force_login(annotator, "django.contrib.auth.backends.ModelBackend")
    assert client.post(API + "renew/", {"assignment": theirs.pk}, **JSON).json() == {"held": False}
    assert client.post(API + "skip/", {"assignment": theirs.pk}, **JSON).json()["code"] == "not_yours"
    assert client.post(API + "undo/", {}, **JSON).json()["code"] == "nothing_to_undo"
