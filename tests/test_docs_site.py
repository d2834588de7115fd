"""Parts of the site that are ours; ``make docs`` builds the whole, with warnings as errors."""

import re
from pathlib import Path

import pytest

import lit_certattr

pytest.importorskip("sphinx", reason="the site is built by the extra 'docs'")

from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util.tags import Tags

from docs.site_build import further, mathml, reference

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_configuration_is_valid():
    config = Config.read(ROOT / "docs", overrides={}, tags=Tags())
    assert config.nitpicky
    assert config.version == lit_certattr.__version__
    assert {"site_build.mathml", "site_build.reference"} <= set(config.extensions)


def test_every_page_is_in_one_list_of_contents(tmp_path):
    index = (ROOT / "docs/index.md").read_text("utf-8")
    listed = [name for name in further.listed(index) if not name.startswith("api/")]
    assert len(listed) > 25
    assert len(listed) == len(set(listed))
    assert set(listed) <= {page.stem for page in (ROOT / "docs").glob("*.md")}
    (tmp_path / "unlisted.md").touch()
    (tmp_path / "faq.md").touch()
    assert further.listed(further.further_pages(index, tmp_path)) == ["unlisted"]
    (tmp_path / "unlisted.md").unlink()
    assert further.further_pages(index, tmp_path) == ""


def test_every_room_that_offers_names_is_in_the_reference_once():
    assert sorted(reference.ROOMS) == sorted(reference.OPEN)
    assert len(reference.ROOMS) > 20
    assert "cli" not in reference.ROOMS


def test_every_public_name_is_explained_once():
    pages = {room: reference.room_page(room) for room in reference.ROOMS}
    entry = re.compile(r"^\.\. (?:autoclass|autofunction|py:data):: (.+)$", re.MULTILINE)
    explained = [name for page in pages.values() for name in entry.findall(page)]
    assert len(explained) == len(set(explained))
    for room, page in pages.items():
        for name in reference.public_names(room):
            thing = getattr(getattr(lit_certattr, room), name)
            home = reference.home(thing) or room
            assert f":py:obj:`~lit_certattr.{home}.{name}`" in page
            assert f"lit_certattr.{home}.{name}" in explained


@pytest.mark.parametrize("room", reference.ROOMS)
def test_a_summary_is_one_line(room):
    module = getattr(lit_certattr, room)
    for name in module.__all__:
        assert reference.summary(getattr(module, name)), name


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        ("lit_certattr.certificates.PixelCertificate", True),
        ("lit_certattr.statistics.binomial.two_label_test", True),
        ("lit_certattr.certificates.PixelCertificate.start", True),
        ("lit_certattr.certificates.PixelCertificates", False),
        ("lit_certattr.nothing", False),
    ],
)
def test_a_name_that_does_not_exist_is_not_found(name, exists):
    if exists:
        assert reference.found(name) is not None
    else:
        with pytest.raises((ImportError, AttributeError)):
            reference.found(name)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_a_page_names_what_does_not_exist(page):
    for name in sorted(set(re.findall(r"(?<![\w/.])lit_certattr(?:\.\w+)+", page.read_text("utf-8")))):
        assert reference.found(name) is not None, name


def test_every_command_is_in_the_reference():
    from lit_certattr.cli.certify import COMMANDS

    headings = reference.commands_page().splitlines()
    assert all(f"certify.py {name}" in headings for name in COMMANDS)


def test_formulas_are_elements_that_browsers_draw():
    assert mathml.to_mathml(r"\sigma \Phi^{-1}(L)", block=False).startswith("<math")
    assert 'display="block"' in mathml.to_mathml(r"\big(x_1, \dots, x_n\big)", block=True)


def test_an_unknown_command_in_a_formula_stops_the_build():
    with pytest.raises(ExtensionError, match=r"frobnicate"):
        mathml.to_mathml(r"\frobnicate x", block=False)
