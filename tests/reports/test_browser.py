"""The page as a browser prints it; skipped where no Chromium is installed. benchmarks/pages.mjs checks more."""

import re
import shutil
import subprocess

import pytest

from lit_certattr.records import RunDirectory
from lit_certattr.reports.html import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def printed(tmp_path_factory, certified):
    """A printed page of two images, and its run."""
    directory = RunDirectory(tmp_path_factory.mktemp("printed") / "run")
    directory.open({"sigma": 0.25}, provenance={})
    entries = certified(2)
    for image_id, image, results, clean in entries:
        directory.write(image_id, results, image, clean, {"label": 1, "prediction": 1, "target_name": "cat"})
    ids = [entry[0] for entry in entries]
    directory.write_table(ids)
    write_report(directory, ids)
    target = directory.path.parent / "report.pdf"
    profile = directory.path.parent / "profile"
    subprocess.run(
        [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
         "--no-pdf-header-footer", f"--print-to-pdf={target}", directory.report.as_uri()],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    return directory, target


def test_it_prints_on_few_pages_of_a4(printed):
    data = printed[1].read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b", data))
    sizes = set(re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", data))
    assert 4 <= pages <= 9
    assert [(round(float(width)), round(float(height))) for width, height in sizes] == [(595, 842)]


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext")
def test_what_is_closed_on_the_screen_is_open_on_paper(printed):
    directory, target = printed
    done = subprocess.run(["pdftotext", "-layout", str(target), "-"], check=True, capture_output=True, text=True)
    text = " ".join(done.stdout.split())
    for image_id in ("image-0", "image-1"):
        statement = " ".join(directory.read(image_id).results["topk_overlap"].statement().split())
        assert statement[:60] in text
    assert "sorts the table" not in text, "nobody can click on paper"
    assert re.search(r"\b1 ?/ ?\d", text)
