r"""Blur: heat that spreads over the image for some time.

*Heat.* :math:`G_t` multiplies the cosine transform (DCT-II: borders that reflect) of each channel by
:math:`e^{-t (\omega_y^2 + \omega_x^2)}`. It is a semigroup, :math:`G_s G_t = G_{s+t}`, and a Gaussian blur with
standard deviation :math:`\sqrt{2t}` pixels. Sampled Gaussian kernels are none: with them the bound would be false.

*Votes.* Let :math:`h(x) = E f(G_T x)` with :math:`T \sim \mathrm{Exp}(\text{rate})` and f into [0, 1], and
:math:`x' = G_a x`. Then :math:`h(x') \ge 1 - e^{\text{rate}\, a} (1 - h(x))`. Proof: :math:`h(x') = E f(G_{T + a} x)
= E[f(G_T x) \mid T \ge a]`, since T has no memory, so :math:`1 - h(x') = E[(1 - f)(G_T x); T \ge a] / P[T \ge a] \le
e^{\text{rate}\, a} (1 - h(x))`. ∎ It is attained by f = 1 where T < a.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import ndtr
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.budget import Axis, Split, check_pair
from lit_certattr.budgets.orbit import INSIDE, OrbitBudget
from lit_certattr.budgets.votes import Array, VoteBounds
from lit_certattr.devices import constant, exact_dtype, onto
from lit_certattr.statistics.rounding import at_least, exact

_ROUNDING = 1e-12
_CLOSE = 1e-9  # relative width to which a time is sought, in squared pixels
_SHORTEST, _TIMES = 1e-8, 100  # times of the grid before it


class Waves(NamedTuple):
    """The cosine transform of one direction.

    Attributes:
        basis: Orthonormal cosines, float64 ``[n, n]``, one in each row.
        decay: Squared frequencies, float64 ``[n]``.
    """

    basis: Tensor
    decay: Tensor


@lru_cache(maxsize=8)
def waves(length: int) -> Waves:
    """Cosines (DCT-II) over one direction of an image.

    Args:
        length: Pixels in that direction.

    Example:
        >>> basis, decay = waves(4)
        >>> bool(torch.allclose(basis @ basis.T, torch.eye(4, dtype=torch.float64)))
        True
    """
    frequency = torch.pi * torch.arange(length, dtype=torch.float64) / length
    basis = torch.cos(frequency[:, None] * (torch.arange(length, dtype=torch.float64) + 0.5))
    return Waves(torch.nn.functional.normalize(basis), frequency.square())


def spectrum(images: Tensor) -> Tensor:
    """Cosine transform of each channel.

    Args:
        images: Images ``[..., H, W]``.

    Returns:
        The same shape and type.
    """
    rows, columns = _bases(images)
    return _products(rows, images, columns.T)


def after(transformed: Tensor, times: Tensor) -> Tensor:
    """Images after heat has spread for some time; differentiable.

    Args:
        transformed: Cosine transforms ``[b, C, H, W]`` of the images, or ``[1, C, H, W]`` of one for all times.
        times: Times ``[b]`` in squared pixels: half the variance of the blur.

    Returns:
        Images ``[b, C, H, W]``.
    """
    rows, columns = _bases(transformed)
    return _products(rows.T, _damped(transformed, times), columns)


def each_after(transformed: Tensor, times: Tensor) -> Tensor:
    """One image after heat has spread for some times, without gradients; its bits are those of each time alone.

    A product of a stack of matrices, as in :func:`after`, may depend on how many there are. NumPy multiplies them one
    by one, and quickly.

    Args:
        transformed: Cosine transform ``[C, H, W]`` of the image.
        times: Times ``[b]`` in squared pixels.

    Returns:
        Images ``[b, C, H, W]``.
    """
    damped = _damped(transformed[None], times)
    rows, columns = _bases(transformed)
    if transformed.device.type != "cpu":
        return torch.stack([_products(rows.T, one, columns) for one in damped])
    product = np.matmul(rows.T.contiguous().numpy(), damped.numpy())
    return torch.from_numpy(np.matmul(product, columns.numpy(), out=damped.numpy()))


def _bases(images: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines over rows and columns, in the type and on the device of images."""
    rows, columns = (constant(waves(length).basis, images, images.dtype) for length in images.shape[-2:])
    return rows, columns


def _products(left: Tensor, images: Tensor, right: Tensor) -> Tensor:
    """Matrix products of each channel in all bits: rounded to those of autocast or TF32, heat is no semigroup."""
    kind, dtype = images.device.type, torch.promote_types(images.dtype, torch.float32)
    try:
        coarse = torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # it was set for one backend
        coarse = True
    dtype = exact_dtype(images.device) if coarse else dtype
    with torch.autocast(kind, enabled=False):
        found: Tensor = left.to(dtype) @ images.to(dtype) @ right.to(dtype)
    return found.to(images.dtype)


def _damped(transformed: Tensor, times: Tensor) -> Tensor:
    """Cosine transforms ``[b, C, H, W]`` after some times ``[b]``."""
    decays = (constant(waves(length).decay, transformed, transformed.dtype) for length in transformed.shape[-2:])
    down, right = (torch.exp(-onto(times, transformed, transformed.dtype)[:, None] * decay) for decay in decays)
    return transformed * down[:, None, :, None] * right[:, None, None, :]


