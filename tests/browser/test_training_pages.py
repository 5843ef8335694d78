"""The pages of the training half in a real browser: curves are drawn and follow, everything is reachable, nothing overflows."""

import re

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from annotate.models import Comparison
from annotate.models.prompt import Split
from tests.browser.conftest import PHONE, WIDE
from tests.builders import make_comparison, make_prompt, make_version
from tests.training.rows import add_events, add_samples, make_judgement, make_run, make_samples, make_trained
from training.models import Generation, Run, RunEvent, Tryout

pytestmark = [pytest.mark.browser]
RUN = "/projects/taste/runs/2/"


@pytest.fixture
def rounds(live_server, project, annotator):
    """A base, one trained version that serves, a run that goes on, one that failed, and a generation."""
    base = make_version(project, name="tiny", metrics={"mean_tokens": 88.0, "ended_share": 0.8})
    metrics = {"heldout_accuracy": 0.78, "heldout_margin": 0.91, "mean_tokens": 12.0, "ended_share": 0.5, "kl": 3.2}
    trained = make_trained(project, base, metrics=metrics, parameters=134_515_008, size_bytes=538_000_000)
    project.promotions.create(version=base)
    project.promotions.create(version=trained, by=annotator, why="shorter and right")
    make_samples(project, base, trained)
    add_events(trained.run)
    running = make_run(project, trained, log_tail="\n".join(f"step {step}/40 loss 0.5" for step in range(80)))
    add_events(running, steps=24)
    add_samples(running, 901, 0, "It is blue because of the air, which scatters light in many ways, as one may…", "No.", "Two.")
    add_samples(running, 902, 12, "It is blue because of the air.", "No.", "Three.")
    add_samples(running, 903, 24, "Because the air scatters blue light more than red.", "No.", "Four, I would say…")
    make_run(project, base, state="failed", error="The disk is full. Free 1 GB, then press Resume.", finished_at=timezone.now())
    for _ in range(3):
        make_judgement(project, annotator, prompt=make_prompt(project, split=Split.TRAIN), version=trained)
    make_comparison(project, version=trained)
    Generation.objects.create(
        project=project, version=trained, state="running", progress=6, total=24, heartbeat_at=timezone.now(),
        started_at=timezone.now(),
    )  # fmt: skip
    return trained


def drawn(page) -> None:
    page.wait_for_selector("#curves[data-drawn]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_has_nothing_to_say_and_nothing_overflows(page, sign_in, owner, rounds, no_violations, scheme, size):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    sign_in(page, owner)
    for address in (
        "/projects/taste/", "/projects/taste/settings/", "/projects/taste/train/", "/projects/taste/runs/", RUN,
        "/projects/taste/runs/3/",
        "/projects/taste/versions/", "/projects/taste/versions/0/", "/projects/taste/versions/1/",
    ):  # fmt: skip
        page.goto(address)
        if re.search(r"/runs/\d", address):
            drawn(page)
        for summary in page.locator("main details > summary").all():
            summary.click()
        no_violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], address


def test_an_annotators_page_is_sound(page, sign_in, annotator, rounds, no_violations):
    sign_in(page, annotator)
    page.goto("/projects/taste/")
    no_violations(page)
    expect(page.get_by_role("link", name="Compare").last).to_be_visible()


def test_every_chart_is_drawn_and_says_so_in_words(page, sign_in, owner, rounds):
    sign_in(page, owner)
    page.goto(RUN)
    drawn(page)
    figures = page.locator("figure[data-chart]")
    assert figures.count() == page.locator("figure canvas").count() == 9
    for figure in figures.all():
        assert figure.locator("canvas").evaluate(
            "(c) => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size > 20"
        ), figure.get_attribute("data-chart")
    loss = figures.first
    expect(loss.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile(r"Loss\. train: first 0\.\d+ at step 1, newest .* at step 24")
    )
    loss.locator("summary").click()
    rows = loss.locator("tbody tr")
    expect(rows.last.locator("td").first).to_have_text("24")
    assert 10 <= rows.count() <= 26


def test_one_cursor_tells_all_charts_values(page, sign_in, owner, rounds):
    sign_in(page, owner)
    page.goto(RUN)
    drawn(page)
    figures = page.locator("figure[data-chart]")
    newest = figures.nth(2).locator("[data-value='0']").inner_text()
    over = figures.first.locator(".u-over")
    over.hover(position={"x": over.evaluate("element => element.clientWidth") * 0.25, "y": 40})
    expect(figures.nth(2).locator("[data-step]")).to_have_text("step 6")
    assert figures.nth(2).locator("[data-value='0']").inner_text() != newest
    page.mouse.move(5, 5)
    expect(figures.nth(2).locator("[data-step]")).to_have_text("")


