"""Kinds of somebody else's package: audited like built-in ones on the user's word, and named where there is none."""

import sys

import processes
import pytest
import torch
import yaml

from lit_certattr import jobs
from lit_certattr.cli.certify import main
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory

PACKAGE = """
import attrs

from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, PixelResult
from lit_certattr.certificates.pixel import PixelAccumulator
from lit_certattr.smoothing import GaussianNoise


@attrs.frozen(eq=False)
class TheirResult(PixelResult):
    kind = "theirs"


class TheirAccumulator(PixelAccumulator):
    def conclude(self, share):
        result = super().conclude(share)
        return TheirResult(**{field.name: getattr(result, field.name) for field in attrs.fields(PixelResult)})


class TheirCertificate(PixelCertificate):
    name = "theirs"
    result = TheirResult

    def start(self, noise, map_shape, dimension=None, share=1.0):
        return TheirAccumulator(self, noise, map_shape, dimension, share)


class TheirNoise(GaussianNoise):
    pass


class TheirMethod(Gradient):
    pass
"""
OWN = "lit_certattr.certificates.TopKOverlapCertificate"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A run of kinds that this process has never imported, and the folder of the package."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "their_kinds").mkdir()
    (folder / "their_kinds" / "__init__.py").write_text(PACKAGE)
    torch.manual_seed(0)
    torch.save(SmallCNN(image_size=8).state_dict(), folder / "digits.pt")
    certifier = {
        "attribution": {"class_path": "their_kinds.TheirMethod"},
        "noise": {"class_path": "their_kinds.TheirNoise", "init_args": {"sigma": 0.3}},
        "certificates": [
            {"class_path": "their_kinds.TheirCertificate", "init_args": {"top_k": [0.5]}},
            {"class_path": OWN, "init_args": {"top_k": 0.5}},
        ],
        "num_samples": 200,
        "batch_size": 50,
    }
    config = {
        "certifier": certifier,
        "data": {"class_path": "lit_certattr.data.Digits"},
        "network": {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}},
        "checkpoint": str(folder / "digits.pt"),
        "output": str(folder / "run"),
        "trainer": {"accelerator": "cpu", "threads": 1},
    }
    (folder / "theirs.yaml").write_text(yaml.safe_dump(config))
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n{processes.CERTIFY}"
    (done,) = processes.run(folder, program, ("run", f"--config={folder}/theirs.yaml", "--max_images=2"))
    assert done.status == 0, done.stderr
    return folder


def _audit(folder, capsys, *extra):
    capsys.readouterr()
    try:
        main(["audit", str(folder / "run"), *extra])
        status = 0
    except SystemExit as stopped:
        status = stopped.code
    said = capsys.readouterr()
    return status, said.out + said.err


def test_unknown_kinds_are_named_the_rest_is_audited_and_on_the_users_word_they_are_too(theirs, capsys, monkeypatch):
    """One test, since a process that has imported a package knows its kinds for good."""
    assert "their_kinds" not in sys.modules
    status, out = _audit(theirs, capsys)
    assert status == 3, out
    for unknown in (
        "theirs: unknown kind, not audited: TheirCertificate",
        "noise: unknown kind",
        "attribution: unknown",
    ):
        assert unknown in out
    assert "--import" in out
    assert "config.yaml names classes outside" in out
    assert "NOT AUDITED: 3" in out
    assert "2 of 4 certificates re-derived equal" in out
    for word in ("damaged", "REFUSED", "FAILED"):
        assert word not in out
    report = jobs.audit(theirs / "run")
    assert report.faults == []
    assert len(report.unaudited) == 3
    with pytest.raises(InputError, match="unknown kind"):
        jobs.attack(theirs / "run")

    run = RunDirectory(theirs / "run")
    record = run.read(min(run.finished()))
    path = run.images / f"{record.id}.safetensors"
    honest = path.read_bytes()
    run.write(record.id, record.results, 1 - record.image, record.clean_map, record.facts)  # a forged image
    status, out = _audit(theirs, capsys)
    assert status == 1, "a fault is a fault, whatever else is unknown"
    assert "hash of the images" in out
    path.write_bytes(honest)
    assert _audit(theirs, capsys)[0] == 3, "a kind that is unknown is written back as it was"

    status, out = _audit(theirs, capsys, "--import", "their_kinds")
    assert status == 2
    assert "--import: their_kinds cannot be imported (ModuleNotFoundError" in out
    monkeypatch.syspath_prepend(theirs)
    status, out = _audit(theirs, capsys, "--import", "their_kinds", "--fresh", "--seed=5")
    assert status == 0, out
    assert "4 certificates re-derived, all equal" in out
    assert "unknown" not in out
    assert "config.yaml names classes outside" not in out, "the user has given their package"
    report = jobs.attack(
        theirs / "run", imports=["their_kinds"], budgets=[0.1], draws=1, judge_draws=2, max_images=1, progress=False
    )
    assert {row["certificate"] for row in report.rows} >= {"topk_overlap"}


def test_nothing_is_imported_from_the_run_directory_whatever_the_user_says(theirs, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    (run / "evil_kinds.py").write_text("raise SystemExit('ran')\n")
    (run / "provenance.json").write_text("{}")
    for place in (run, tmp_path):
        monkeypatch.syspath_prepend(place)
    for name in ("evil_kinds", "run.evil_kinds"):
        status, out = _audit(tmp_path, capsys, f"--import={name}")
        assert status == 2
        assert "from which nothing is imported" in out


@pytest.mark.parametrize("name", ["", ".", "..evil", "no such package", "os.system", "x" * 300])
def test_what_is_no_package_is_one_line(theirs, capsys, name):
    status, out = _audit(theirs, capsys, f"--import={name}")
    assert status == 2
    assert out.startswith("certify.py: error: --import")
    assert out.count("\n") == 1
