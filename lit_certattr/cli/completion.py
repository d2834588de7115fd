"""Completion for bash, zsh and fish: a script with all commands, options, choices and packaged configurations.

The script holds the names themselves, so that the Tab key answers at once: it starts no Python. It is written from the
parsers of the commands, which takes as long as their ``--help``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args, get_origin

from jsonargparse import ArgumentParser

from lit_certattr.callbacks import LastCheckpoint
from lit_certattr.cli.arguments import _kinds
from lit_certattr.cli.certify import COMMANDS
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.packaged_configs import configurations
from lit_certattr.cli.train import TrainCLI
from lit_certattr.data import ImageDataModule
from lit_certattr.modules import RobustClassifier

SHELLS = ("bash", "zsh", "fish")
TOP = {
    "train": "Train a classifier or a denoiser",
    "certify": "Certify attribution maps; plan, run, attack, audit and compare",
    "configs": "List the configurations of the package, or copy them",
    "doctor": "What is installed, which devices and data are there",
    "completion": "Print the completion of a shell",
}
"""The commands, each with what it does."""


class Words(NamedTuple):
    """What can follow a command.

    Attributes:
        below: Names of the commands below it, each with what it does; also the choices of its argument.
        options: Its options, each with the values it can have; none where any value is possible.
    """

    below: Mapping[str, str]
    options: Mapping[str, tuple[str, ...]]


class _Parsers(TrainCLI):
    """The parsers of ``train.py``, without running it."""

    def __init__(self) -> None:
        try:
            super().__init__(
                RobustClassifier,
                ImageDataModule,
                last=LastCheckpoint(),
                subclass_mode_data=True,
                args=[],
                parser_class=OneLineParser,
            )
        except _Ready:
            return

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Stop where the command line would be read."""
        raise _Ready


class _Ready(Exception):
    """The parsers are there."""


def words() -> dict[str, Words]:
    """What can follow each command, by the command without the name of the program (``""``, ``"certify run"``)."""
    found = {
        "": Words(TOP, {"--help": (), "--version": ()}),
        "configs": Words({"list": "Name and purpose of each", "copy": "Copy all into a folder"}, {"--help": ()}),
        "configs copy": Words({}, {"--overwrite": (), "--help": ()}),
        "completion": Words(dict.fromkeys(SHELLS, ""), {"--help": ()}),
    }
    certify = {}
    for name, command in COMMANDS.items():
        certify[name] = OneLineParser()
        command.arguments(certify[name])
    found["certify"] = Words({name: one.help.splitlines()[0] for name, one in COMMANDS.items()}, {"--help": ()})
    cli = _Parsers()
    found["train"] = Words(dict.fromkeys(cli.subcommands(), ""), {"--help": ()})
    for above, parsers in (("certify", certify), ("train", cli._subcommand_parsers)):
        found |= {f"{above} {name}": Words({}, dict(_options(parser))) for name, parser in parsers.items()}
    return found


def _options(parser: ArgumentParser) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The options of a parser; parts of a class whose class is chosen by another option are not known here."""
    for option, action in sorted(parser._option_string_actions.items()):
        if option.startswith("--") and not option.endswith(("+", ".help")):
            yield option, tuple(_choices(getattr(action, "_typehint", None)))


def _choices(hint: Any) -> Iterator[str]:
    for kind in _kinds(hint):
        if kind is bool:
            yield from ("true", "false")
        elif get_origin(kind) is Literal:
            yield from map(str, get_args(kind))


def script(shell: str) -> str:
    """The completion script of a shell.

    Args:
        shell: One of :data:`SHELLS`.
    """
    known, configs = words(), " ".join(name for name, _ in configurations())
    if shell == "fish":
        return _fish(known, configs)
    return (_ZSH if shell == "zsh" else "") + _bash(known, configs)


_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
_BASH = """_lit_certattr() {
    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" given="" words=""
    # bash splits --option=value at the sign, zsh does not.
    if [[ $current == "=" ]]; then current=""
    elif [[ $before == "=" ]]; then before="${COMP_WORDS[COMP_CWORD-2]}"
    elif [[ $current == --*=* ]]; then before="${current%%=*}"; given="$before="; current="${current#*=}"
    fi
    local at="${COMP_WORDS[1]} ${COMP_WORDS[2]}"
    if (( COMP_CWORD == 1 )); then at=""; elif (( COMP_CWORD == 2 )); then at="${COMP_WORDS[1]}"; fi
    case "$at $before" in
VALUES
    *) case "$at" in
OPTIONS
        esac ;;
    esac
    COMPREPLY=($(compgen -P "$given" -W "$words" -- "$current"))
    if [[ $before == --config ]]; then COMPREPLY+=($(compgen -P "$given" -f -- "$current")); fi
}
complete -o default -F _lit_certattr lit-certattr
"""


def _bash(known: Mapping[str, Words], configs: str) -> str:
    values = {f"{at} {option}": choices for at, one in known.items() for option, choices in one.options.items()}
    lines = [f'    "{at}") words="{" ".join(choices)}" ;;' for at, choices in values.items() if choices]
    lines.insert(0, f'    *" --config") words="{configs}" ;;')
    options = [f'        "{at}") words="{" ".join([*one.below, *one.options])}" ;;' for at, one in known.items()]
    return _BASH.replace("VALUES", "\n".join(lines)).replace("OPTIONS", "\n".join(options))


def _fish(known: Mapping[str, Words], configs: str) -> str:
    lines = [
        "function __lit_certattr_at",
        "    set -l typed (commandline -opc)",
        "    set -l last (math (count $argv) + 1)",
        "    test $last -eq 1; and return 0",
        "    test (count $typed) -ge $last",
        '    and test "$typed[2..$last]" = "$argv"',
        "end",
        "function __lit_certattr_next",
        "    test (count (commandline -opc)) -eq (math (count $argv) + 1)",
        "    and __lit_certattr_at $argv",
        "end",
    ]
    for at, one in known.items():
        for name, does in one.below.items():
            lines.append(f"complete -c lit-certattr -f -n '__lit_certattr_next {at}' -a {name} -d {_quoted(does)}")
        for option, choices in one.options.items():
            taken = (
                f" -x -a '{' '.join(choices)}'" if choices else f" -r -a '{configs}'" if option == "--config" else ""
            )
            where = f"__lit_certattr_at {at}" if at else "__lit_certattr_next"
            lines.append(f"complete -c lit-certattr -n '{where}' -l {option.removeprefix('--')}{taken}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
