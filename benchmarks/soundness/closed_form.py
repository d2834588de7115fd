"""Maps whose smoothed values are known exactly at every point: there the worst attack is known, too.

Votes that move as fast as the theorems allow, overlaps whose every pixel moves at once, and maps that turn as far as
the noise lets them: the hardest functions there are. So the certificates are compared with the truth, not with an
estimate of it.
"""

import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor, nn

from lit_certattr.attribution import Attribution
from lit_certattr.certificates.cosine_bounds import radius_over_sigma
from lit_certattr.regions import Regions
from lit_certattr.smoothing import GaussianNoise, UniformBallNoise

Array = npt.NDArray[np.float64]


class Pairs(nn.Module):
    r"""A quadratic network on pairs of pixels :math:`z_i, z'_i`, whose votes are known.

    The logit of class 0 is :math:`\sum_i a_i t_i^2 / 2 + b_i t_i` with :math:`t_i = z_i - z'_i`. Its gradient is
    :math:`a_i t_i + b_i` at one pixel of a pair and its negative at the other. The signed map has exactly one positive
    pixel in each pair; the top half of the map *is* the positive pixels, and the vote of a pixel under Gaussian noise
    is :math:`p_i = \Phi((a_i t_i + b_i) / (|a_i| \sigma \sqrt 2))`, exactly, at every point. Moving along
    :math:`(1, -1) / \sqrt 2` in the pair moves :math:`\Phi^{-1}(p_i)` by the distance over sigma: the fastest that any
    function allows.

    Args:
        curvature: :math:`a_i`, ``[P]``, not zero.
        slope: :math:`b_i`, ``[P]``.
        sigma: Standard deviation of the noise under which the votes are meant.
    """

    curvature: Tensor
    slope: Tensor

    def __init__(self, curvature: Array, slope: Array, sigma: float) -> None:
        super().__init__()
        self.register_buffer("curvature", torch.as_tensor(curvature, dtype=torch.float32))
        self.register_buffer("slope", torch.as_tensor(slope, dtype=torch.float32))
        self.sigma = sigma

    @classmethod
    def with_votes(cls, image: Tensor, votes: Array, curvature: Array, sigma: float) -> "Pairs":
        """The network whose first pixels of the pairs have these votes ``[P]`` at an image ``[1, 2, P]``."""
        t = (image[0, 0] - image[0, 1]).double().numpy()
        return cls(curvature, np.abs(curvature) * sigma * 2**0.5 * norm.ppf(votes) - curvature * t, sigma)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 2]`` of images ``[B, 1, 2, P]``."""
        t = images[:, 0, 0] - images[:, 0, 1]
        logit = (self.curvature * t.square() / 2 + self.slope * t).sum(1)
        return torch.stack([logit, -logit], 1)

    def votes(self, image: Tensor) -> Array:
        """True votes ``[2, P]`` at an image, float64."""
        t = (image[0, 0] - image[0, 1]).double().numpy()
        a, b = self.curvature.double().numpy(), self.slope.double().numpy()
        p = norm.cdf((a * t + b) / (np.abs(a) * self.sigma * 2**0.5))
        return np.stack([p, 1 - p])


class PooledPairs(nn.Module):
    r"""Pairs of regions: :class:`Pairs` of the means over blocks of 2 x 2 pixels, with a texture that no region sees.

    The sum of the gradient over a block is the gradient of the pairs; within a block the texture, which adds up to 0,
    makes the pixels differ. The noise of a mean is half of that of a pixel, and the worst direction spreads over the
    eight pixels of a pair of blocks, so the quantile of a vote again moves by the distance over sigma.

    Args:
        pairs: The network of the means, for half of the noise.
        texture: Slopes of the pixels, ``[4, 2 P]``.
    """

    texture: Tensor

    def __init__(self, pairs: Pairs, texture: Array) -> None:
        super().__init__()
        blocks = torch.as_tensor(texture, dtype=torch.float32)
        mean = nn.functional.avg_pool2d(blocks[None], 2)[0]
        self.pairs = pairs
        self.register_buffer("texture", blocks - mean.repeat_interleave(2, 0).repeat_interleave(2, 1))

    @classmethod
    def with_votes(cls, image: Tensor, votes: Array, curvature: Array, sigma: float, texture: Array) -> "PooledPairs":
        """The network whose first blocks of the pairs have these votes ``[P]`` at an image ``[1, 4, 2 P]``."""
        means = nn.functional.avg_pool2d(image, 2)
        return cls(Pairs.with_votes(means, votes, curvature, sigma / 2), texture)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 2]`` of images ``[B, 1, 4, 2 P]``."""
        slope = (images[:, 0] * self.texture).sum((1, 2))
        logits: Tensor = self.pairs(nn.functional.avg_pool2d(images, 2))
        return logits + torch.stack([slope, -slope], 1)

    def votes(self, image: Tensor) -> Array:
        """True votes ``[2, P]`` of the blocks at an image ``[1, 4, 2 P]``, float64."""
        return self.pairs.votes(nn.functional.avg_pool2d(image.double(), 2))


