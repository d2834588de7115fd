"""``certify.py covers``: whether particular changed images are covered by a finished run."""

import json
import math
import sys
from collections.abc import Sequence

from jsonargparse import Namespace

from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.output import on_stdout
from lit_certattr.cli.words import add_import_word
from lit_certattr.jobs import Covered, covers
from lit_certattr.jobs.covering import in_words
from lit_certattr.statistics.rounding import at_most

COVERS_HELP = """Ask of one certified image: is this particular changed image covered, and what holds for it?

Examples:
  certify.py covers runs/certify/brightness --image=chelsea --changed=brighter.png
  certify.py covers runs/certify/folder --image=ward_3__scan --changed=re_exposed/ --json=true

The id of an image is the name under which the report shows it: for a folder of images its path in the folder, with "__"
for "/" (cat.jpg, ward_3__scan.png). The ending may be left out where only one image is meant: cat for cat.jpg.

For each changed image and each certificate the command prints the length of the change in the budget of the run, how
the change splits into amounts (of brightness, of exposure, ..., and a rest), how many of the certified statements hold
for the changed image, and why not more. Nothing is sampled and no network is loaded: a certificate knows its budget.

Image files are loaded as the run loaded its images: scaled to the same size, with the same crop and white level. Give
--crop=1 if the files already have that size. A .npy file with an array [C, H, W] in [0, 1] is taken as it is.

"length inf" means that no radius covers the change. A real photograph is rounded to 8 bits and clipped at white, so it
is a change of exposure plus a rest, which only some budgets cover: see docs/budgets.md."""


def add_covers_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py covers``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("directory", type=str, help="Output directory of certify.py run.")
    parser.add_argument("--image", type=str, required=True, help="Id of the certified image.")
    parser.add_argument(
        "--changed", type=str, nargs="+", required=True, metavar="FILE", help="Changed images: files or folders."
    )
    parser.add_function_arguments(covers, as_group=False, skip={"directory", "image", "changed", "imports"})
    parser.add_argument("--json", type=bool, default=False, help="Print JSON; a length that is infinite is null.")
    add_import_word(parser)


def covers_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Print what is covered.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.
    """
    names = ("directory", "image", "changed", "crop", "white_level")
    found = covers(**{name: config[name] for name in names}, imports=config["import"])
    if config.json:
        sys.stdout.write(json.dumps([_plain(one) for one in found], indent=2) + "\n")
    else:
        _print(found)


def _plain(one: Covered) -> dict[str, object]:
    values = one._asdict() | {"split": dict(one.split)}
    return values | {"length": one.length if math.isfinite(one.length) else None}


def _print(found: Sequence[Covered]) -> None:
    console = on_stdout()
    for file in dict.fromkeys(one.file for one in found):
        console.print(file, markup=False)
        own = [one for one in found if one.file == file]
        for split in dict.fromkeys(in_words(one.split) for one in own if one.split):
            console.print(f"  {split}", markup=False)
        for one in own:
            holds = "" if one.holds is None else f": {one.holds} of {one.certified} certified statements hold"
            reason = f" ({one.reason})" if one.reason else ""
            console.print(f"  {one.certificate}: length {at_most(one.length)}{holds}{reason}", markup=False)
