"""Smoothed maps of a tiny ReLU network, enclosed without sampling by interval bounds on boxes of the input space.

On a box the pre-activations lie in intervals (exact for one linear layer), so do the activation patterns, and so does
every entry of the gradient map. Where that decides which pixels are in the top K, the box counts with its Gaussian
probability, which is known; boxes that are undecided are halved in every direction, and in the end count for both.
"""

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor, nn


class Tiny(nn.Module):
    """Images ``[B, 1, 1, 3]`` to two logits: one hidden layer of ReLUs."""

    def __init__(self, seed: int, hidden: int = 5) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.inner, self.outer = nn.Linear(3, hidden), nn.Linear(hidden, 2)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.outer(torch.relu(self.inner(images.flatten(1))))
        return logits


class Enclosure:
    """Boxes around an image ``[1, 1, 3]``, and what the signed gradient map of class 0 is on them.

    What lies more than six sigma away in some direction is left undecided; it has hardly any probability.
    """

    def __init__(self, network: Tiny, image: Tensor, sigma: float, depth: int = 4, start: int = 12) -> None:
        self.weight, self.bias = (p.detach().double().numpy() for p in (network.inner.weight, network.inner.bias))
        self.terms = network.outer.weight.detach().double().numpy()[0][:, None] * self.weight  # [hidden, 3]
        self.sigma, x = sigma, image.double().numpy().ravel()
        side, half = 6 * sigma * np.linspace(-1, 1, 2 * start + 1)[1::2], 6 * sigma / start
        centres, parts = x + _grid(side), []
        for level in range(depth + 1):
            low, high = self.gradients(centres, half)
            fixed = (low == high).all(1)
            done = fixed | (np.linalg.norm(centres - x, axis=1) > 5 * sigma) | (level == depth)
            parts.append([values[done] for values in (centres, np.full(len(centres), half), low, high)])
            half /= 2
            centres = (centres[~done, None] + half * _grid(np.array([-1, 1]))).reshape(-1, 3)
        centres, halves, low, high = (np.concatenate(values) for values in zip(*parts, strict=True))
        corner, unit = x - 6 * sigma, 12 * sigma / (start * 2**depth)  # all edges lie on one fine grid
        self.edges = corner[:, None] + unit * np.arange(start * 2**depth + 1)
        first = np.rint((centres - halves[:, None] - corner) / unit).astype(int)
        self.ends = first.T, (first + np.rint(2 * halves[:, None] / unit).astype(int)).T
        self.members = [self.top(low, high, size) for size in (1, 2)]
        self.fixed = (low == high).all(1)
        self.unit = low / np.maximum(np.linalg.norm(low, axis=1, keepdims=True), 1e-300)

    def gradients(self, centres: np.ndarray, half: float) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest gradient ``[M, 3]`` on each box."""
        middle, width = centres @ self.weight.T + self.bias, np.abs(self.weight).sum(1) * half
        off, on = middle + width < 0, middle - width > 0  # surely inactive, surely active
        maybe = ~off & ~on
        sure = on @ self.terms
        return sure + maybe @ np.minimum(self.terms, 0), sure + maybe @ np.maximum(self.terms, 0)

    @staticmethod
    def top(low: np.ndarray, high: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Which pixels are surely in the top K on each box, and which are surely not."""
        others = ~np.eye(3, dtype=bool)
        rivals = ((high[:, None, :] >= low[:, :, None]) & others).sum(2)
        better = ((low[:, None, :] > high[:, :, None]) & others).sum(2)
        return rivals < size, better >= size

    def masses(self, point: Tensor) -> np.ndarray:
        """Probability of each box under the noise at a point."""
        below = ndtr((self.edges - point.double().numpy().ravel()[:, None]) / self.sigma)
        boxes: np.ndarray = np.prod(
            [row[last] - row[first] for row, first, last in zip(below, *self.ends, strict=True)], axis=0
        )
        return boxes

    def votes(self, point: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of the votes, ``[2, 3]`` each: of each pixel for the top 1 and the top 2."""
        mass = self.masses(point)
        return (
            np.stack([mass @ inside for inside, _ in self.members]),
            np.stack([1 - mass @ outside for _, outside in self.members]),
        )

    def mean(self, point: Tensor) -> tuple[np.ndarray, float]:
        """The mean of the maps, each scaled to length 1, ``[3]``, and how far from it the truth may be."""
        mass = self.masses(point)
        known = mass * self.fixed
        return known @ self.unit, 1 - known.sum()


def _grid(side: np.ndarray) -> np.ndarray:
    """Points ``[n^3, 3]`` of a cubic grid."""
    return np.stack(np.meshgrid(side, side, side, indexing="ij"), -1).reshape(-1, 3)
