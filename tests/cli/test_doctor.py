"""``lit-certattr doctor``: what is there, what is missing, and what to do about it."""

import builtins
import io
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from rich.console import Console

from lit_certattr.cli import doctor
from lit_certattr.cli.command import main
from lit_certattr.cli.program import INSTALLED

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GROUPS = ["Versions", "Extras", "Machine", "Data", "Weights & Biases"]


@pytest.fixture(autouse=True)
def declared(monkeypatch, tmp_path):
    """What an installation of this checkout declares, whenever it was installed; no account of the user."""
    lines = list(PROJECT["dependencies"])
    for name, wanted in PROJECT["optional-dependencies"].items():
        lines += [f'{line}; extra == "{name}"' for line in wanted]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: lines)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def versions(monkeypatch):
    """Versions of packages in place of the installed ones; ``None`` for a package that is missing."""
    fixed, real = {}, metadata.version

    def version(name):
        if fixed.get(name, "") is None:
            raise metadata.PackageNotFoundError(name)
        return fixed.get(name) or real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    return fixed


def found(group, name):
    (one,) = [one for one in doctor.examine() if (one.group, one.name) == (group, name)]
    return one


def test_everything_is_named_in_groups_and_the_commands_can_run(capsys):
    main(["doctor"])
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line in GROUPS] == GROUPS
    for name in (
        "Python",
        INSTALLED,
        "torch",
        "lightning",
        "wandb",
        "CPU",
        "BLAS",
        "GPU",
        "disk",
        "Photographs",
        "account",
    ):
        assert f" {name} " in shown
    assert shown.endswith("\nThe commands can run.\n")


def test_every_extra_says_what_it_is_for():
    extras = {one.name: one.text for one in doctor.examine() if one.group == "Extras"}
    assert set(extras) == set(PROJECT["optional-dependencies"]) - {"all", "dev", "docs"}
    assert "complete" not in extras.values()


def test_an_extra_that_is_incomplete_names_the_remedy_and_is_no_fault(versions, capsys):
    versions["scikit-image"] = None
    one = found("Extras", "regions")
    assert one.state == "absent"
    assert one.text.startswith("without scikit-image: pip install 'lit-certattr[regions]'  (superpixels")
    main(["doctor"])
    assert "pip install 'lit-certattr[regions]'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (None, "missing: pip install 'lightning>=2.6.6'"),
        ("2.5.0", "2.5.0, but >=2.6.6 is needed: pip install 'lightning>=2.6.6'"),
        ("2.6.3", "2.6.3 steals credentials: pip install 'lightning>=2.6.6', then change the passwords and keys"),
    ],
)
def test_a_fault_of_the_core_ends_with_status_1(version, said, versions, capsys):
    versions["lightning"] = version
    with pytest.raises(SystemExit) as stopped:
        main(["doctor"])
    assert stopped.value.code == 1
    shown = capsys.readouterr().out
    assert said in shown
    assert shown.endswith("FAULT: lightning\n")


def test_a_torch_that_cannot_be_imported_is_a_fault(monkeypatch):
    real = builtins.__import__

    def broken(name, *rest, **more):
        if name == "torch":
            raise OSError("libcudart.so.13: cannot open shared object file")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", broken)
    findings = list(doctor._machine())
    assert [(one.name, one.state) for one in findings] == [("torch", "fault")]
    assert "libcudart" in findings[0].text


def test_the_state_of_weights_and_biases(monkeypatch, tmp_path):
    account = "Weights & Biases", "account"
    assert found(*account).text.startswith("not logged in")
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password secret\n")
    assert found(*account).text == "logged in"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert found(*account).text == "offline (WANDB_MODE)"
    (tmp_path / "wandb" / "offline-run-1").mkdir(parents=True)
    assert found("Weights & Biases", "offline runs").text.startswith("1 in wandb/")


def test_text_is_shown_as_it_is():
    file = io.StringIO()
    doctor.report([doctor.Finding("Extras", "demo", "pip install 'lit-certattr[demo]'")], Console(file=file))
    assert "'lit-certattr[demo]'" in file.getvalue()
