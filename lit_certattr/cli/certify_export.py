"""``certify.py export``: the table of one finished run."""

import sys

from jsonargparse import Namespace

from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.words import add_import_word
from lit_certattr.errors import InputError
from lit_certattr.jobs import export

EXPORT_HELP = """Print the table of a finished run as LaTeX, Markdown, CSV or PDF.

Examples:
  certify.py export runs/certify/mnist5k --format=latex > table.tex
  certify.py export runs/certify/mnist5k --format=csv --per_image --output=images.csv
  certify.py export runs/certify/mnist5k --format=pdf --output=run.pdf

Every number is a mean over the images, with its interval over the images and, where it is known, the value of pure
noise; --per_image gives the numbers of each image. Certified numbers are rounded down, and CSV has all their digits.
LaTeX needs the package booktabs. The PDF has what is certified, the table and the curves; it needs no browser."""


def add_export_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py export``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("directory", type=str, help="Output directory of certify.py run.")
    parser.add_argument("--config", action="config", help="YAML file of settings; may be given several times.")
    parser.add_function_arguments(export, as_group=False, skip={"directory", "imports"})
    add_import_word(parser)


def export_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Export, and print the table or the name of its file.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.

    Raises:
        InputError: If a PDF has no file to go to.
    """
    if config.format == "pdf" and config.output is None:
        raise InputError("a pdf needs a file: give --output=FILE.pdf")
    arguments = {name: value for name, value in vars(config).items() if name not in ("config", "import")}
    content = export(**arguments, imports=config["import"])
    sys.stdout.write(content.decode() if config.output is None else f"{config.output}\n")
