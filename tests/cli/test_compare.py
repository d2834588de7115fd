"""``certify.py compare``: terminal, files, refusals."""

import json
import shutil

import pytest
from fabricated_runs import make_run

from lit_certattr.cli.certify import main

NAME = "x & <script>alert(1)</script> | _y"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    make_run(place / "a", count=3)
    make_run(place / "b", network=3, count=3)
    make_run(place / "other", alpha=0.05, count=3)
    return place


def test_tables_are_printed(folder, capsys):
    main(["compare", str(folder / "a"), str(folder / "b"), "--names=one,two [b]"])
    printed = capsys.readouterr()
    assert not printed.err
    for words in (
        "Settings that differ",
        "Runs, best first",
        "two [b]",
        "baseline",
        "Differences from one",
        "noise 0.",
    ):
        assert words in printed.out
    assert "Clopper and Pearson" in printed.out
    assert printed.out.index("Settings that differ") < printed.out.index("Runs, best first")


def test_refusals_are_one_line_each_after_the_settings(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(folder / "a"), str(folder / "other")])
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert "certificates.pixel.alpha" in printed.out
    assert printed.err.splitlines() == [
        "certify.py: error: certificate pixel has alpha = 0.01 in a, 0.05 in other",
        "certify.py: error: certificate topk_overlap has alpha = 0.01 in a, 0.05 in other",
        "certify.py: error: these runs must not be ranked: compare runs that agree, or give --force to rank them in "
        "spite of this",
    ]
    main(["compare", str(folder / "a"), str(folder / "other"), "--force"])
    assert capsys.readouterr().out.count("RANKED IN SPITE OF THIS") == 2


def test_files_are_written_whole_and_never_over_others(folder, tmp_path, capsys):
    output = tmp_path / "compare"
    command = ["compare", str(folder / "a"), str(folder / "b"), f"--output={output}"]
    main(command)
    assert capsys.readouterr().out.endswith(f"{output}/compare.html\n")
    names = sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())
    assert names == [
        "compare.csv", "compare.html", "compare.md", "compare.tex", "differences.csv",
        "figures/curves.pdf", "figures/curves.png", "figures/scatter.pdf", "figures/scatter.png",
    ]  # fmt: skip
    before = {path: path.read_bytes() for path in output.rglob("*.*")}
    (output / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2
    assert "exists; choose another --output, or --overwrite" in capsys.readouterr().err
    main([*command, "--overwrite"])
    assert {path: path.read_bytes() for path in before} == before, "the same files again"
    assert (output / "mine.txt").read_text() == "mine"
    main(["compare", str(folder / "a"), f"--output={output}", "--overwrite"])
    assert not (output / "figures/scatter.png").exists(), "one run has no scatter"


def test_no_file_lands_in_a_run(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(folder / "a"), f"--output={folder / 'a' / 'compare'}"])
    assert stop.value.code == 2
    assert "choose another --output" in capsys.readouterr().err
    assert not (folder / "a" / "compare").exists()


@pytest.mark.parametrize("how", ["missing", "empty", "running", "unfinished"])
def test_a_bad_directory_is_one_line_and_writes_nothing(folder, tmp_path, capsys, how):
    bad = tmp_path / "bad"
    if how != "missing":
        shutil.copytree(folder / "b", bad)
    if how == "empty":
        shutil.rmtree(bad)
        bad.mkdir()
    elif how == "running":
        (bad / ".lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": None}))
    elif how == "unfinished":
        (bad / "results.parquet").unlink()
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(folder / "a"), str(bad), f"--output={tmp_path / 'out'}"])
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("certify.py: error: ")
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert not (tmp_path / "out").exists()


def test_no_text_of_a_file_controls_the_terminal(folder, tmp_path, capsys):
    run = make_run(tmp_path / "odd", count=3, noise="\x1b[2J\x07 evil\nline")
    main(["compare", str(folder / "a"), str(run.path)])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert "?[2J? evil?line" in printed


def test_a_number_that_no_run_has(folder, capsys):
    with pytest.raises(SystemExit):
        main(["compare", str(folder / "a"), "--by=nosy_accuracy"])
    assert "did you mean certified/noisy_accuracy?" in capsys.readouterr().err
