"""A file goes in through the pages, by a worker where it is large, and comes out again as it was."""

import gzip
import json
import os
from itertools import cycle
from pathlib import Path

import pytest
import zstandard
from playwright.sync_api import Page, expect

from annotate.formats.registry import READERS
from annotate.models import Comparison, Prompt
from tests.browser.conftest import PHONE
from tests.training.test_formats_in_the_browser import as_parquet, told, written
from training.imports import bringing_in, ordering
from training.models import FileImport

pytestmark = pytest.mark.browser


def look(page: Page, name: str) -> None:
    """With PICTURES set to a folder, what the page looks like, wide and as on a phone, light and dark."""
    if not (folder := os.environ.get("PICTURES")):
        return
    wide = page.viewport_size
    for size, label in ((wide, "wide"), (PHONE, "phone")):
        for scheme in ("light", "dark"):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(250)
            page.screenshot(path=Path(folder) / f"{name}-{label}-{scheme}.png", full_page=True)
    page.set_viewport_size(wide)
    page.emulate_media(color_scheme="light")


def pairs(count: int) -> list[dict]:
    """In TRL's form."""
    return [
        {
            "prompt": [{"role": "user", "content": f"Question {number}, with ümlauts and 🎈?"}],
            "chosen": [{"role": "assistant", "content": f"A good answer\nin two lines, {number}."}],
            "rejected": [{"role": "assistant", "content": f"A poor one, {number}."}],
        }
        for number in range(count)
    ]


def test_in_by_a_worker_and_out_again(page, sign_in, manager, project, tmp_path, monkeypatch, no_violations) -> None:
    monkeypatch.setattr(ordering, "AT_ONCE", 0)  # every file is a large one
    rows = pairs(12)
    file = tmp_path / "others.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + "{broken\n", encoding="utf-8")

    sign_in(page, manager)
    page.goto(f"/projects/{project.slug}/data/")
    page.locator("form[action$='/upload/'] input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Upload and look").click()
    expect(page.get_by_text("Question 0, with ümlauts and 🎈?").first).to_be_visible()
    no_violations(page)
    look(page, "preview")

    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("strong", has_text="Waiting for a worker")).to_be_visible()
    no_violations(page)
    look(page, "waiting")
    assert not Comparison.objects.exists()

    bringing_in.run_import(FileImport.objects.get().pk)
    expect(page.get_by_text("All of it is in.")).to_be_visible()  # the page asks by itself
    expect(page.get_by_role("link", name="which rows, and why")).to_be_visible()
    no_violations(page)
    look(page, "done")

    page.get_by_role("link", name="To the data").click()
    no_violations(page)
    look(page, "data")
    with page.expect_download() as download:
        page.locator("form[action$='/export/']").get_by_role("button", name="Download", exact=True).click()
    came_out = [json.loads(line) for line in Path(download.value.path()).read_text(encoding="utf-8").splitlines()]
    said = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in came_out]
    assert sorted(said, key=str) == sorted(rows, key=str)


PACKS = {"plain": bytes, "gzip": gzip.compress, "parquet": as_parquet, "zstd": zstandard.compress}


@pytest.mark.parametrize(("format", "pack"), [*zip(READERS, cycle(PACKS), strict=False)])
def test_each_format_goes_in_and_comes_out_equal(page, sign_in, manager, project, tmp_path, format, pack) -> None:
    project.grades = 8
    project.save()
    content = written(format)
    file = tmp_path / "others.data"  # what it is, its content says
    file.write_bytes(PACKS[pack](content))
    sign_in(page, manager)
    page.goto(f"/projects/{project.slug}/data/")
    page.locator("form[action$='/upload/'] input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Upload and look").click()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("0 already known")).to_be_visible()
    export = page.locator("form[action$='/export/']")
    export.get_by_label("Format").select_option(format if format != "alpaca-eval" else "judgements")  # which is read only
    with page.expect_download() as download:
        export.get_by_role("button", name="Download", exact=True).click()
    assert told(Path(download.value.path()).read_bytes()) == told(content)


def test_prompts_of_a_table_go_in(page, sign_in, manager, project, tmp_path) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text('prompt,tags\n"Why, “exactly”, is\nthe sky blue? 🎈","sky, short"\n,none\n', encoding="utf-8")
    sign_in(page, manager)
    page.goto(f"/projects/{project.slug}/data/")
    page.locator("form[action$='/prompts/'] input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Import prompts").click()
    expect(page.get_by_text("1 prompt added")).to_be_visible()
    expect(page.get_by_role("heading", name="1 line could not be used")).to_be_visible()
    prompt = Prompt.objects.get()
    assert prompt.messages[-1]["content"] == "Why, “exactly”, is\nthe sky blue? 🎈" and prompt.tags == ["sky", "short"]
