"""``certify.py merge``: several finished runs of different images as one."""

import sys
from pathlib import Path

from jsonargparse import Namespace

from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.words import add_import_word
from lit_certattr.jobs import merge

MERGE_HELP = """Merge finished runs of different images into one run.

Examples:
  certify.py run --config configs/certify/mnist5k.yaml --part=1/2 --output=runs/parts/1
  certify.py run --config configs/certify/mnist5k.yaml --part=2/2 --output=runs/parts/2
  certify.py merge runs/parts/1 runs/parts/2 --output=runs/mnist5k

The merged run is the one that "run" would have written for all images, byte for byte, except provenance.json, which
names the runs that it was made of. It can be audited, attacked and compared like any run. Each run is audited first,
and not changed.

Everything that binds a certificate must be the same in all runs: network, method, noise, seed, certificates with their
alpha, samples, precision, kind of device, threads, version of torch; what differs is named in one line. An image may
occur in several runs if it is the same in all of them. All parts of --part must be there."""


def add_merge_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py merge``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("directories", type=str, nargs="+", help="Output directories of certify.py run.")
    parser.add_argument("--output", type=str | Path | None, required=True, help="Directory of the merged run.")
    parser.add_function_arguments(merge, as_group=False, skip={"directories", "output", "imports"})
    add_import_word(parser)


def merge_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Merge, and print the path of the report.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.
    """
    directory = merge(config.directories, config.output, config.overwrite, imports=config["import"])
    sys.stdout.write(f"{directory.report}\n{directory.table}\n")
