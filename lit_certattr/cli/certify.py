"""``certify.py``: certify attribution maps; one subcommand per job."""

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jsonargparse import Namespace

# Imported so that short class names are legal: --network=EfficientNetLite0, --data=Photographs.
import lit_certattr.attacks
import lit_certattr.attribution
import lit_certattr.certificates
import lit_certattr.data
import lit_certattr.models
import lit_certattr.smoothing  # noqa: F401
from lit_certattr.cli.arguments import WORDS
from lit_certattr.cli.certify_attack import ATTACK_HELP, add_attack_arguments, attack_from_config
from lit_certattr.cli.certify_audit import AUDIT_HELP, add_audit_arguments, audit_from_config
from lit_certattr.cli.certify_compare import COMPARE_HELP, add_compare_arguments, compare_from_config
from lit_certattr.cli.certify_covers import COVERS_HELP, add_covers_arguments, covers_from_config
from lit_certattr.cli.certify_evaluate import EVALUATE_HELP, add_evaluate_arguments, evaluate_from_config
from lit_certattr.cli.certify_export import EXPORT_HELP, add_export_arguments, export_from_config
from lit_certattr.cli.certify_merge import MERGE_HELP, add_merge_arguments, merge_from_config
from lit_certattr.cli.certify_modes import MODES_HELP, add_modes_arguments, modes_from_config
from lit_certattr.cli.certify_plan import PLAN_HELP, add_plan_arguments, plan_from_config
from lit_certattr.cli.certify_recertify import RECERTIFY_HELP, add_recertify_arguments, recertify_from_config
from lit_certattr.cli.certify_run import RUN_HELP, add_run_arguments, run_from_config
from lit_certattr.cli.certify_sigmas import SIGMAS_HELP, add_sigmas_arguments, sigmas_from_config
from lit_certattr.cli.certify_status import STATUS_HELP, add_status_arguments, status_from_config
from lit_certattr.cli.errors import OneLineParser, one_line_errors
from lit_certattr.cli.help import ReadableHelp
from lit_certattr.cli.program import typed_again
from lit_certattr.cli.quick import remember
from lit_certattr.cli.signals import QUEUE_SIGNALS, stop_on_signals
from lit_certattr.cli.words import ABSENT, RENAMED

DESCRIPTION = """Certify which parts of an image's attribution map no small perturbation of the image can change.

Examples:
  certify.py plan --config configs/certify/photographs.yaml
  certify.py sigmas --config configs/certify/photographs.yaml
  certify.py run --config configs/certify/photographs.yaml
  certify.py run --config configs/certify/mnist5k.yaml --checkpoint runs/mnist5k_noise/checkpoints/best.ckpt
  certify.py status runs/certify/photographs
  certify.py audit runs/certify/photographs --fresh
  certify.py covers runs/certify/photographs --image=chelsea --changed=brighter.png
  certify.py merge runs/parts/1 runs/parts/2 --output=runs/all
  certify.py recertify runs/certify/photographs --alpha=0.01 --output=runs/alpha_01
  certify.py attack runs/certify/mnist5k --preset=quick
  certify.py evaluate --config configs/protocol/mnist5k.yaml
  certify.py compare runs/certify/mnist5k runs/certify/mnist5k_cosine --output=runs/compare
  certify.py export runs/certify/mnist5k --format=latex
"certify.py run --help" lists every setting."""


class Command(NamedTuple):
    """One subcommand.

    Attributes:
        help: Help text; the first line is the summary.
        arguments: Declares the settings of the command.
        execute: Executes the command.
        kept: Beginning of the last line after an interruption.
    """

    help: str
    arguments: Callable[[OneLineParser], None]
    execute: Callable[[OneLineParser, Namespace], None]
    kept: str


_NOTHING = "Nothing was changed; to start again, run"
_IMAGES = "Finished images are kept; to resume, run"
COMMANDS = {
    "plan": Command(PLAN_HELP, add_plan_arguments, plan_from_config, _NOTHING),
    "sigmas": Command(
        SIGMAS_HELP, add_sigmas_arguments, sigmas_from_config, "Nothing was written; to start again, run"
    ),
    "run": Command(RUN_HELP, add_run_arguments, run_from_config, _IMAGES),
    "status": Command(STATUS_HELP, add_status_arguments, status_from_config, _NOTHING),
    "attack": Command(ATTACK_HELP, add_attack_arguments, attack_from_config, _IMAGES),
    "audit": Command(AUDIT_HELP, add_audit_arguments, audit_from_config, _NOTHING),
    "covers": Command(COVERS_HELP, add_covers_arguments, covers_from_config, _NOTHING),
    "merge": Command(MERGE_HELP, add_merge_arguments, merge_from_config, "To merge again, run"),
    "recertify": Command(RECERTIFY_HELP, add_recertify_arguments, recertify_from_config, _IMAGES),
    "evaluate": Command(EVALUATE_HELP, add_evaluate_arguments, evaluate_from_config, _IMAGES),
    "modes": Command(MODES_HELP, add_modes_arguments, modes_from_config, "Nothing was written; to start again, run"),
    "compare": Command(COMPARE_HELP, add_compare_arguments, compare_from_config, _NOTHING),
    "export": Command(EXPORT_HELP, add_export_arguments, export_from_config, _NOTHING),
}


def main(args: Sequence[str] | None = None) -> None:
    """Run ``certify.py``.

    Args:
        args: Arguments; ``None`` uses those of the command line.

    Raises:
        SystemExit: With status 2 and one line on stderr after a mistake of the user or a fault of the machine; with 128
            plus the number of the signal if a signal stops the command.
    """
    typed = list(sys.argv[1:] if args is None else args)
    config = Namespace()

    def advice() -> str:
        command = COMMANDS.get(str(config.get("command")), COMMANDS["run"])
        return f"{command.kept}: {typed_again('certify.py', _again(typed, config))}"

    with one_line_errors("certify.py"), stop_on_signals("certify.py", advice, also=QUEUE_SIGNALS):
        parser = OneLineParser(prog="certify.py", description=DESCRIPTION, formatter_class=ReadableHelp)
        subcommands = parser.add_subcommands(title="commands", dest="command", help=None)
        below = {}
        for name, command in COMMANDS.items():
            below[name] = OneLineParser(description=command.help, formatter_class=ReadableHelp)
            below[name].renamed, below[name].absent = RENAMED, ABSENT.get(name, {})
            command.arguments(below[name])
            subcommands.add_subcommand(name, below[name], help=command.help.splitlines()[0])
        remember("certify", below, also=[*RENAMED, *(word for absent in ABSENT.values() for word in absent)])
        config = parser.parse_args(typed)
        COMMANDS[config.command].execute(below[config.command], config[config.command])


def _again(typed: Sequence[str], config: Namespace) -> list[str]:
    """The arguments of the command that resumes: the same, without deleting anything."""
    if not config.get(f"{config.get('command')}.overwrite"):
        return list(typed)
    kept: list[str] = []
    for before, argument in zip(["", *typed], typed, strict=False):
        value = before == "--overwrite" and argument.lower() in WORDS
        if not (value or argument.partition("=")[0] == "--overwrite"):
            kept.append(argument)
    return [*kept, "--overwrite=false"]  # a configuration file may have it, too
