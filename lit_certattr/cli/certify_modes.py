"""``certify.py modes``: modes of a nuisance from the user's own pictures."""

import sys

from jsonargparse import Namespace

from lit_certattr.cli.errors import OneLineParser
from lit_certattr.jobs import FittedModes, fit_modes
from lit_certattr.statistics.rounding import percent_at_least

MODES_HELP = """Fit modes of a nuisance to your own pictures, for NuisanceNoise(images=..., images_tau=...).

Examples:
  certify.py modes exposure_series --output=modes.npy
  certify.py modes pairs --series=2 --output=modes.npy --count=1 --size=128 --channels=1

Take several pictures of the same scenes under what may vary: another lamp, another scanner, another time of the day.
Put the pictures of each scene into a sub-folder of its own; or number the files so that those of a scene follow each
other, and give --series. The command subtracts the mean of each scene, and computes the principal components of what is
left: the fields along which your pictures vary most. It prints the share of the variance that each explains, and the
standard deviation of their amounts, tau. Set size, channels and crop as in the run.

A certificate for noise with these modes covers every change along them up to a length, whatever caused it, and nothing
else: what your pictures do not show is not in the modes. tau as strength means noise as strong as the variation in your
pictures; a larger one certifies more of it, if the network bears it."""


def add_modes_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py modes``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("folder", type=str, help="Folder with one sub-folder of pictures for each scene.")
    parser.add_function_arguments(fit_modes, as_group=False, skip={"folder"})


def modes_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Fit the modes, and print what they explain.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.
    """
    _print(fit_modes(**vars(config)))


def _print(fitted: FittedModes) -> None:
    lines = [f"{fitted.num_images} pictures of {fitted.num_scenes} scenes"]
    for number, share in enumerate(fitted.shares, start=1):
        lines.append(f"mode {number}: {percent_at_least(share)} % of the variance")
    lines += [
        f"together: {percent_at_least(min(1.0, sum(fitted.shares)))} %",
        f"{fitted.path}, SHA-256 {fitted.sha256}",
        f"NuisanceNoise: images: {fitted.path}, images_tau: {fitted.tau:.4g}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
