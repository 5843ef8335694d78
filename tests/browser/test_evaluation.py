"""A blind evaluation from the button to the verdict: a manager asks for it, two people judge it, nobody sees who wrote what."""

import pytest
from playwright.sync_api import Page, expect

from annotate.models import Judgement
from annotate.models.prompt import Split
from tests.browser.conftest import PHONE, WIDE, settled, wait_until
from tests.builders import make_member, make_prompt, make_version
from tests.training.judges import judge_all
from tests.training.rows import add_evaluation_pair, make_evaluation, make_trained
from training.evaluations.ordering import decide_evaluations
from training.leaderboard.counting import count_leaderboard
from training.models import Evaluation, Score, Scoring
from training.rewards.implicit import figures_of_rewards

pytestmark = pytest.mark.browser


@pytest.fixture
def versions(live_server, project):
    project.judgements_required = 2
    project.save()
    base = make_version(project, serving=True, name="tiny")
    make_prompt(project, split=Split.HELDOUT)
    return make_trained(project, base, name="tiny + run 1"), base


def both_have_answered(evaluation: Evaluation) -> None:
    """What the worker leaves behind."""
    for number in range(4):
        add_evaluation_pair(evaluation, f"The good answer {number}.", f"The other answer {number}.", number % 2 == 0)
    Evaluation.objects.filter(pk=evaluation.pk).update(state="done")


def judge_in_the_browser(page: Page, already: int) -> None:
    """Everything there is; the good answer wins each time."""
    page.goto("/projects/taste/compare/")
    for number in range(already + 1, already + 5):
        left = page.locator(".answer-a [data-rendered]")
        expect(left).to_contain_text("answer")
        settled(page)
        page.keyboard.press("1" if "good" in left.inner_text() else "2")
        wait_until(page, lambda count=number: Judgement.objects.count() >= count, "the judgement is stored")
    expect(page.get_by_text("Nothing to compare just now")).to_be_visible()


def test_from_the_button_to_the_verdict(chromium, live_server, page, sign_in, manager, project, versions) -> None:
    newer, _ = versions
    sign_in(page, manager)
    page.goto(newer.get_absolute_url())
    page.get_by_role("button", name="Evaluate").click()
    expect(page.get_by_text("It waits for a worker.")).to_be_visible()
    both_have_answered(Evaluation.objects.get())
    expect(page.get_by_text("4 pairs wait")).to_be_visible()
    for already, name in ((0, "anna"), (4, "bob")):
        person = make_member(project, "annotator", name)
        with chromium.new_context(base_url=live_server.url, viewport=WIDE) as context:
            other = context.new_page()
            sign_in(other, person)
            judge_in_the_browser(other, already)
            assert other.request.get("/projects/taste/evaluations/1/").status == 403
    expect(page.locator("#evaluation-live .stat-value").first).to_have_text("100 %")
    decide_evaluations()
    expect(page.get_by_text("All is judged, and it is not plain who is better.")).to_be_visible()
    page.reload()
    page.locator(".result").first.locator("summary").click()
    expect(page.locator(".result[open]")).to_contain_text("The good answer")
    expect(page.locator(".result[open]")).to_contain_text("preferred by 2 of 2")


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", PHONE)], ids=["light-wide", "dark-phone"])
def test_the_pages_are_sound_and_fit(page, sign_in, manager, project, versions, no_violations, scheme, size) -> None:
    project.judgements_required = 1
    project.save()
    newer, base = versions
    newer.project.refresh_from_db()
    evaluation = make_evaluation(newer, base, bar=0.55)
    for number in range(24):
        add_evaluation_pair(evaluation, f"The good answer {number}. " + "It is longer. " * (number % 5), f"Other {number}.")
    judged = iter(range(100))
    judge_all(
        project, make_member(project, "annotator"), lambda a, b: ("a" if "good" in a else "b") if next(judged) % 4 else "tie"
    )
    for _ in range(12):
        add_evaluation_pair(evaluation)
    make_evaluation(
        newer, base, verdict="stopped", figures={"rate": 0.61, "always_low": 0.44, "always_high": 0.75, "prompts": 50}
    )
    decide_evaluations()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    sign_in(page, manager)
    count_leaderboard(project=project)
    for number, judgement in enumerate(Judgement.objects.all()[:8]):
        comparison = judgement.comparison
        comparison.purpose = "train"
        comparison.save()
        Score.objects.create(version=newer, comparison=comparison, first_reward=number - 3, second_reward=0)
    figures = figures_of_rewards(newer)
    Scoring.objects.create(project=project, version=newer, beta=0.1, state="done", figures=figures)
    pages = ("/projects/taste/evaluations/", "/projects/taste/evaluations/1/", "/projects/taste/leaderboard/")
    for address in (*pages, newer.get_absolute_url()):
        page.goto(address)
        for summary in page.locator("main details > summary").all()[:2]:
            summary.click()
        no_violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], address