def test_new_steps_appear_by_themselves_until_the_run_is_over(page, sign_in, owner, rounds):
    sign_in(page, owner)
    page.goto(RUN)
    drawn(page)
    expect(page.locator("#run-live")).to_contain_text("Step 24 of 40")
    run = Run.objects.get(number=2)
    line = run.events.order_by("line").last().line + 1
    RunEvent.objects.create(run=run, line=line, kind="step", step=25, data={"loss": 0.123, "margin": 9.5})
    Run.objects.filter(pk=run.pk).update(progress=25, log_tail="a new last line", heartbeat_at=timezone.now())
    expect(page.locator("figure").first.locator("[data-value='0']")).to_have_text("0.123")
    expect(page.locator("#run-live")).to_contain_text("Step 25 of 40")
    expect(page.locator("#run-log")).to_have_text("a new last line")
    make_version(run.project, parent=run.parent, run=run)
    Run.objects.filter(pk=run.pk).update(state="done", progress=40, finished_at=timezone.now())
    expect(page.locator("#run-live .badge").first).to_have_text("Finished")
    expect(page.locator("#run-version")).to_have_text("v2")
    asked: list[str] = []
    page.wait_for_timeout(2500)
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(3000)
    assert asked == []


def test_before_the_first_step_the_charts_do_not_reach_to_step_100(page, sign_in, owner, project, live_server):
    run = make_run(project, make_version(project, serving=True), progress=0, total=2)
    RunEvent.objects.create(run=run, line=1, kind="heldout", step=0, data={"loss": 0.69, "pairs": 9})
    sign_in(page, owner)
    page.add_init_script(
        "Object.defineProperty(window, 'uPlot', {set(kind) {this.kind = class extends kind {constructor(...all) {"
        "super(...all); (window.plots ??= []).push(this)}}}, get() {return this.kind}})"
    )
    page.goto("/projects/taste/runs/1/")
    page.wait_for_selector("#curves[data-drawn='1']")
    page.wait_for_function("plots.at(-1).scales.x.max === 1")


def test_memory_is_the_most_so_far_also_after_a_resume(page, sign_in, owner, rounds):
    run = Run.objects.get(number=2)
    RunEvent.objects.create(run=run, line=1000, kind="step", step=25, data={"memory_bytes": 2**30})
    sign_in(page, owner)
    page.goto(RUN)
    drawn(page)
    expect(page.get_by_role("img", name="Memory")).to_have_attribute("aria-label", re.compile("newest 2.24 at step 25"))


def test_smoothing_log_scale_theme_and_size_redraw(page, sign_in, owner, rounds):
    sign_in(page, owner)
    page.goto(RUN)
    drawn(page)
    canvas = page.locator("figure canvas").first

    def picture() -> str:
        page.wait_for_timeout(150)
        return canvas.evaluate("(c) => c.toDataURL()")

    seen = [picture()]
    page.get_by_label("Smoothing").press("End")
    seen.append(picture())
    page.get_by_role("button", name="log").first.click()
    seen.append(picture())
    page.emulate_media(color_scheme="dark")
    seen.append(picture())
    page.set_viewport_size(PHONE)
    seen.append(picture())
    assert len(set(seen)) == 5
    page.reload()
    drawn(page)
    expect(page.get_by_label("Smoothing")).to_have_value("0.95")


def test_two_runs_are_chosen_from_the_table_and_compared(page, sign_in, owner, rounds, no_violations):
    sign_in(page, owner)
    page.goto("/projects/taste/runs/")
    page.get_by_label("Compare run 1").check()
    page.get_by_label("Compare run 2").check()
    page.get_by_role("button", name="Compare the chosen runs").click()
    page.wait_for_url("**/runs/compare/?run=2&run=1")
    drawn(page)
    loss = page.locator("figure").first
    expect(loss.get_by_role("img")).to_have_attribute("aria-label", re.compile(r"run 1: first .* run 2: first .* step 24"))
    expect(loss.locator("[data-value='0']")).not_to_have_text("–")
    expect(page.locator("table").first).to_contain_text("Starts from")
    no_violations(page)


def test_a_run_without_points_says_when_they_come(page, sign_in, owner, project, live_server):
    make_run(project, make_version(project, serving=True), state="queued", progress=0, total=0, started_at=None)
    sign_in(page, owner)
    page.goto("/projects/taste/runs/1/")
    expect(page.locator("figure").first.get_by_role("img")).to_have_class(re.compile("curve-empty"))


@pytest.fixture
def folders(tmp_path, settings):
    settings.VAR_DIR, settings.DATASETS_DIR, settings.RUNS_DIR = tmp_path, tmp_path / "datasets", tmp_path / "runs"


