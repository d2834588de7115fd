"""One command measures everything where there is a GPU; here, its dry run and its refusals."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import costs, gpu, waits
from benchmarks.device import device_name


def command(monkeypatch, *arguments):
    """Run the command; its exit status."""
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    return ended.value.code


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def quick(monkeypatch):
    """Parts that measure nothing, in this process."""
    ran = []

    def run_part(part, options):
        ran.append(part)
        place = gpu.Place.at(folder_of(options))
        if part == "waits":
            return "RuntimeError: no kernel (status 1)"
        numbers = {"passed": 3} if part == "tests" else {"small CNN | speed": 2.0, "small CNN | kernels": None}
        device = device_name("cpu")
        measured = json.loads(place.numbers.read_text()) if place.numbers.exists() else {}
        place.numbers.write_text(json.dumps(measured | {device: measured.get(device, {}) | {part: numbers}}))
        return None

    monkeypatch.setattr(gpu, "run_part", run_part)
    return ran


def folder_of(options):
    return Path(next(one for one in options if one.startswith("--output=")).removeprefix("--output="))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "torch sees no GPU on this machine; for a dry run give --accelerator=cpu --output=FOLDER"),
        (["--accelerator=cpu"], "a dry run needs --output=FOLDER, since its numbers are none of a GPU"),
    ],
)
def test_without_a_gpu_it_ends_with_one_line_and_changes_nothing(arguments, said, no_gpu, quick, monkeypatch, capsys):
    before = costs.PAGE.read_text()
    assert command(monkeypatch, *arguments) == 2
    assert capsys.readouterr() == ("", f"benchmarks.gpu: error: {said}\n")
    assert quick == []
    assert costs.PAGE.read_text() == before


def test_a_part_that_fails_is_one_line_and_the_others_run_and_are_kept(quick, tmp_path, monkeypatch, capsys):
    before = costs.PAGE.read_text()
    assert command(monkeypatch, "--accelerator=cpu", f"--output={tmp_path}") == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == device_name("cpu")
    assert said[1].startswith("tests: 3 passed (")
    assert [line.partition(": ")[0] for line in said[1:6]] == list(gpu.PARTS) == quick
    assert said[5].startswith("waits: FAILED: RuntimeError: no kernel (status 1) (")
    assert "+ | small CNN | speed | 2 |" in said
    assert "+ | small CNN | kernels | - |" in said
    page = (tmp_path / "performance.md").read_text()
    assert f"| network |  | {device_name('cpu')} |\n" in page
    assert gpu.TABLES["waits"] not in page
    assert page.endswith(gpu.END)

    quick.clear()
    assert command(monkeypatch, "--accelerator=cpu", f"--output={tmp_path}") == 1
    assert quick == ["waits"], "what was measured is not measured again"
    assert "tests: measured before (--again measures it again)" in capsys.readouterr().out
    quick.clear()
    assert command(monkeypatch, "--accelerator=cpu", f"--output={tmp_path}", "--again", "--parts", "tests") == 0
    assert quick == ["tests"]
    assert costs.PAGE.read_text() == before, "a dry run leaves the documentation alone"


def test_the_page_holds_what_was_measured():
    numbers = gpu.Place.at(None).numbers
    measured = json.loads(numbers.read_text()) if numbers.exists() else {}
    assert gpu.BEGIN + gpu.page(measured) + gpu.END in costs.PAGE.read_text()


def test_each_device_has_a_column():
    measured = {"A": {"waits": {"net | kernels": 10.0}}, "B": {"waits": {"net | kernels": 12.0, "net | waits": 0.0}}}
    assert gpu.page(measured).splitlines()[2:] == [
        "| network |  | A | B |",
        "| --- | --- | --- | --- |",
        "| net | kernels | 10 | 12 |",
        "| net | waits | - | 0 |",
        "",
    ]
    assert gpu.page({"A": {"tests": {"passed": 3}}}) == gpu.NONE


def test_a_test_that_is_skipped_has_failed():
    xml = '<testsuites><testsuite><testcase name="a"/>{}</testsuite></testsuites>'
    assert gpu.count_results(xml.format('<testcase name="b"/>')) == {"passed": 2}
    for tag in ("skipped", "failure", "error"):
        with pytest.raises(SystemExit, match=rf"^1 of 2 tests did not pass: b \({tag}\)$"):
            gpu.count_results(xml.format(f'<testcase name="b"><{tag}/></testcase>'))
    with pytest.raises(SystemExit, match=r"^0 of 0 tests did not pass$"):
        gpu.count_results("<testsuite/>")


@pytest.mark.parametrize(
    ("part", "said"), [("costs", "it took more than 0.01 seconds"), ("waits", r"AssertionError: .* \(status 1\)")]
)
def test_a_part_is_a_process_of_its_own_that_may_die(part, said, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_LIMIT", 0.01 if part == "costs" else 100)
    monkeypatch.setattr(gpu.sys, "executable", str(_stand_in_for_python(tmp_path)))
    assert re.fullmatch(said, gpu.run_part(part, []))


def _stand_in_for_python(folder):
    """A program in place of Python that takes a while, and fails."""
    program = folder / "python"
    program.write_text("#!/bin/sh\nsleep 0.5\necho 'AssertionError: no' >&2\nexit 1\n")
    program.chmod(0o755)
    return program


def test_operations_of_a_block_do_not_depend_on_the_number_of_blocks():
    first = waits.measure(gpu.SIZES["cpu"][0].arguments("cpu"))
    assert first == waits.measure(gpu.SIZES["cpu"][0].arguments("cpu"))
    assert first.operations == int(first.operations) > 50
    assert (first.kernels, first.waits) == (None, None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("network", ["small_cnn", "resnet18"])
def test_a_block_of_samples_waits_for_nothing(network):
    block = waits.measure(gpu.Size(network, 16, 64).arguments("cuda"))
    assert block.waits == 0
    assert block.kernels > 20


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_the_dry_run_measures_every_part(tmp_path, monkeypatch, capsys):
    options = ["--accelerator=cpu", "--seconds=0.01", f"--output={tmp_path}"]
    assert command(monkeypatch, *options) == 0
    said = capsys.readouterr().out
    assert "FAILED" not in said
    (parts,) = json.loads((tmp_path / "gpu.json").read_text()).values()
    assert list(parts) == list(gpu.PARTS)
    assert parts["tests"]["collected"] > 100
    assert len(parts["statistics"]) == 17
    assert parts["throughput"]["small CNN, batch 16 | sampling, share of its time"] > 0
    assert all(line in (tmp_path / "performance.md").read_text() for line in gpu.TABLES.values())
