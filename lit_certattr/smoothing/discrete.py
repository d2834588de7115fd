"""Gaussian noise on the grid of grey levels: drawn with integer arithmetic, and covered by the Gaussian theorems."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets import Budget, LpBudget
from lit_certattr.errors import InputError
from lit_certattr.smoothing.noise import Noise, normals_like
from lit_certattr.smoothing.normals import NormalStream

_BITS = 64
_ONE = 1 << _BITS
_DIGITS = 60
_TWO_PI = Decimal("6.28318530717958647692528676655900576839433879875021164194988918462")
_GUIDE = 16  # leading bits that decide most draws without a search
_TOLERANCE = 2.0**-10  # of a grey level: what float32 makes of a multiple of 1/levels


class _Table(NamedTuple):
    """The law of the integer noise as it is drawn.

    ``W = first + #{j : thresholds[j] <= u}`` for a uniform 64-bit integer ``u``.
    """

    first: int
    thresholds: npt.NDArray[np.uint64]
    guess: npt.NDArray[np.int32]
    certain: npt.NDArray[np.bool_]
    distance: float


class DiscreteGaussianNoise(Noise):
    r"""Rounded Gaussian noise :math:`W / m,\ W = \mathrm{round}(m \sigma Z)`, on the grid of multiples of ``1/m``.

    Smoothing with floating-point noise has a gap: the theorems are about real numbers, and one can build a network
    that recovers ``x`` from the last bits of ``x + noise`` (Voráček & Hein, 2023). Here image and noise are added as
    integers, so every noisy image is an integer image, and the network receives a function of that integer image
    alone. Its last bits carry no information about ``x``.

    **Why the Gaussian theorems hold verbatim.** Let :math:`\rho` round every coordinate to the grid. For ``x`` on
    the grid and real :math:`\sigma Z`, :math:`\rho(x + \sigma Z) = x + \rho(\sigma Z)` (ties have probability 0). So
    the map of the noisy integer image is :math:`f(x + W/m) = (f \circ \rho)(x + \sigma Z)`, and
    :math:`f \circ \rho` is one measurable function of :math:`x + \sigma Z`: the lemma of Neyman and Pearson, hence each
    certificate for :class:`GaussianNoise`, applies to it with the same sigma and the same radius. (Rounding is
    post-processing; it can only hide the shift.)

    **What is covered.** For a perturbed image on the grid, which is every image that an 8-bit file can hold,
    :math:`h(x + \delta)` is the smoothed map that this class computes there. For one off the grid the
    statement holds for :math:`E f(\rho(x + \delta + \sigma Z))`: exact Gaussian noise added first, then rounded to the
    grid. It does not cover integer noise added to an image that is not on the grid, so such images are refused.

    **How exactly it is drawn.** The 64 bits of a counter-based generator are compared with the integers
    nearest to :math:`2^{64} P(W \le k)`, computed in decimal arithmetic of 60 digits: the same table on every
    machine, and no rounding in the draw. The law drawn is within :attr:`distance` (total variation) of the rounded
    Gaussian for each coordinate, so ``n`` samples of ``d`` coordinates add at most :math:`n d` times that to
    alpha: 5e-9 for 1000 samples of 150,528 coordinates at sigma 0.25. Certificates subtract this number from the alpha
    that their bounds use (:func:`alpha_slack`). The one remaining assumption is that the generator's bits are random.

    The noise has the same bits on every device, since it is drawn on the CPU. With a fast accelerator, drawing it
    (about 17 ns per coordinate on one core) can take longer than the network.

    Args:
        sigma: Standard deviation before rounding, in pixel units; positive. In grey levels it is
            ``levels * sigma``, which must lie between 0.1 and 10,000.
        levels: Grey levels between 0 and 1: the grid is ``0, 1/levels, ..., 1``.

    Raises:
        InputError: If ``sigma`` or ``levels`` is out of range.

    Example:
        >>> noise = DiscreteGaussianNoise(sigma=0.25)
        >>> noise, noise.probability(9) == noise.probability(-9), round(noise.probability(64), 6)
        (DiscreteGaussianNoise(sigma=0.25, levels=255), True, 0.003781)
    """

    def __init__(self, sigma: float, levels: int = 255) -> None:
        super().__init__(sigma)
        if levels < 1 or not 0.1 <= levels * self.sigma <= 10_000:
            raise InputError(
                f"levels * sigma is the noise in grey levels and must lie in 0.1..10000, got {levels} * {sigma}"
            )
        self.levels = levels

    @property
    @override
    def budget(self) -> Budget:
        return LpBudget(self.sigma, levels=self.levels)

    @property
    def distance(self) -> float:
        """Bound on the total variation distance between the law drawn and the rounded Gaussian, per coordinate."""
        return _table(self.sigma, self.levels).distance

    def probability(self, shift: int) -> float:
        """Probability that the noise is ``shift`` grey levels: a multiple of 2**-64, rounded to a float."""
        table = _table(self.sigma, self.levels)
        place = shift - table.first
        if not 0 <= place <= len(table.thresholds):
            return 0.0
        low = int(table.thresholds[place - 1]) if place else 0
        high = int(table.thresholds[place]) if place < len(table.thresholds) else _ONE
        return (high - low) / _ONE

    @property
    def support(self) -> range:
        """Grey levels that can be drawn."""
        table = _table(self.sigma, self.levels)
        return range(table.first, table.first + len(table.thresholds) + 1)

    @override
    def generator(self, normals: NormalStream | type[NormalStream]) -> str:
        return "philox4x64, integer inverse distribution function, 64 bit, numpy"

    @override
    def check(self, image: Tensor, name: str) -> None:
        """Refuse an image that is not on the grid of grey levels.

        Raises:
            InputError: If a pixel value is no multiple of ``1/levels``; it names the image and the value.
        """
        levels = image.cpu().double() * self.levels
        off = (levels - levels.round()).abs().flatten()
        if bool((off > _TOLERANCE).any()):
            value = float(image.flatten()[int(off.argmax())])
            raise InputError(
                f"image {name}: pixel value {value:.9g} is no multiple of 1/{self.levels}; {type(self).__name__} "
                "needs images on the grid: use 8-bit images that are not rescaled after decoding, or GaussianNoise"
            )

    @override
    def perturb_(self, out: Tensor, image: Tensor, normals: NormalStream, start: int) -> Tensor:
        clean = (image.cpu().double() * self.levels).round_().int().numpy()
        noisy = np.empty(out.shape, np.int32)
        for row in range(len(out)):
            self._draw_(noisy[row], normals.key, start + row)
            noisy[row] += clean
        wide = torch.promote_types(out.dtype, torch.float32)
        return out.copy_(torch.from_numpy(noisy).to(out.device, wide).div_(self.levels))

    def _draw_(self, row: npt.NDArray[np.int32], key: int, sample: int) -> None:
        """Fill a row with the noise of one sample, in grey levels."""
        table = _table(self.sigma, self.levels)
        # The second word of the counter is ours (normals use the others); the last one numbers the sample.
        bits = np.random.Philox(key=key, counter=[0, 1, 0, sample]).random_raw(row.size)
        leading = (bits >> np.uint64(_BITS - _GUIDE)).astype(np.intp)
        np.take(table.guess, leading, out=row, mode="clip")  # in range anyway: spares the check
        unsure = np.flatnonzero(~table.certain[leading])
        row[unsure] = np.searchsorted(table.thresholds, bits[unsure], side="right")
        row += table.first

    @override
    def sample_like(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Fresh rounded Gaussian noise of the shape of ``images``, which need not lie on the grid."""
        return (normals_like(images, generator) * (self.sigma * self.levels)).round_() / self.levels


