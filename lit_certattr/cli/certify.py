"""``certify.py``: certify attribution maps, one subcommand a job."""

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
from lit_certattr.cli.certify_attack import ATTACK_HELP, add_attack_arguments, attack_from_config
from lit_certattr.cli.certify_audit import AUDIT_HELP, add_audit_arguments, audit_from_config
from lit_certattr.cli.certify_evaluate import EVALUATE_HELP, add_evaluate_arguments, evaluate_from_config
from lit_certattr.cli.certify_run import RUN_HELP, add_run_arguments, run_from_config
from lit_certattr.cli.errors import OneLineParser, one_line_errors
from lit_certattr.cli.help import ReadableHelp

DESCRIPTION = """Certify what no small perturbation of an image can change in its explanation.

Examples:
  certify.py run --config configs/certify/photographs.yaml
  certify.py run --config configs/certify/mnist5k.yaml --checkpoint runs/mnist5k_noise/checkpoints/best.ckpt
  certify.py audit runs/certify/photographs --fresh
  certify.py attack runs/certify/mnist5k
  certify.py evaluate --config configs/protocol/mnist5k.yaml
"certify.py run --help" lists every setting."""


class Command(NamedTuple):
    """One subcommand: its help, its arguments, what it does with them."""

    help: str
    arguments: Callable[[OneLineParser], None]
    execute: Callable[[OneLineParser, Namespace], None]


COMMANDS = {
    "run": Command(RUN_HELP, add_run_arguments, run_from_config),
    "attack": Command(ATTACK_HELP, add_attack_arguments, attack_from_config),
    "audit": Command(AUDIT_HELP, add_audit_arguments, audit_from_config),
    "evaluate": Command(EVALUATE_HELP, add_evaluate_arguments, evaluate_from_config),
}


def main(args: Sequence[str] | None = None) -> None:
    """Run ``certify.py``.

    Args:
        args: Arguments in place of the command line's.

    Raises:
        SystemExit: With status 2 and one line on stderr after a user's mistake.
    """
    with one_line_errors("certify.py"):
        parser = OneLineParser(prog="certify.py", description=DESCRIPTION, formatter_class=ReadableHelp)
        subcommands = parser.add_subcommands(title="commands", dest="command", help=None)
        below = {}
        for name, command in COMMANDS.items():
            below[name] = OneLineParser(description=command.help, formatter_class=ReadableHelp)
            command.arguments(below[name])
            subcommands.add_subcommand(name, below[name], help=command.help.splitlines()[0])
        config = parser.parse_args(args)
        COMMANDS[config.command].execute(below[config.command], config[config.command])
