"""The table of one run, as text and as a PDF."""

import csv
import io
import re

import pytest
from fabricated_runs import make_run

from lit_certattr import jobs
from lit_certattr.cli.certify import main
from lit_certattr.errors import InputError
from lit_certattr.records import RunDirectory


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a_b & <c>"
    return make_run(folder, kinds=("pixel", "topk_overlap", "claim"), count=3)


def test_means_in_full(run):
    rows = {row["number"]: row for row in csv.DictReader(io.StringIO(jobs.export(run.path, "csv").decode()))}
    results = [record.results for record in RunDirectory(run.path).records([f"image-{at}" for at in range(3)])]
    shares = [float(one["pixel"].one_share(0.1)[1]) for one in results]
    assert float(rows["certified/one_share_k25_r0_10"]["mean"]) == pytest.approx(sum(shares) / 3)
    assert rows["certified/one_share_k25_r0_10"]["images"] == "3"
    assert rows["certified/seconds_per_image"]["low"] == ""


def test_a_row_an_image(run):
    text = jobs.export(run.path, "csv", per_image=True, radii=[0.2]).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["image"] for row in rows] == ["image-0", "image-1", "image-2"]
    record = run.read("image-1")
    assert float(rows[1]["certified/one_share_k50_r0_20"]) == float(record.results["pixel"].one_share(0.2)[0])
    table = jobs.export(run.path, "markdown", per_image=True).decode()
    assert "| image-2 |" in table
    assert re.search(r"\| yes \|", table), "a claim holds or does not"


def test_latex_and_markdown_escape_the_name(run):
    text = jobs.export(run.path, "latex").decode()
    assert r"a\_b \& \textless{}c\textgreater{}: means over 3 images" in text
    assert "\\toprule" in text
    assert re.search(r"radius 0\.1 & [\d.]+ \\% & \{\[\}[\d.]+, [\d.]+\{\]\} & 0\.\d \\% & 3 \\\\", text)
    assert r"### a\_b \& \<c\>: means over 3 images" in jobs.export(run.path).decode()


def test_a_pdf_has_text_table_and_figure(run):
    content = jobs.export(run.path, "pdf")
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", content)) == 3
    assert b"CreationDate" not in content
    assert jobs.export(run.path, "pdf") == content


def test_files_are_never_replaced_unasked(run, tmp_path, capsys):
    place = tmp_path / "table.tex"
    command = ["export", str(run.path), "--format=latex", f"--output={place}"]
    main(command)
    assert capsys.readouterr().out == f"{place}\n"
    assert place.read_bytes() == jobs.export(run.path, "latex")
    place.write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2
    assert "exists; choose another --output, or --overwrite" in capsys.readouterr().err
    assert place.read_text() == "mine"
    main([*command, "--overwrite"])
    assert place.read_bytes() == jobs.export(run.path, "latex")


def test_text_goes_to_standard_output(run, capsys):
    main(["export", str(run.path), "--format=markdown"])
    assert capsys.readouterr().out == jobs.export(run.path).decode()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"format": "word"}, "format must be one of"),
        ({"format": "pdf", "per_image": True}, "a pdf holds the means"),
        ({"directory": "nowhere"}, "there is no such folder"),
        ({"radii": [0.1, 0.1]}, "must differ"),
    ],
)
def test_what_cannot_be_exported(run, arguments, words):
    with pytest.raises(InputError, match=words):
        jobs.export(**{"directory": run.path} | arguments)


def test_nothing_is_written_into_the_run(run):
    with pytest.raises(InputError, match="lies in the run"):
        jobs.export(run.path, output=run.path / "table.md")


def test_a_pdf_needs_a_file(run, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["export", str(run.path), "--format=pdf"])
    assert stop.value.code == 2
    assert "give --output=FILE.pdf" in capsys.readouterr().err
