"""The field that filters a long table, as a browser runs it; skipped where no Chromium is installed."""

import json
import re
import shutil
import subprocess

import pytest

from lit_certattr.reports.page import Cell, Column, Table, scripts, template

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium")]

ROWS = [
    [
        Cell(f"image-{place:03d}", f"image-{place:03d}"),
        Cell("", "cat" if place % 2 else "dog"),
        Cell(str(-place), "0.1"),
    ]
    for place in range(120)
]
STEPS = """
const field = document.querySelector("input"), [earlier, later] = document.querySelectorAll("p.bar button");
const heads = document.querySelectorAll("thead button"), told = [];
const tell = () => {
  const rows = [...document.querySelectorAll("tbody tr")].filter(row => !row.hidden);
  told.push([rows.length, rows[0]?.cells[0].textContent, document.querySelector("[role=status]").textContent.trim()]);
};
const ask = words => { field.value = words; field.dispatchEvent(new Event("input")); tell(); };
tell();
later.click(); later.click(); later.click(); tell();
earlier.click(); tell();
ask("image-007");
ask("CAT image-01");
ask("007cat");
ask("");
heads[2].click(); tell();
document.body.replaceChildren(JSON.stringify(told));
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What is seen after each step: the number of rows, the first of them, and the words beside the field."""
    table = Table("Certified pixels", [Column("image"), Column("class"), Column("share")], ROWS, "")
    shown = template("parts.html.j2").module.table(table, paged=True)
    folder = tmp_path_factory.mktemp("paging")
    page = folder / "page.html"
    page.write_text(
        f"<!doctype html><body>{shown}<script>{scripts(paged=True)['script']}</script><script>{STEPS}</script></body>"
    )
    done = subprocess.run(
        [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
         "--dump-dom", page.as_uri()],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return json.loads(re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)[1])


def test_pages_of_fifty_rows(told):
    assert told[:3] == [
        [50, "image-000", "1 to 50 of 120 rows"],
        [20, "image-100", "101 to 120 of 120 rows"],
        [50, "image-050", "51 to 100 of 120 rows"],
    ]


def test_rows_with_all_words_are_found_cell_by_cell(told):
    assert told[3:6] == [
        [1, "image-007", "1 to 1 of 1 rows"],
        [5, "image-011", "1 to 5 of 5 rows"],
        [0, None, "no such row"],
    ]


def test_an_empty_field_shows_all_and_sorting_begins_at_the_first(told):
    assert told[6:] == [[50, "image-000", "1 to 50 of 120 rows"], [50, "image-119", "1 to 50 of 120 rows"]]
