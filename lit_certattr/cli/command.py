"""``lit-certattr``: the command that comes with the installed package.

Only what a command needs is imported: ``--help``, ``--version`` and ``configs`` answer without torch.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from lit_certattr.cli.output import on_stdout, reader_may_leave, somewhere_to_write
from lit_certattr.cli.program import INSTALLED, as_installed
from lit_certattr.cli.quick import imports, run
from lit_certattr.errors import InputError, single_line

DESCRIPTION = """Train image classifiers with robust attributions, and certify those attributions.

Examples:
  lit-certattr certify run --config certify/torchvision.yaml --images my_photographs --network.name resnet18
  lit-certattr configs list
  lit-certattr train fit --config configs/train/mnist5k_noise.yaml
  lit-certattr certify run --config configs/certify/mnist5k.yaml
  lit-certattr doctor
A configuration of the package is named as "lit-certattr configs list" shows it, and needs not be copied.
"lit-certattr certify --help" and "lit-certattr train --help" list the commands below them."""


def main(args: Sequence[str] | None = None) -> None:
    """Run ``lit-certattr``.

    Args:
        args: Arguments; ``None`` uses those of the command line.

    Raises:
        SystemExit: With status 2 and one line on stderr after a mistake of the user.
    """
    typed = list(sys.argv[1:] if args is None else args)
    if typed[:1] in (["train"], ["certify"]):
        _run(typed[0], typed[1:])
        return
    with somewhere_to_write(), reader_may_leave():
        _answer(_parser().parse_args(typed))


def _answer(chosen: argparse.Namespace) -> None:
    try:
        match chosen.command:
            case "configs":
                _configs(chosen)
            case "doctor":
                _doctor()
            case "completion":
                from lit_certattr.cli.completion import script

                sys.stdout.write(script(chosen.shell))
            case _:
                _parser().print_help()
    except InputError as error:
        sys.stderr.write(f"{INSTALLED}: error: {single_line(error)}\n")
        raise SystemExit(2) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=INSTALLED,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    below = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    below.add_parser("train", help="Train a classifier or a denoiser.", add_help=False)
    below.add_parser("certify", help="Certify attribution maps; plan, run, attack, audit and compare.", add_help=False)
    configs = below.add_parser("configs", help="List the configurations of the package, or copy them.")
    verbs = configs.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    verbs.add_parser("list", help="Name and purpose of each configuration.")
    copying = verbs.add_parser("copy", help="Copy all configurations into a folder, to use and to change them there.")
    copying.add_argument("folder", nargs="?", default="configs", help="The folder. Default: configs.")
    copying.add_argument("--overwrite", action="store_true", help="Replace files that are there already.")
    below.add_parser("doctor", help="What is installed, which devices and data are there; status 1 after a fault.")
    completion = below.add_parser(
        "completion", help="Print the completion of a shell; docs/installing.md says where to."
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="The shell.")
    return parser


def _version() -> str:
    from importlib.metadata import version

    return f"{INSTALLED} {version(INSTALLED)}"


def _run(command: str, arguments: Sequence[str]) -> None:
    def main() -> None:
        with imports():
            from lit_certattr.certification.host_memory import keep_freed_memory

            module = import_module(f"lit_certattr.cli.{command}")
        keep_freed_memory()
        module.main(list(arguments))

    with as_installed():
        run(command, arguments, main)


def _configs(chosen: argparse.Namespace) -> None:
    from lit_certattr.cli import packaged_configs

    if chosen.verb == "copy":
        count = packaged_configs.copy(chosen.folder, chosen.overwrite)
        sys.stdout.write(f"{count} configurations copied to {chosen.folder}\n")
        return
    for name, purpose in packaged_configs.configurations():
        sys.stdout.write(f"{name}\n    {purpose}\n" if purpose else f"{name}\n")


def _doctor() -> None:
    from lit_certattr.cli.doctor import examine, report

    console = on_stdout()
    if not report(list(examine()), console):
        raise SystemExit(1)
