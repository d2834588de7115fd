"""What README and the pages of docs/ point at exists: files, headings, configurations, benchmarks."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page: lower case, dashes for spaces, repetitions numbered."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        words = re.sub(r"\]\([^)]*\)", "", heading).lower()
        found.append(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return {f"{name}-{found[:i].count(name)}" if name in found[:i] else name for i, name in enumerate(found)}


def links(page: Path) -> list[str]:
    return re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", prose(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_nowhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: no file {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: no heading {link}"


def test_links_are_found_at_all():
    found = [link for page in PAGES for link in links(page)]
    assert len(found) > 100
    assert any(link.startswith("#") for link in found)
    assert any("#" in link[1:] for link in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_that_is_named_does_not_exist(page):
    text = page.read_text("utf-8")
    for name in re.findall(r"(?<![\w/.])(?:configs|tests|benchmarks)/[\w/]+\.(?:yaml|py)", text):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"-m (benchmarks(?:\.\w+)+)", text):
        assert find_spec(name), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_table_of_measurements_shows_its_command(page):
    """A page that says "measured" names the script or the command that measures."""
    text = page.read_text("utf-8")
    if re.search(r"\b[Mm]easured (on|here|with|by)\b", text):
        assert re.search(r"python -m benchmarks\.|(certify|train)\.py \w+", text), page.name
