"""Completion scripts: what the shells themselves answer at the Tab key."""

import shlex
import shutil
import subprocess

import pytest

from lit_certattr.cli.command import main
from lit_certattr.cli.completion import SHELLS, script, words

NEEDED = {shell: pytest.mark.skipif(shutil.which(shell) is None, reason=f"no {shell} here") for shell in SHELLS}
BASH = """
typed() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lit_certattr; echo "${{COMPREPLY[@]}}"; }}
{lines}
"""
ASKED = {
    "lit-certattr cer": {"certify"},
    "lit-certattr certify a": {"attack", "audit"},
    "lit-certattr certify run --num_s": {"--num_samples"},
    "lit-certattr train fit --trainer.max_e": {"--trainer.max_epochs"},
    "lit-certattr certify run --targets l": {"label"},
    "lit-certattr certify run --config certify/photographs_g": {"certify/photographs_gradcam.yaml"},
    "lit-certattr configs c": {"copy"},
    "lit-certattr completion z": {"zsh"},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        (folder / shell).write_text(script(shell))
    return folder


def ran(folder, *command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_bash_completes(files):
    split = {"lit-certattr certify run --targets = no": {"noisy_majority"}}  # as bash splits --targets=no
    whole = {"lit-certattr certify run --targets=no": {"--targets=noisy_majority"}}  # as zsh hands it over
    asked = ASKED | split | whole
    lines = "\n".join(f"typed {typed}" for typed in asked)
    answers = ran(files, "bash", "-c", f"source ./bash\n{BASH.format(lines=lines)}").splitlines()
    assert dict(zip(asked, map(set, map(str.split, answers)), strict=True)) == asked


def test_bash_offers_files_for_a_configuration_too(files):
    (files / "certify_mine.yaml").touch()
    typed = "typed lit-certattr certify run --config certify"
    answer = ran(files, "bash", "-c", f"source ./bash\n{BASH.format(lines=typed)}").split()
    assert {"certify_mine.yaml", "certify/folder.yaml"} <= set(answer)


@NEEDED["fish"]
def test_fish_completes(files):
    for typed, wanted in ASKED.items():
        found = ran(files, "fish", "--no-config", "-c", f"source ./fish; complete -C {shlex.quote(typed)}").splitlines()
        assert {line.partition("\t")[0] for line in found} == wanted, typed


@NEEDED["zsh"]
def test_zsh_reads_its_script(files):
    lines = 'COMP_WORDS=(lit-certattr certify a); COMP_CWORD=2; _lit_certattr; echo "${COMPREPLY[@]}"'
    loaded = "setopt KSH_ARRAYS\nautoload -U +X compinit && compinit -u -D\nsource ./zsh\n"
    offered = ran(files, "zsh", "-f", "-c", loaded + lines).split()
    assert {"attack", "audit"} <= set(offered), "zsh itself leaves out what does not begin with an a"
    assert "fit" not in offered


def test_every_command_is_there():
    known = words()
    assert {at for at in known if " " not in at} == {"", "train", "certify", "configs", "completion"}
    for at, one in known.items():
        below = one.below if at in ("", "train", "certify") else {}
        assert all(name in ("doctor",) or f"{at} {name}".strip() in known for name in below)
    assert "--overwrite" in known["certify run"].options
    assert known["certify run"].options["--targets"] == ("predicted", "label", "noisy_majority")


def test_the_command_prints_it_and_refuses_other_shells(capsys):
    main(["completion", "bash"])
    assert capsys.readouterr().out.startswith("_lit_certattr()")
    with pytest.raises(SystemExit) as stopped:
        main(["completion", "tcsh"])
    assert stopped.value.code == 2