class Blocks(Regions):
    """Blocks of 2 x 2 pixels, row by row."""

    of_image: ClassVar[bool] = False

    def __call__(self, image: Tensor, image_id: str) -> Tensor:
        """See :class:`Regions`."""
        rows, columns = (torch.arange(side) // 2 for side in image.shape[-2:])
        return rows[:, None] * (image.shape[-1] // 2) + columns


class OwnValues(Attribution):
    """The map of an image is the image: its pixels under noise are normal, each moves with its own pixel alone."""

    def __init__(self) -> None:
        super().__init__("sum")

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """See :class:`Attribution`."""
        return images[:, 0]


class HalfSpaces(Attribution):
    """0/1 maps with K ones, by the first value of the image alone: as it grows, insiders leave and outsiders enter.

    Every pixel moves as fast as any function can, and all of them at once: at distance r along the first value each
    mean is at the end of what Neyman and Pearson leave of it, so no perturbation displaces more pixels. An outsider
    takes the place of each insider that leaves.

    Args:
        means: Means ``[K]`` of the insiders, in (0, 1), at the image whose first value is 0.
        sigma: Standard deviation of the Gaussian noise.
    """

    def __init__(self, means: Array, sigma: float) -> None:
        super().__init__("sum")
        self.sigma = sigma
        self.cut = torch.from_numpy(sigma * norm.ppf(means)).float()

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """See :class:`Attribution`; maps ``[B, 2, K]``: insiders, outsiders."""
        stays = images[:, 0, 0, :1] <= self.cut
        return torch.stack([stays, ~stays], 1).float()

    def smoothed(self, distance: float) -> Array:
        """The smoothed map ``[2, K]`` at this signed distance along the first value, exact."""
        p = norm.cdf((self.cut.double().numpy() - distance) / self.sigma)
        return np.stack([p, 1 - p])


class ThreeRegions(Attribution):
    """Maps of length 1 whose smoothed map turns as far as any can when the noise moves by one certain shift.

    The map depends on where the noisy image lies: in the ball of noise around the image alone, in that around the
    shifted image alone, or in both. With the means of :func:`worst_parts` in these regions the cosine is smallest.

    Args:
        law: Noise law.
        length: Norm of the smoothed map at the image.
        variation: Total variation of the shift.
        shape: Shape ``(1, H, W)`` of the images, all of whose values are 0.5 at the image in question.
    """

    def __init__(self, law: UniformBallNoise, length: float, variation: float, shape: tuple[int, int, int]) -> None:
        super().__init__("sum")
        self.law, self.norm, self.variation, self.shape = law, length, variation, shape
        self.dimension = math.prod(shape)
        self.shift = law.sigma * radius_over_sigma(law, variation, self.dimension)
        self.parts = [torch.as_tensor(part) for part in worst_parts(length, variation)]

    def region(self, images: Tensor) -> Tensor:
        """0 where both balls are, 1 in that of x alone, 2 in that of x + delta alone."""
        before = images.flatten(1).double() - 0.5
        after = before.clone()
        after[:, 0] -= self.shift
        first, second = before.norm(dim=1), after.norm(dim=1)
        radius = self.law.ball_radius(self.dimension)
        return torch.where(second > radius, 1, torch.where(first > radius, 2, 0))

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """See :class:`Attribution`."""
        plane = torch.stack(self.parts)[self.region(images)]
        maps = torch.zeros(len(images), self.dimension, dtype=torch.float64)
        maps[:, :2] = plane
        # The sign of an orthogonal coordinate is fair and independent of the region: the rest averages out.
        sign = torch.where(images.flatten(1)[:, 1] >= 0.5, 1.0, -1.0).double()
        maps[:, 2] = sign * (1 - plane.square().sum(1)).clamp(min=0).sqrt()
        return maps.view(-1, *self.shape[1:])

    def smoothed(self) -> tuple[Array, Array]:
        """The smoothed maps at x and at x + delta, in the plane."""
        (common, before, after), q = (part.numpy() for part in self.parts), self.variation
        return (1 - q) * common + q * before, (1 - q) * common + q * after

    def cosine(self) -> float:
        """Their cosine: the smallest that there is."""
        h, moved = self.smoothed()
        return float(h @ moved / np.linalg.norm(h) / np.linalg.norm(moved))


class GradualTurn(Attribution):
    r"""Unit maps in a plane whose smoothed map under Gaussian noise turns as far as any can for one certain shift.

    The map depends on one coordinate t of the noise: it points from :math:`e^{i\psi}` to :math:`v(t) = e^{s(t - y)}`,
    with s the shift over sigma and y such that the smoothed map of the shifted image is perpendicular to the real axis.
    Its two smoothed values are integrals in one variable, computed here by a general routine.

    Args:
        law: Noise law.
        length: Shift over sigma, positive.
        psi: Angle in (0, pi/2); the larger it is, the longer is the smoothed map.
        shape: Shape ``(1, H, W)`` of the images, whose first value is 0.5 at the image in question.
    """

    def __init__(self, law: GaussianNoise, length: float, psi: float, shape: tuple[int, int, int]) -> None:
        super().__init__("sum")
        self.length, self.psi, self.shape, self.sigma = length, psi, shape, law.sigma
        self.shift = law.sigma * length
        self.place = 0.0
        self.place = float(brentq(self._along, length, 1.5 * length - math.log(math.cos(psi)) / length, xtol=1e-13))

    def _along(self, place: float) -> float:
        self.place = place
        return self._mean(0, self.length)

    def _plane(self, t: Array) -> Array:
        """Map in the plane at the noise t, ``[..., 2]``."""
        along = np.exp(np.minimum(self.length * (t - self.place), 600.0)) - math.cos(self.psi)
        return (
            np.stack([along, np.full_like(along, -math.sin(self.psi))], -1)
            / np.hypot(along, math.sin(self.psi))[..., None]
        )

    def _mean(self, axis: int, shift: float) -> float:
        """Mean of one coordinate of the map under noise that is moved by ``shift`` standard deviations."""
        turn = self.place
        value, _ = quad(
            lambda t: float(self._plane(np.array(t))[axis]) * float(norm.pdf(t - shift)),
            min(-9.0, turn),
            max(9.0 + shift, turn),
            points=[0.0, shift, turn],
            limit=500,
            epsabs=1e-13,
            epsrel=1e-13,
        )
        return float(value)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """See :class:`Attribution`."""
        maps = torch.zeros(len(images), math.prod(self.shape), dtype=torch.float64)
        noise = (images.flatten(1)[:, 0].double() - 0.5) / self.sigma
        maps[:, :2] = torch.from_numpy(self._plane(noise.numpy()))
        return maps.view(-1, *self.shape[1:])

    def smoothed(self) -> tuple[Array, Array]:
        """The smoothed maps at x and at x + delta, in the plane."""
        here, moved = ([self._mean(axis, shift) for axis in (0, 1)] for shift in (0.0, self.length))
        return np.array(here), np.array(moved)

    def cosine(self) -> float:
        """Their cosine: the smallest that there is for maps whose smoothed map is as long as this one."""
        h, moved = self.smoothed()
        return float(h @ moved / np.linalg.norm(h) / np.linalg.norm(moved))


def worst_parts(length: float, variation: float) -> tuple[Array, Array, Array]:
    """Means in the plane (in both regions, in that of x alone, in that of x + delta alone) of the worst signed map.

    Args:
        length: Norm of the smoothed map, above twice the variation.
        variation: Total variation, positive.
    """

    def unit(angle: float) -> Array:
        return np.array([math.cos(angle), math.sin(angle)])

    k, q = length, variation
    rho = math.sqrt(k * k - 3 * q * q) if k * k <= 1 - 2 * q + 4 * q * q else 1 - q
    alpha = math.acos(min(1.0, (k * k + rho * rho - q * q) / (2 * k * rho)))
    p = rho * unit(alpha)
    return p / (1 - q), (np.array([k, 0.0]) - p) / q, unit(alpha + math.asin(q / rho) + math.pi / 2)