def test_train_with_a_filter_and_cancel(page, sign_in, owner, project, annotator, live_server, folders):
    base = make_version(project, serving=True)
    for version in (base, base, make_version(project)):
        make_judgement(project, annotator, prompt=make_prompt(project, split=Split.TRAIN), version=version)
    sign_in(page, owner)
    page.goto("/projects/taste/")
    page.get_by_role("link", name="Choose data and settings").click()
    preview = page.locator("#train-preview")
    expect(preview.locator("dd").first).to_have_text("3")
    page.get_by_text("Everything that has been judged").click()
    page.get_by_label("Only pairs written by").select_option("1")
    expect(preview.locator("dd").first).to_have_text("1")
    expect(preview).to_contain_text("2 judged pairs")
    page.get_by_label("β (pull to the reference)").fill("-1")
    expect(preview).to_contain_text("Must be above 0.")
    page.get_by_role("button", name="Train").click()
    expect(page.locator("#id_beta_error")).to_have_text("Must be above 0.")
    page.get_by_label("β (pull to the reference)").fill("0.2")
    page.get_by_role("button", name="Train").click()
    page.wait_for_url("**/runs/1/")
    expect(page.locator("#run-live")).to_contain_text("Waiting for a worker")
    assert Run.objects.get().dataset.filters["versions"] == [1]
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#run-live .badge").first).to_have_text("Cancelled")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#run-live .badge").first).to_have_text("Waiting for a worker")
    expect(page.locator("#messages")).to_contain_text("as soon as a worker is free")
    Run.objects.update(state="running", heartbeat_at=timezone.now())
    expect(page.locator("#run-live .badge").first).to_have_text("Running")
    expect(page.locator("#messages")).to_be_empty()


def test_a_refused_run_puts_the_focus_on_the_first_wrong_field(page, sign_in, owner, rounds):
    sign_in(page, owner)
    page.goto("/projects/taste/train/")
    page.get_by_label("β (pull to the reference)").fill("0")
    page.get_by_label("Pairs per step").fill("0")
    page.get_by_role("button", name="Train").click()
    expect(page.get_by_text("Nothing was started.")).to_be_visible()
    expect(page.get_by_label("β (pull to the reference)")).to_be_focused()
    expect(page.get_by_label("β (pull to the reference)")).to_be_in_viewport()
    page.get_by_role("link", name="Pairs per step").click()
    expect(page.get_by_label("Pairs per step")).to_be_in_viewport()
    page.goto("/projects/taste/train/?")  # as one does who types the address again
    expect(page.get_by_text("Nothing was started.")).to_have_count(0)


def test_the_project_page_follows_the_generation(page, sign_in, owner, rounds):
    sign_in(page, owner)
    page.goto("/projects/taste/")
    expect(page.locator("#project-live")).to_contain_text("6 of 24 pairs written by v1")
    Generation.objects.update(progress=12)
    expect(page.locator("#project-live")).to_contain_text("12 of 24 pairs written by v1")


def test_rolling_back_is_one_click(page, sign_in, owner, rounds):
    sign_in(page, owner)
    page.goto("/projects/taste/versions/")
    page.get_by_role("button", name="Make v0 serve").click()
    page.wait_for_url("**/versions/0/")
    expect(page.locator("h1 .badge-serving")).to_be_visible()


def test_the_lineage_leads_to_a_version(page, sign_in, owner, rounds, no_violations):
    sign_in(page, owner)
    page.goto("/projects/taste/versions/")
    no_violations(page)
    page.get_by_role("link", name="v1, from v0, by run 1 on 38 triples").click()
    page.wait_for_url("**/versions/1/")
    page.get_by_label("Alias").fill("best")
    page.get_by_role("button", name="Call it so").click()
    expect(page.locator("h1")).to_contain_text("best")
    page.get_by_role("link", name="All judgements").click()
    page.wait_for_url("**/versions/1/judgements/")
    no_violations(page)


def test_the_playground_streams_and_makes_a_comparison(page, sign_in, owner, rounds, no_violations):
    sign_in(page, owner)
    page.goto("/projects/taste/playground/")
    no_violations(page)
    for label in ("Version", "Beside it", "System prompt"):
        assert page.get_by_label(label, exact=True).bounding_box()["width"] > 400  # a model's name is long
    page.get_by_label("Your message").fill("Why?")
    page.get_by_label("Beside it").select_option(label="v0: tiny")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#tryout")).to_contain_text("Waiting for a worker")
    tryout = Tryout.objects.get()
    Tryout.objects.update(state="running", first_text="Beca")
    expect(page.locator("#tryout")).to_contain_text("Beca")
    told = {"tokens": 3, "finish_reason": "stop", "logprob": -1.5, "dtype": "float32", "seed": tryout.seed}
    Tryout.objects.update(state="done", first_text="Because.", second_text="So.", told={"first": told, "second": told})
    page.get_by_role("button", name="Make this a comparison").click()
    expect(page.locator("#tryout")).to_contain_text("It is a comparison in the queue.")
    no_violations(page)
    assert Comparison.objects.filter(prompt__source="playground").count() == 1
