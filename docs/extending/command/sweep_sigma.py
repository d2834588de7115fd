"""A command: certify the same images at several levels of noise, and print one table."""

import sys
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from jsonargparse import CLI
from torch import nn

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Attribution
from lit_certattr.certificates import PixelCertificate
from lit_certattr.cli.errors import one_line_errors
from lit_certattr.data import ImageDataModule
from lit_certattr.records.table import means
from lit_certattr.smoothing import GaussianNoise


def sweep(
    network: nn.Module,
    data: ImageDataModule,
    attribution: Attribution,
    sigmas: list[float],
    output: Path = Path("runs/sweep_sigma"),
    num_samples: int = 200,
) -> dict[float, float]:
    """Certify at each sigma.

    Args:
        network: Network from images in [0, 1] to logits.
        data: Images; their test set is certified.
        attribution: The method.
        sigmas: Standard deviations of the Gaussian noise, in pixel units.
        output: Folder of the runs, one directory each; a run that is there is resumed.
        num_samples: Noisy samples per image.

    Returns:
        For each sigma the mean certified radius of the top quarter of the pixels, over images and pixels.
    """
    found = {}
    for sigma in sigmas:
        certifier = Certifier(attribution, GaussianNoise(sigma), [PixelCertificate([0.25])], num_samples=num_samples)
        directory = jobs.run(certifier, data, network, output=str(output / f"sigma_{sigma}"), progress=False)
        found[sigma] = means(pq.read_table(directory.table))["certified/mean_radius_k25"]
    return found


if __name__ == "__main__":
    with one_line_errors("sweep_sigma.py"):
        yaml.safe_dump(CLI(sweep), sys.stdout)
