import re
from html.parser import HTMLParser

import attrs
import pytest
import torch
from torch import nn

from lit_certattr.certificates import Claim, ClaimCertificate, PredictionCertificate, present
from lit_certattr.numbers import Entropy
from lit_certattr.records import RunDirectory
from lit_certattr.reports.html import write_report
from lit_certattr.reports.image_tables import shown
from lit_certattr.smoothing import Draw, GaussianNoise, MapBlock

EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> & $\\frac$ {{ 7*7 }}"


class _Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory, certified):
    """A run whose names, flags and provenance try to break out."""
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "a&b<i>")
    directory.open(
        {"sigma": 0.25, "targets": EVIL, "certificates": {"pixel": {"top_k": EVIL}}},
        provenance={"network": {"class": EVIL, "parameters": 1}, "versions": {"torch": EVIL}, "platform": EVIL},
    )
    entries = certified(3)
    for image_id, image, results, clean in entries:
        flagged = {name: attrs.evolve(result, flags=(EVIL,)) for name, result in results.items()}
        directory.write(image_id, flagged, image, clean, {"label": 1, "prediction": 2, "target_name": EVIL})
    ids = [entry[0] for entry in entries]
    directory.write_table(ids)
    write_report(directory, ids, max_panels=2)
    return directory, _Page(directory.report.read_text())


@pytest.mark.slow
def test_the_resolution_of_small_maps_is_stated(tmp_path, certified, run):
    directory = RunDirectory(tmp_path / "small")
    directory.open({"sigma": 0.25}, provenance={})
    ((image_id, image, results, clean),) = certified()
    larger = image.repeat_interleave(2, 1).repeat_interleave(2, 2)
    directory.write(image_id, results, larger, clean, {"label": 1, "prediction": 2, "target_name": "cat"})
    directory.write_table([image_id])
    write_report(directory, [image_id])
    assert "The maps have 8 x 8 pixels" in directory.report.read_text()
    assert "The maps have" not in run[1].text


def test_nothing_breaks_out(run):
    _, page = run
    scripts = page.all("script")
    assert len(scripts) == 1
    assert scripts[0] == {}
    assert "alert('x')" in page.text, "names are shown as they are"
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert all(attributes["href"].startswith("data:image/png;base64,") for attributes in page.all("image"))
    assert not page.all("img")
    assert "{{ 7*7 }}" in page.text


def test_the_page_needs_nothing_from_outside(run):
    directory, page = run
    html = directory.report.read_text()
    assert not page.all("link")
    assert not page.all("iframe")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html)
    assert "url(" not in html
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv")]
    assert policy.startswith("default-src 'none'")


def test_the_policy_allows_the_script_that_is_there(run):
    import base64
    import hashlib

    directory, page = run
    script = re.search(r"<script>(.*)</script>", directory.report.read_text(), re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert any(digest in meta.get("content", "") for meta in page.all("meta"))


def test_panels_alt_texts_and_figures(run):
    directory, page = run
    pictures = [attributes for attributes in page.all("div") if attributes.get("role") == "img"]
    assert len(pictures) == len(page.all("image")) == 3  # the summary and two panels
    assert all(len(attributes["aria-label"]) > 40 for attributes in pictures)
    shown = {attributes["href"] for attributes in page.all("use")}
    assert shown == {f"#{attributes['id']}" for attributes in page.all("image")}, "each is cut into tiles"
    assert "The panels of 1 more" in page.text
    names = {path.name for path in directory.figures.iterdir()}
    assert names == {"image-0.png", "image-1.png", "summary.pdf", "summary.png"}


def test_what_a_reader_must_know_is_there(run):
    _, page = run
    text = " ".join(page.text.split())
    for expected in (
        "What is certified",
        "With probability at least 0.999 per image, for all pixels and for K = 50 %, 25 % at once",
        "pure noise",
        "α = 0.002",
        "hold together with probability at least 0.994",
        "Voráček and Hein (2023)",
        "With probability at least 99.9 %, at most 1 of them have a false certificate",
        "A label needs",
        "fixed before sampling",
    ):
        assert expected in text


def test_every_image_is_in_the_tables(run):
    _, page = run
    cells = [attributes.get("data-value") for attributes in page.all("th") if attributes.get("scope") == "row"]
    for image_id in ("image-0", "image-1", "image-2"):
        assert cells.count(image_id) == 2


def test_no_cell_shows_more_than_it_holds(run):
    directory, _ = run
    cells = re.findall(r'<td data-value="([\d.e+-]+)">([\d.e+-]+)( %)?</td>', directory.report.read_text())
    assert len(cells) > 10
    for held, printed, percent in cells:
        assert float(printed) <= float(held) * (100 + 1e-9 if percent else 1)


def test_no_radius_of_zero_is_named_where_nothing_is_certified(tmp_path, certified):
    directory = RunDirectory(tmp_path / "nothing")
    directory.open({"sigma": 0.25}, provenance={})
    ((image_id, image, results, clean),) = certified()
    overlap = results["topk_overlap"]
    results["topk_overlap"] = attrs.evolve(overlap, displacement=torch.full_like(overlap.displacement, -torch.inf))
    directory.write(image_id, results, image, clean, {"label": 1, "prediction": 2})
    directory.write_table([image_id])
    write_report(directory, [image_id])
    html = directory.report.read_text()
    assert '<td data-value="0.0">none</td>' in html
    assert "Nothing is certified at any positive l2 radius" in html
    assert "norm below 0" not in html


def test_an_upper_bound_in_a_table_is_never_rounded_below_itself():
    for value in (0.9994, 0.99951, 0.00012, 0.5, 1.0):
        assert float(shown(value, "upper")) >= value
        assert float(shown(value, "number")) <= value


def _brightness(model, images, targets):
    return images[:, 0]


def test_columns_of_upper_bounds_say_that_they_are():
    """Every column of the sheets of claims and of the prediction that is headed "at most"."""
    claims = ClaimCertificate([Claim("energy", Entropy())]).start(GaussianNoise(0.25), (4, 4))
    claims.update(torch.rand(50, 4, 4))
    prediction = PredictionCertificate().start(GaussianNoise(0.25), (4, 4))
    prediction.update(MapBlock(Draw(nn.Flatten(), torch.rand(50, 1, 4, 4), 0, torch.zeros(1, 4, 4), 0.25, _brightness)))
    for result in (claims.compute(), prediction.compute()):
        heads = {column.head: column.form for column in present(result).sheet([]).columns}
        assert heads["at most"] == "upper"
