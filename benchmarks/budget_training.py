"""What training with a noise law gains in certified share at that law, on digits.

    python -m benchmarks.budget_training

A small network is trained on MNIST 5k for a few epochs with Gaussian noise, and once with each of the other laws (the
same seed, epochs and objective: ``NoiseAugmentation``). Both are certified under that law: the gradient by 14 x 14
regions, K = 50 %, alpha .001, on images that no network has seen. No attack: benchmarks.budgets has those.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from benchmarks.budget_changes import all_changes
from benchmarks.budgets import Effort, all_laws, certified, chosen, short
from lit_certattr.data import MNIST5k
from lit_certattr.models import SmallCNN
from lit_certattr.objectives import NoiseAugmentation
from lit_certattr.smoothing import Noise

CELLS = 7


def trained(data: MNIST5k, law: Noise, epochs: int) -> nn.Module:
    """A small network, trained with a noise law.

    Args:
        data: Data that were set up.
        law: The noise.
        epochs: Passes over the data.
    """
    torch.manual_seed(0)
    network, objective = SmallCNN(), NoiseAugmentation(law)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    loader = data.train_dataloader()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    for _ in range(epochs):
        for batch in loader:
            optimizer.zero_grad()
            objective(network, batch.image, torch.as_tensor(batch.target))[0].backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def accuracy(network: nn.Module, data: MNIST5k) -> float:
    """Share of test images without noise that are classified right."""
    right = total = 0
    with torch.no_grad():
        for batch in data.test_dataloader():
            right += int((network(batch.image).argmax(1) == torch.as_tensor(batch.target)).sum())
            total += len(batch.image)
    return right / total


def main() -> None:
    """Train, certify, print one line for each kind of change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--num_samples", type=int, default=1000, help="samples per image")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = MNIST5k(batch_size=64)
    data.setup("fit")
    data.setup("test")
    images = chosen(data, options.images)
    laws, effort = all_laws(CELLS), Effort(options.num_samples, 128, 0, 0, 0, 0)
    gaussian = trained(data, laws["l2 alone"], options.epochs)
    print("Noisy accuracy, certified share of K; trained with Gaussian noise > with the law\n")
    print("| change | noise | accuracy | noisy accuracy | certified at all | certified |\n" + "|---" * 6 + "|")
    for name, law in laws.items():
        changes = [change for change in all_changes(CELLS) if change.law == name]
        if not changes:
            continue
        networks = gaussian, trained(data, law, options.epochs)
        both = [certified(network, images, law, changes, effort) for network in networks]
        clean = _pair([accuracy(network, data) for network in networks])
        noisy, some = _pair([_mean(one.accuracy) for one in both]), _pair([_mean(one.any) for one in both])
        for change in changes:
            shares = _pair([_mean(one.rows[change.name].shares) for one in both])
            print(f"| {change.name} | `{short(law)}` | {clean} | {noisy} | {some} | {shares} |", flush=True)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _pair(values: Sequence[float]) -> str:
    return " > ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    main()
