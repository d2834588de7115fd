"""What the stability term of a denoiser's training changes, for the network that it names and for another one.

python -m benchmarks.stability    # two minutes on one core

Digits of 8 x 8 pixels. Two classifiers are trained without noise; the first is named in the training of the denoiser,
the second sees its results only. All numbers are of the test images, 20 noisy copies each.
"""

import logging
from collections.abc import Iterator
from statistics import mean, stdev
from typing import NamedTuple

import torch
from lightning import Trainer, seed_everything
from torch import Tensor, nn

from lit_certattr.data import Digits, SampleSet
from lit_certattr.models import SmallCNN, UNetDenoiser
from lit_certattr.modules import DenoiserTraining, RobustClassifier
from lit_certattr.modules.training import TrainingModule
from lit_certattr.objectives import CrossEntropy

SIGMAS = (0.25, 0.5)
WEIGHTS = (0.0, 0.003, 0.03, 0.3)
SEEDS = range(5)
EPOCHS, COPIES = 20, 20


class Row(NamedTuple):
    """One denoiser at one noise level; accuracies are shares of the noisy copies whose label is predicted."""

    weight: float
    sigma: float
    psnr: float
    named: float
    other: float


def trained(module: TrainingModule, data: Digits) -> nn.Module:
    """The network of a module after its training."""
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    return module.trained.eval()


def classifier(seed: int, width: int) -> nn.Module:
    """A classifier that was trained without noise."""
    seed_everything(seed, verbose=False)
    network = SmallCNN(image_size=8, width=width)
    return trained(RobustClassifier(network, CrossEntropy()), Digits(batch_size=64))


def denoiser(seed: int, network: nn.Module, weight: float) -> nn.Module:
    """A denoiser that was trained with the stability term of a network."""
    seed_everything(seed, verbose=False)
    module = DenoiserTraining(
        UNetDenoiser(channels=1, width=16, patch=1),
        network=network,
        stability=weight,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.002),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS),
    )
    return trained(module, Digits(batch_size=64))


def judged(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of the images whose label is predicted."""
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).float().mean())


def rows(test: SampleSet) -> Iterator[Row]:
    """One row for each seed, weight and noise level; a weight of infinity stands for no denoiser at all."""
    images = torch.stack([test[index].image for index in range(len(test))]).repeat(COPIES, 1, 1, 1)
    labels = torch.tensor(test.targets).repeat(COPIES)
    for seed in SEEDS:
        named, other = classifier(100 + seed, 32), classifier(200 + seed, 24)
        denoisers = {weight: denoiser(seed, named, weight) for weight in WEIGHTS}
        for sigma in SIGMAS:
            noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
            noisy = images + sigma * noise
            for weight, clean in {float("inf"): nn.Identity(), **denoisers}.items():
                with torch.no_grad():
                    found = clean(noisy)
                psnr = float(-10 * (found - images).square().mean().log10())
                yield Row(weight, sigma, psnr, judged(named, found, labels), judged(other, found, labels))


def main() -> None:
    """Print the table."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = Digits()
    data.setup("test")
    assert data.test_set is not None
    found = list(rows(data.test_set))
    accuracies = ("noisy accuracy of the named network", "difference", "of another network", "difference")
    print(f"| sigma | stability | PSNR | {' | '.join(accuracies)} |")
    print("|---|---|---|---|---|---|---|")
    for sigma in SIGMAS:
        own = {
            weight: [row for row in found if (row.weight, row.sigma) == (weight, sigma)]
            for weight in (float("inf"), *WEIGHTS)
        }
        for weight, group in own.items():
            name = "no denoiser" if weight == float("inf") else f"{weight:g}"
            cells = [f"{mean(row.psnr for row in group):.2f}"]
            for column in ("named", "other"):
                values = [getattr(row, column) for row in group]
                change = [value - getattr(row, column) for value, row in zip(values, own[0.0], strict=True)]
                cells += [f"{mean(values):.3f}"]
                cells += [f"{mean(change):+.3f} ± {stdev(change) / len(change) ** 0.5:.3f}" if weight > 0 else ""]
            print(f"| {sigma} | {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
