"""``certify.py recertify``: the certificates of a finished run at another alpha or tau."""

import sys
from pathlib import Path

from jsonargparse import Namespace

from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.words import add_import_word
from lit_certattr.jobs import recertify

RECERTIFY_HELP = """Certify a finished run again at another alpha or tau, from its stored counts.

Examples:
  certify.py recertify runs/certify/mnist5k --alpha=0.01 --output=runs/certify/mnist5k_alpha01
  certify.py recertify runs/certify/mnist5k --tau=0.75 --output=runs/certify/mnist5k_tau75

No network is loaded and nothing is drawn: votes do not depend on alpha or tau. The new run is the one that "run" would
have written with these settings, bit for bit, and can be audited, attacked and compared like it. The run itself is
audited first, and not changed.

What holds: each run at its own alpha, if alpha and tau were fixed before anyone looked at what these counts certify.
Several such runs hold together at the sum of their alphas. What does not hold: the best of several, chosen after
looking. For a smaller alpha that you chose after looking, certify again with another --seed. The record of the new run
says the same.

More samples cannot be added here; see docs/stopping.md."""


def add_recertify_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py recertify``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("directory", type=str, help="Output directory of certify.py run.")
    parser.add_argument("--output", type=str | Path | None, required=True, help="Directory of the new run.")
    parser.add_function_arguments(recertify, as_group=False, skip={"directory", "output", "imports"})
    add_import_word(parser)


def recertify_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Certify again, and print the path of the report.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.
    """
    names = ("directory", "output", "alpha", "tau", "overwrite")
    directory = recertify(**{name: config[name] for name in names}, imports=config["import"])
    sys.stdout.write(f"{directory.report}\n{directory.table}\n")
