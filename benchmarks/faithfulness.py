"""Faithfulness, localisation and informativeness of attribution maps, each beside maps that saw no network.

    python -m benchmarks.faithfulness removal --images 100
    python -m benchmarks.faithfulness grid --images 40 --samples 256
    python -m benchmarks.faithfulness information --images 500

A residual network of 8 layers that takes images of any size is trained on 4,000 digits of MNIST with noise, and
explained on its test images; all seeds are fixed. `removal`: deletion, insertion, max-sensitivity, infidelity. `grid`:
the grid pointing game on 2 x 2 mosaics of test digits, plain and certified, and certified deletion. `information`:
overlap of the maps of different images, the randomisation check, the random logit and the sparseness.
"""

import argparse

import torch
from torch import Tensor, nn

from lit_certattr import Certifier
from lit_certattr.attribution import (
    Attribution,
    GradCAM,
    Gradient,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
)
from lit_certattr.certificates import PixelCertificate, PixelResult
from lit_certattr.data import GridMosaics, MNIST5k
from lit_certattr.metrics import CertifiedDeletion, CertifiedGridPG, Deletion, GridPG, Infidelity, Insertion
from lit_certattr.metrics.functional import (
    GaussianOffset,
    certified_deletion,
    class_overlap,
    deletion,
    infidelity,
    insertion,
    max_sensitivity,
    parameter_randomisation,
    random_logit,
    sparseness,
)
from lit_certattr.models import CifarResNet
from lit_certattr.smoothing import GaussianNoise

SIGMA = 0.25
TOP_K = (0.25, 0.1, 0.05)


class Edges(Attribution):
    """Differences of neighbouring pixels: a method that never asks the network."""

    def __init__(self) -> None:
        super().__init__("sum_abs")

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """See :class:`Attribution`."""
        return self.reduce(torch.diff(images, dim=3, append=images[..., -1:]))


METHODS: dict[str, Attribution] = {
    "gradient": Gradient(),
    "gradient, signed": Gradient(channels="sum"),
    "guided backpropagation": GuidedBackprop(),
    "image x gradient, signed": InputXGradient(channels="sum"),
    "integrated gradients, signed": IntegratedGradients(channels="sum"),
    "Grad-CAM": GradCAM(),
    "edges (no network)": Edges(),
}


def trained() -> tuple[nn.Module, MNIST5k]:
    """The network, and the data whose test images are explained."""
    torch.manual_seed(0)
    data, network = MNIST5k(batch_size=64), CifarResNet(depth=8, width=8, in_channels=1, mean=(0.13,), std=(0.31,))
    data.setup("fit")
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(4):
        for batch in data.train_dataloader():
            optimizer.zero_grad()
            images = batch.image + SIGMA * torch.randn_like(batch.image)  # so that certificates can say something
            nn.functional.cross_entropy(network(images), torch.as_tensor(batch.target)).backward()
            optimizer.step()
    return network.eval(), data


def test_images(data: MNIST5k, count: int) -> tuple[Tensor, list[str]]:
    """The first test images (a class-balanced choice) and their ids."""
    samples = [data.predict_set[index] for index in range(min(count, len(data.predict_set)))]
    return torch.stack([sample.image for sample in samples]), [str(sample.id) for sample in samples]


def predicted(network: nn.Module, images: Tensor) -> Tensor:
    """Predicted classes."""
    with torch.no_grad():
        classes: Tensor = network(images).argmax(1)
        return classes


def removal(arguments: argparse.Namespace) -> None:
    """Deletion, insertion, sensitivity and infidelity of each method."""
    network, data = trained()
    images, ids = test_images(data, arguments.images)
    targets = predicted(network, images)
    print(
        "| method | deletion | insertion | max-sensitivity | infidelity of the best multiple |\n|---|---|---|---|---|"
    )
    for name, method in METHODS.items():
        maps = method(network, images, targets)
        removed, inserted, errors = Deletion(steps=28), Insertion(steps=28), Infidelity()
        removed.update(deletion(network, images, maps, targets, steps=28, ids=ids))
        inserted.update(insertion(network, images, maps, targets, steps=28, ids=ids))
        errors.update(
            infidelity(network, images, maps, targets, perturbation=GaussianOffset(0.1), normalize=True, ids=ids)
        )
        moved = max_sensitivity(network, images, targets, method, radius=0.25, num_samples=20, ids=ids).mean()
        share = errors.compute()["infidelity"] / errors.compute()["infidelity_zero"]
        areas = f"{removed.compute()['deletion']:.3f} | {inserted.compute()['insertion']:.3f}"
        print(f"| {name} | {areas} | {moved:.3f} | {share:.3f} |", flush=True)
    for label in ("centre", "random"):
        areas = f"{removed.compute()[f'deletion_{label}']:.3f} | {inserted.compute()[f'insertion_{label}']:.3f}"
        cell = (
            ""
            if label == "random"
            else f"{errors.compute()['infidelity_centre'] / errors.compute()['infidelity_zero']:.3f}"
        )
        print(f"| *{label}* | {areas} | {'0' if label == 'centre' else ''} | {cell} |")