@attrs.frozen
class BlurVotes(VoteBounds):
    r"""Votes under blur: :math:`1 - e^{\text{rate}\, r^2 / 2} (1 - L)` after r pixels more.

    Attributes:
        rate: Rate of the time of the noise, per squared pixel.
    """

    rate: float

    @override
    def lower(self, vote: npt.ArrayLike, radii: npt.ArrayLike) -> Array:
        return np.asarray(1 - self.upper(np.maximum(1 - np.asarray(vote, np.float64), 0.0), radii))

    @override
    def upper(self, vote: npt.ArrayLike, radii: npt.ArrayLike) -> Array:
        growth = np.exp(np.minimum(self.rate * np.square(np.asarray(radii, np.float64)) / 2, 700))
        return np.asarray(np.minimum(np.asarray(vote, np.float64) * growth * (1 + _ROUNDING), 1.0))

    @override
    def reach(self, vote: float, level: float) -> float:
        if level <= 0:
            return math.inf
        ratio = (1 - level) / (1 - vote) if vote != 1 else math.inf  # NaN for NaN
        length = math.sqrt(2 * abs(math.log(ratio)) / self.rate) if 0 < ratio < math.inf else math.inf
        return length if ratio >= 1 else -length


@attrs.frozen
class BlurBudget(OrbitBudget):
    r"""Gaussian blur of the image; the length of a change is the standard deviation of the blur in pixels.

    Attributes:
        rate: Rate of the time of the noise, per squared pixel; its mean time 1/rate is a blur of
            :math:`\sqrt{2/\text{rate}}` pixels.
        sigma: Standard deviation of the pixel noise.
    """

    name = "blur"
    rate: float
    sigma: float = 0.0

    @property
    @override
    def typical(self) -> float:
        return math.sqrt(2 / self.rate)

    @property
    @override
    def votes(self) -> BlurVotes:
        return BlurVotes(self.rate)

    @property
    @override
    def measure(self) -> str:
        return "blur in pixels"

    @property
    @override
    def unit(self) -> str:
        return "blur (pixels)"

    @property
    @override
    def definition(self) -> str:
        return (
            "Only Gaussian blur of the image is covered: the heat flow with reflecting borders, before anything is "
            "rounded. The length of a change is the standard deviation of the blur in pixels; an image that is sharper "
            f"is not covered. The noise blurs by a random time with rate {exact(self.rate)}."
        )

    @override
    def axes(self, radius: float, channels: int = 3) -> list[Axis]:
        return [Axis("blur", 0.0, radius, "pixels", f"blur of at most {at_least(radius)} pixels")]

    @override
    def change(self, image: Tensor, amounts: Tensor) -> Tensor:
        """The changed image.

        Args:
            image: Image ``[C, H, W]``.
            amounts: Standard deviation of the blur in pixels, float64 ``[1]``.
        """
        blurred = after(spectrum(image[None].double().cpu()), amounts.cpu().square() / 2)[0]
        return blurred.to(image.device, image.dtype)

    @override
    def amounts_of(self, image: Tensor, changed: Tensor) -> Tensor:
        found, wanted = spectrum(image), spectrum(changed)
        height, width = image.shape[-2:]
        square = waves(height).decay[:, None] + waves(width).decay

        def off(time: float) -> float:
            return float((found * torch.exp(-square * time) - wanted).square().sum())

        # Of a true blur each term falls until its time and grows after it: the best of a grid has it next to itself.
        grid = [0.0, *np.geomspace(_SHORTEST, height**2 + width**2, _TIMES).tolist()]
        near = min(range(len(grid)), key=lambda index: off(grid[index]))
        around = grid[max(0, near - 1)], grid[min(len(grid) - 1, near + 1)]
        best = minimize_scalar(off, bounds=around, method="bounded", options={"xatol": _CLOSE * around[1]})
        time = min((grid[near], float(best.x)), key=off)
        return torch.tensor([math.sqrt(2 * time)], dtype=torch.float64)

    @override
    def length_of(self, image: Tensor, amounts: Tensor) -> float:
        return float(amounts[0]) * (1 + _ROUNDING)

    @override
    def majority_length(self, image: Tensor, changed: Tensor) -> float:
        r"""Length of a change for majorities; a blur and a rest r are covered together, if there is pixel noise.

        Heat only shrinks the rest, :math:`\|G_T r\|_2 \le \|r\|_2` for every T, so it moves a vote by at most
        :math:`\|r\|_2 / \sigma` standard deviations: a majority is left if the blur leaves
        :math:`\Phi(\|r\|_2 / \sigma)`.

        Args:
            image: The certified image ``[C, H, W]``.
            changed: The changed image ``[C, H, W]``.
        """
        length = self.length(image, changed)
        if not self.sigma or length < math.inf:
            return length
        clean, other = check_pair(image, changed)
        lengths = []
        for blur in (0.0, float(self.amounts_of(clean, other)[0])):
            rest = float((other - self.change(clean, torch.tensor([blur]).double())).norm()) / self.sigma
            left = float(ndtr(-rest * (1 + _ROUNDING))) * (1 - _ROUNDING)
            lengths.append(math.sqrt(blur**2 - 2 * math.log(2 * left) / self.rate) if left > 0 else math.inf)
        return min(lengths) * (1 + _ROUNDING)

    @override
    def named(self, image: Tensor, amounts: Tensor) -> Split:
        return Split({"blur in pixels": float(amounts[0])})

    @override
    def extremes(self, image: Tensor, radius: float) -> list[tuple[str, Sequence[float]]]:
        return [(f"blur of {at_least(radius * INSIDE, 3)} pixels", [radius * INSIDE])]

    @override
    def search(self, image: Tensor, radius: float, count: int, generator: torch.Generator | None = None) -> Tensor:
        times = torch.linspace(1, 0, max(2, count), dtype=torch.float64)[:count]  # even in time, which the law sees
        return (times.sqrt() * radius * INSIDE)[:, None]