@lru_cache(maxsize=16)
def _table(sigma: float, levels: int) -> _Table:
    """Thresholds of the inverse distribution function, symmetric about 0."""
    tails = _tails(sigma, levels)  # 2**64 * P(W > k) for k = 0, 1, ..., rounded; positive, falling
    lower = tails[::-1]  # P(W <= -k - 1) = P(W > k)
    thresholds = np.array([*lower, *(_ONE - tail for tail in tails)], np.uint64)
    edges = np.arange(1 << _GUIDE, dtype=np.uint64) << np.uint64(_BITS - _GUIDE)
    guess = np.searchsorted(thresholds, edges, side="right")
    last = np.searchsorted(thresholds, edges + np.uint64((1 << (_BITS - _GUIDE)) - 1), side="right")
    # Each threshold is off by at most half a unit of 2**-64, so each of the len + 1 probabilities by at most one; the
    # two tails beyond the support hold half a unit each. Total variation is half the sum.
    distance = (len(thresholds) + 2) / (2 * _ONE)
    return _Table(-len(tails), thresholds, guess.astype(np.int32), guess == last, distance)


def _tails(sigma: float, levels: int) -> list[int]:
    r"""Integers nearest to :math:`2^{64} P(W > k) = 2^{64} (1 - \Phi((k + 1/2) / m \sigma))`, while positive."""
    tails: list[int] = []
    context = Context(prec=_DIGITS, rounding=ROUND_HALF_EVEN, Emin=-9999, Emax=9999)
    with localcontext(context):
        scale = Decimal(sigma) * levels
        while True:
            tail = int((_ONE * _upper_tail((len(tails) + Decimal("0.5")) / scale)).to_integral_value())
            if tail == 0:
                return tails
            tails.append(tail)


def _upper_tail(x: Decimal) -> Decimal:
    r"""Upper tail of the normal law by :math:`1/2 - \phi(x) \sum_j x^{2j+1} / (2j+1)!!`; all terms are positive.

    With 60 digits the difference keeps an absolute error below 1e-55, far under 2**-64 = 5e-20.
    """
    square = x * x
    term = total = x
    odd = 1
    while term > total * Decimal(10) ** -_DIGITS:
        odd += 2
        term = term * square / odd
        total += term
    return Decimal("0.5") - (-square / 2).exp() / _TWO_PI.sqrt() * total


def alpha_slack(noise: Noise, num_samples: int, dimension: int) -> float:
    """Upper bound on what the difference between the law drawn and the exact law adds to alpha.

    Couple the draws with exact ones: they are equal except with this probability. So a certificate whose bounds use
    alpha minus this number holds at alpha for the noise as it is drawn.

    Args:
        noise: The noise law.
        num_samples: Number of samples per image.
        dimension: Number of coordinates of an image.

    Returns:
        A probability; 0 for every law but :class:`DiscreteGaussianNoise`.

    Example:
        >>> alpha_slack(DiscreteGaussianNoise(0.25), 1000, 150_528) < 1e-8
        True
    """
    return noise.distance * num_samples * dimension if isinstance(noise, DiscreteGaussianNoise) else 0.0
