"""The examples of docs/extending.md, from outside the package: own folder, own import, one process for all."""

import shutil
from pathlib import Path

import processes
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "extending"
FOLDERS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A copy of the examples in a folder of its own."""
    folder = tmp_path_factory.mktemp("outside") / "mine"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def python(outside, program, *arguments):
    """Standard output of a program in the folder, whose process finds the examples by their names."""
    paths = [str(outside / name) for name in FOLDERS]
    here = f"import os, sys; os.chdir({str(outside)!r}); sys.path[:0] = {paths!r}\n"
    (done,) = processes.run(outside.parent, here + program, arguments)
    assert done.status == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_each_example_is_one_file_one_test_and_one_configuration():
    assert FOLDERS == ["certificate", "command", "method", "module", "noise", "objective"]
    for folder in FOLDERS:
        names = {path.name for path in (EXAMPLES / folder).iterdir() if path.is_file()}
        (stem,) = {name.removesuffix(".yaml") for name in names if name.endswith(".yaml")}
        assert names == {f"{stem}.py", f"test_{stem}.py", f"{stem}.yaml"}


def test_their_tests_pass(outside):
    program = "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    said = python(outside, program, "-q", "-p", "no:cacheprovider", *FOLDERS)
    assert "passed" in said
    assert "skipped" not in said


def test_their_configurations_run(outside):
    """All in one process: importing the package takes longer than running them."""
    python(
        outside,
        """
import runpy
from pathlib import Path
from lit_certattr.cli import certify, train
for name in ("method/blurred_gradient", "certificate/half_certificate", "noise/laplace_noise"):
    certify.main(["run", "--config", "digits.yaml", "--config", f"{name}.yaml"])
certify.main(["audit", "runs/half_certificate", "--import", "half_certificate"])
certify.main(["audit", "runs/blurred_gradient", "--import", "blurred_gradient"])
layers = ["--config", sys.argv[1], "--config", "objective/confidence_penalty.yaml"]
train.main(["fit", *layers, "--trainer.fast_dev_run=true"])
sys.argv = ["sweep_sigma.py", "--config", "command/sweep_sigma.yaml"]
runpy.run_path("command/sweep_sigma.py", run_name="__main__")
sys.argv = ["own_module.py", "fit", "--config", "module/own_module.yaml"]
runpy.run_path("module/own_module.py", run_name="__main__")
""",
        str(ROOT / "configs/train/digits.yaml"),
    )
    for name in ("blurred_gradient", "half_certificate", "laplace_noise", "sweep_sigma/sigma_0.1"):
        assert (outside / "runs" / name / "report.html").exists()
    assert (outside / "runs" / "own_module" / "best.ckpt").exists()
