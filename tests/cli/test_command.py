"""The installed command: it answers at once, names itself in every text, and brings the configurations."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lit_certattr.cli import packaged_configs
from lit_certattr.cli.command import main
from lit_certattr.cli.program import as_installed, spoken, typed_again

CONFIGS = Path(__file__).parents[2] / "configs"


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_help_version_and_the_list_of_configurations_need_no_torch():
    code = (
        "import sys\nfrom lit_certattr.cli.command import main\n"
        "for typed in (['--help'], ['--version'], ['configs', 'list']):\n"
        "    try:\n        main(typed)\n    except SystemExit as end:\n        assert not end.code\n"
        "heavy = {'torch', 'lightning', 'numpy', 'matplotlib', 'pandas', 'wandb'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert "certify/photographs.yaml" in done.stdout
    assert "lit-certattr 0.1.0" in done.stdout


@pytest.mark.slow
def test_the_package_as_a_module_is_the_command():
    done = python("-m", "lit_certattr", "--help")
    assert done.returncode == 0
    assert "lit-certattr certify run" in done.stdout


def test_every_configuration_says_what_it_is_for():
    found = dict(packaged_configs.configurations())
    assert set(found) == {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml")}
    assert all(found[name] for name in found if name.startswith(("certify/", "train/")))


def test_configurations_are_copied_and_never_overwritten_unasked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["configs", "copy", "mine"])
    assert "copied to mine" in capsys.readouterr().out
    copied = {path.relative_to(tmp_path / "mine") for path in (tmp_path / "mine").rglob("*.yaml")}
    assert copied == {path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.yaml")}
    changed = tmp_path / "mine" / "certify" / "mnist5k.yaml"
    changed.write_text("network: mine\n")
    with pytest.raises(SystemExit) as stopped:
        main(["configs", "copy", "mine"])
    assert stopped.value.code == 2
    assert "exists; choose another folder" in capsys.readouterr().err
    assert yaml.safe_load(changed.read_text()) == {"network": "mine"}
    main(["configs", "copy", "mine", "--overwrite"])
    assert changed.read_bytes() == (CONFIGS / "certify" / "mnist5k.yaml").read_bytes()


def test_the_folder_of_the_package_is_not_copied_onto_itself(capsys):
    with pytest.raises(SystemExit):
        main(["configs", "copy", str(CONFIGS), "--overwrite"])
    assert "folder of the package itself" in capsys.readouterr().err


def test_a_file_in_the_way_is_one_line(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit) as stopped:
        main(["configs", "copy", str(tmp_path / "taken")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["certify", "runn"], "lit-certattr certify: error: argument command: invalid choice: 'runn'"),
        (["certify", "audit", "nowhere"], "lit-certattr certify: error: nowhere"),
        (["train", "fit", "--model.nett=SmallCNN"], "lit-certattr train: error: "),
    ],
)
def test_mistakes_name_the_installed_command(typed, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(typed)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert "certify.py" not in error


@pytest.mark.parametrize("typed", [["certify", "run"], ["train"], ["train", "fit"]])
def test_help_names_the_installed_command(typed, capsys):
    with pytest.raises(SystemExit):
        main([*typed, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: lit-certattr {typed[0]} ")
    assert "certify.py" not in shown
    assert "train.py" not in shown


def test_texts_outside_the_commands_name_the_installed_command():
    package = CONFIGS.parent / "lit_certattr"
    files = [path for path in package.rglob("*.py") if path.parent.name != "cli"]
    named = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in files
        for line in path.read_text().splitlines()
        if ("certify.py" in line or "train.py" in line) and "``" not in line
    ]
    assert not named


def test_scripts_of_a_checkout_name_themselves(monkeypatch):
    assert spoken("certify.py run") == spoken("lit-certattr certify run") == "certify.py run"
    monkeypatch.setattr(sys, "argv", ["/there/certify.py"])
    assert typed_again("certify.py", ["run", "--output=a b"]) == "python /there/certify.py run '--output=a b'"
    with as_installed():
        assert typed_again("certify.py", ["run", "--output=a b"]) == "lit-certattr certify run '--output=a b'"
        assert spoken("run python train.py fit") == spoken("run lit-certattr train fit") == "run lit-certattr train fit"


def test_without_a_command_the_help_is_shown(capsys):
    main([])
    assert "lit-certattr certify run --config certify/torchvision.yaml" in capsys.readouterr().out