def grid(arguments: argparse.Namespace) -> None:
    """The grid pointing game, plain and certified, and certified deletion on the same mosaics."""
    network, data = trained()
    mosaics = GridMosaics(data, network, num_grids=arguments.images // 4, min_confidence=0.99)
    mosaics.setup("predict")
    samples = [mosaics.predict_set[index] for index in range(len(mosaics.predict_set))]
    images, ids = torch.stack([sample.image for sample in samples]), [str(sample.id) for sample in samples]
    targets = torch.tensor([int(sample.target) for sample in samples])
    level = TOP_K.index(0.1)
    print(f"{len(samples)} maps of {len(samples) // 4} mosaics; K = 10 % of the pixels, sigma = {SIGMA}")
    print("| method | GridPG | certified GridPG | support, pixels | no support | certified deletion | removed |")
    print("|---|---|---|---|---|---|---|")
    for name in ("gradient", "image x gradient, signed", "Grad-CAM", "edges (no network)"):
        plain, certified, removed = GridPG(), CertifiedGridPG(level=level), CertifiedDeletion(top_k=TOP_K)
        plain.update(METHODS[name](network, images, targets), mosaics.cells)
        certificate = PixelCertificate(top_k=TOP_K)
        certifier = Certifier(METHODS[name], GaussianNoise(SIGMA), [certificate], arguments.samples, batch_size=64)
        held = [result["pixel"] for result in certifier(network, images, targets, ids)]
        results = [result for result in held if isinstance(result, PixelResult)]
        certified.update(results, mosaics.cells)
        removed.update(certified_deletion(network, images, results, targets, ids=ids))
        found, area = certified.compute(), removed.compute()
        print(
            f"| {name} | {plain.compute()['gridpg']:.3f} | {found['certified_gridpg']:.3f} "
            f"| {found['certified_gridpg_support']:.1f} of {results[0].sizes[level]} "
            f"| {found['certified_gridpg_no_support']:.0%} | {area['certified_deletion']:.3f} (as many from the centre "
            f"{area['certified_deletion_centre']:.3f}, at random {area['certified_deletion_random']:.3f}) "
            f"| {area['certified_deletion_removed']:.1%} |",
            flush=True,
        )


def information(arguments: argparse.Namespace) -> None:
    """Overlap of the maps of different images, and what is left of each map after randomisation."""
    network, data = trained()
    images, ids = test_images(data, arguments.images)
    targets = predicted(network, images)
    print(
        "| method | same class | different class | Spearman, logits | all layers | random logit (chance) | sparseness |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, method in METHODS.items():
        parts = zip(images.split(64), targets.split(64), strict=True)
        maps = torch.cat([method(network, group, labels) for group, labels in parts])
        overlap, concentration = class_overlap(maps, targets), sparseness(maps)
        found = parameter_randomisation(network, images[:50], targets[:50], method).spearman_absolute.nanmean(1)
        other = random_logit(network, images[:50], targets[:50], method, ids=ids[:50])
        print(
            f"| {name} | {overlap.same:.3f} | {overlap.different:.3f} | {found[1]:.2f} | {found[-1]:.2f} "
            f"| {other.map.nanmean():.2f} ({other.chance.nanmean():.2f}) | {concentration.map.nanmean():.2f} |",
            flush=True,
        )
    chance = f"{overlap.chance:.3f} | {overlap.chance:.3f} | 0 | 0 | | {concentration.random[0]:.2f}"
    print(f"| *chance* | {chance} |\n| *image centre* | | | | | | {concentration.centre[0]:.2f} |")


def main() -> None:
    """Read the command line and print one table."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["removal", "grid", "information"])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--samples", type=int, default=256)
    arguments = parser.parse_args()
    {"removal": removal, "grid": grid, "information": information}[arguments.what](arguments)


if __name__ == "__main__":
    main()
