"""What a browser fetches before an annotator sees the first pair: little, and all of it from here."""

import gzip
import re
from pathlib import Path

from django.contrib.staticfiles import finders
from django.urls import reverse

from tests.builders import make_comparison

MOST = 60_000  # bytes, compressed as the server sends them; the aim for the whole visit is 150,000


def test_a_first_visit_to_the_compare_page_is_small_and_asks_nobody_else(client, annotator, project):
    make_comparison(project)
    client.force_login(annotator)
    page = client.get(reverse("compare", args=[project.slug])).content
    linked = re.findall(rb'<(?:script|img|link)[^>]+(?:src|href)="([^"]+)"', page)
    assert len(linked) > 10 and all(address.startswith(b"/static/") for address in linked)
    files = [Path(finders.find(address.decode().removeprefix("/static/"))) for address in set(linked)]
    for sheet in [file for file in files if file.suffix == ".css"]:
        for address in re.findall(r"url\(['\"]?([^'\")]+)", sheet.read_text()):
            assert not address.startswith(("http", "//")), address
            if not address.startswith(("data:", "#")):
                files.append(sheet.parent / address)
    sizes = {file.name: len(gzip.compress(file.read_bytes())) for file in files}
    assert sum(sizes.values()) + len(gzip.compress(page)) < MOST, sizes


def test_no_script_of_the_compare_page_is_too_long_to_be_read_at_once():
    scripts = list(Path(finders.find("js/compare")).glob("*.js"))
    assert len(scripts) == 6 and all(len(script.read_text().splitlines()) <= 250 for script in scripts)
