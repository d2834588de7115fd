"""The result of the cosine certificate, and the bounds from which it follows."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_certattr.certificates.cosine_bounds import (
    cosine_bound,
    diameter_bound,
    max_variation,
    radius_over_sigma,
    total_variation,
)
from lit_certattr.certificates.gaussian_cosine import gaussian_cosine_bound, max_length
from lit_certattr.certificates.radii import budget_of
from lit_certattr.certificates.result import Result, check_same_shape, invalid_flags
from lit_certattr.errors import InputError
from lit_certattr.settings.discovery import class_named
from lit_certattr.smoothing import (
    ExposureNoise,
    GammaNoise,
    GaussianNoise,
    Noise,
    NuisanceNoise,
    UniformBallNoise,
)
from lit_certattr.statistics import betting_lower, vector_margin
from lit_certattr.statistics.rounding import at_least, exact

_NORM = "squared norm of the smoothed map"
_LAWS: dict[str, type[Noise]] = {
    UniformBallNoise.__name__: UniformBallNoise,
    GaussianNoise.__name__: GaussianNoise,
    # Laws that a change shifts in the same way, by its length.
    NuisanceNoise.__name__: GaussianNoise,
    ExposureNoise.__name__: GaussianNoise,
    GammaNoise.__name__: GaussianNoise,
}
_BOUNDS = ("signed", "nonnegative", "gaussian_signed", "gaussian_nonnegative")


def bound_name(noise: str, nonnegative: bool) -> str:
    """Name of the best bound that is proved for a noise law, as results record it.

    Args:
        noise: Name of the class of the noise law.
        nonnegative: Whether the maps have no negative values.

    Example:
        >>> bound_name("GaussianNoise", nonnegative=False)
        'gaussian_signed'
    """
    return ("gaussian_" if _law(noise) is GaussianNoise else "") + ("nonnegative" if nonnegative else "signed")


def _law(noise: str) -> type[Noise] | None:
    """The law whose theorem holds for the law of this name, or for the one it is a subclass of; ``None`` if unknown."""
    if noise in _LAWS:
        return _LAWS[noise]
    found = class_named(Noise, noise)
    return next((_LAWS[kind.__name__] for kind in found.__mro__ if kind.__name__ in _LAWS), None) if found else None


def norm_lower_bound(projections: npt.ArrayLike, alpha: float, nonnegative: bool) -> float:
    r"""Lower confidence bound of :math:`\|h(x)\|_2` from samples :math:`y_t = \langle u_t, g_t \rangle`.

    The unit vector :math:`u_t` may depend on earlier samples, so the conditional mean of :math:`y_t` is
    :math:`\langle u_t, h(x) \rangle \le \|h(x)\|_2`, and the betting bound of these means bounds the norm. No
    dimension enters. The norm of the sample mean itself is no lower bound: it is biased upwards.

    Args:
        projections: Values :math:`y_t`, ``[n]``, in [-1, 1], or in [0, 1] if ``nonnegative``.
        alpha: Probability that the bound is above the norm.
        nonnegative: Whether the maps have no negative values.

    Returns:
        The bound, in [0, 1].

    Example:
        >>> round(norm_lower_bound([0.9, 0.7, 0.95, 0.85] * 64, alpha=0.001, nonnegative=False), 9)
        0.793023844
    """
    y = np.asarray(projections, np.float64)
    if nonnegative:
        return betting_lower(np.clip(y, 0, 1), alpha)
    return max(0.0, 2 * betting_lower((np.clip(y, -1, 1) + 1) / 2, alpha) - 1)


def inner_product_upper_bound(products: npt.ArrayLike, level: float, nonnegative: bool) -> float:
    r"""Upper confidence bound of :math:`\langle h(x), h(x') \rangle` from samples of :math:`\langle g, g' \rangle`.

    Independent normalised maps g, g' at x and x' have :math:`E \langle g, g' \rangle = \langle h(x), h(x') \rangle`, so
    the betting bound of one minus the products bounds it from above. At :math:`x' = x` it bounds the squared norm
    from above; projections cannot, since each one only gives a lower bound of the norm.

    Args:
        products: Products ``[m]`` of disjoint pairs of maps, in [-1, 1], or in [0, 1] if ``nonnegative``.
        level: Probability that the bound is below the inner product.
        nonnegative: Whether the maps have no negative values.

    Returns:
        The bound, in [-1, 1].

    Example:
        >>> round(inner_product_upper_bound([0.3, 0.5] * 200, level=0.001, nonnegative=True), 3)
        0.419
    """
    y = np.asarray(products, np.float64)
    if nonnegative:
        return 1 - betting_lower(1 - np.clip(y, 0, 1), level)
    return 1 - 2 * betting_lower((1 - np.clip(y, -1, 1)) / 2, level)


@attrs.frozen(eq=False, repr=False)
class CosineResult(Result):
    """Certified cosine between the smoothed maps of an image and of the perturbed image, at every radius.

    Attributes:
        norm: Lower confidence bound of the norm of the smoothed map, in [0, 1]; all cosines follow from it.
        projections: float64 ``[n]``: the samples from which the bound was computed, in order.
        products: float64 ``[m]``: inner products of disjoint pairs of normalised maps, in order. Their expectation is
            the squared norm; no claim depends on them, but they can contradict one.
        mean: float64 ``[H, W]``: mean of all normalised noisy maps, the estimate of the smoothed map.
        bound: The theorem: ``"signed"`` or ``"nonnegative"`` for the bound by total variation, for maps of any sign or
            without negative values; with the prefix ``"gaussian_"`` the bound of
            :func:`~lit_certattr.certificates.gaussian_cosine.gaussian_cosine_bound`. Older results under Gaussian noise
            use the bound by total variation, and keep it.
        dimension: Number of values of the image.
        num_selection: Number of samples that only chose a direction.
        num_zero: Number of noisy maps that are zero everywhere; they count as zero.
    """

    kind: ClassVar[str] = "cosine"
    paired: ClassVar[bool] = True
    statistics: ClassVar[tuple[str, ...]] = ("projections", "products", "mean")

    norm: float
    projections: Tensor
    products: Tensor
    mean: Tensor
    bound: str
    dimension: int
    num_selection: int
    num_zero: int

    def __attrs_post_init__(self) -> None:
        if {self.projections.dtype, self.products.dtype, self.mean.dtype} != {torch.float64}:
            raise ValueError("projections, products and mean must be float64")
        if (self.projections.ndim, self.products.ndim, self.mean.ndim) != (1, 1, 2):
            raise ValueError("projections must be [n], products [m], mean [H, W]")
        if self.bound not in _BOUNDS:
            raise ValueError(f"bound must be one of {', '.join(_BOUNDS)}")
        if (law := _law(self.noise)) is None:
            raise ValueError(f"unknown noise law {self.noise}")
        if self.gaussian and law is not GaussianNoise:
            raise ValueError(f"bound {self.bound} is not proved for {self.noise}")

    @property
    def nonnegative(self) -> bool:
        """Whether the theorem for maps without negative values is used."""
        return self.bound.endswith("nonnegative")

    @property
    def gaussian(self) -> bool:
        """Whether the theorem for Gaussian noise is used."""
        return self.bound.startswith("gaussian")

    @property
    def law(self) -> Noise:
        """The noise law, or the Gaussian law for others whose votes a change shifts like a Gaussian's."""
        law = _law(self.noise)
        assert law is not None  # as was checked
        return law(self.scale)

    def at(self, radius: float) -> float:
        """Certified cosine for every perturbation with l2 norm up to ``radius``; -1 (signed) or 0 if there is none.

        Args:
            radius: Budget in pixel l2 units.

        Raises:
            InputError: If the radius is negative.
        """
        if self.gaussian:
            return gaussian_cosine_bound(self.norm, radius / self.scale * (1 + 1e-15), self.nonnegative)
        return cosine_bound(self.norm, total_variation(self.law, radius, self.dimension), self.nonnegative)

    def certified_cosine(self, radius: float) -> float:
        """Certified cosine at an l2 radius, in [0, 1]; 0 where none is certified, whatever the sign of the maps."""
        return max(0.0, self.at(radius))

    def smoothed_map(self) -> Tensor:
        """Mean of all normalised noisy maps, float32 ``[H, W]``."""
        return self.mean.float()

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Height and width of the maps."""
        return tuple(self.mean.shape)

    def curve(self, radii: Sequence[float] | Tensor) -> Tensor:
        """Certified cosine at each radius, float64; all of them hold together."""
        return torch.tensor([self.at(float(radius)) for radius in radii], dtype=torch.float64)

    def max_radius(self, cosine: float) -> float:
        """Largest l2 radius up to which at least this cosine is certified; 0 if there is none.

        Args:
            cosine: Cosine in (0, 1].

        Raises:
            InputError: If the cosine is out of range.
        """
        radius = self.scale * self._reach(cosine)
        slack = 1e-13
        while radius > 0 and self.at(radius) < cosine:  # the inverse is rounded: step back until it holds
            radius *= 1 - slack
            slack = min(2 * slack, 1.0)
        return radius

    def _reach(self, cosine: float) -> float:
        """Largest radius of a cosine over sigma, before rounding."""
        if self.gaussian:
            return max_length(cosine, self.norm, self.nonnegative)
        variation = max_variation(cosine, self.norm, self.nonnegative)
        return radius_over_sigma(self.law, variation, self.dimension)

    def min_sigma(self, cosine: float, radius: float) -> float:
        """Sigma that would certify ``cosine`` at ``radius`` *if* the norm did not change: not a certificate.

        The norm depends on sigma, so this is a fixed-point condition. Iterate: certify at the returned sigma, and call
        this method again; then certify once more at the final sigma with fresh samples (another seed). Only this last
        result is a certificate.

        Args:
            cosine: Cosine to keep, in (0, 1].
            radius: l2 radius, positive.

        Returns:
            Standard deviation of the noise; ``inf`` if the norm is too small for every sigma.

        Raises:
            InputError: If ``radius`` is not positive, or ``cosine`` is out of range.
        """
        if not radius > 0:
            raise InputError(f"radius must be positive, got {radius}")
        reach = self._reach(cosine)
        return radius / reach if reach > 0 else float("inf")

    def displayed(self, radius: float, num_samples: int | None = None) -> float:
        r"""Certified cosine between two *displayed* maps: ``mean`` of this image and of a perturbed image.

        For each fixed perturbation with l2 norm up to ``radius``, whose map is the mean of ``num_samples`` maps under
        noise that is independent of it, with probability at least :math:`1 - 2\alpha`: :math:`\alpha` for
        the samples of each of the two. It does not hold for a perturbation that was fitted to the noise of its map.

        Args:
            radius: l2 radius.
            num_samples: Number of samples of the other map; by default the number of samples of this result.

        Raises:
            InputError: If ``num_samples`` is below 1, or the radius is negative.
        """
        diameter, floor = (2**0.5, 0.0) if self.nonnegative else (2.0, -1.0)
        samples = self.num_samples if num_samples is None else num_samples
        if samples < 1:
            raise InputError(f"num_samples must be at least 1, got {samples}")
        moved = diameter * total_variation(self.law, radius, self.dimension)
        moved += vector_margin(self.num_samples, self.spent_alpha, diameter)
        moved += vector_margin(samples, self.alpha, diameter)
        return diameter_bound(float(self.mean.norm()), moved, 1.0, floor)

    def rederive(self) -> Self:
        """Derive the result again from the stored projections.

        Raises:
            InputError: If no samples can have given the stored projections or counts.
        """
        if not 0 < self.projections.numel() <= self.num_samples - self.num_selection:
            raise InputError("there are more projections than samples to project")
        low = 0.0 if self.nonnegative else -1.0
        if not bool(((self.projections >= low) & (self.projections <= 1)).all()):
            raise InputError(f"projections must lie in [{low:g}, 1]")
        norm = norm_lower_bound(self.projections.numpy(), self.spent_alpha, self.nonnegative)
        if not 0 <= self.num_invalid <= self.num_zero:
            raise InputError(f"{self.num_invalid} invalid samples, but {self.num_zero} without a map")
        flags = [*invalid_flags(self.num_invalid, self.num_samples), *zero_flags(self.num_zero, self.num_samples)]
        changes: dict[str, Any] = {"norm": norm, "flags": flags}
        return attrs.evolve(self, **changes)

    def check_mean(self, level: float = 1e-9) -> None:
        r"""Refuse a mean that cannot belong to the samples of the projections and products.

        With T the sum of all normalised maps and :math:`T_k` the sum of the maps before the k-th direction, the
        projections of a segment add up to :math:`\langle T_k, T_{k+1} - T_k \rangle / \|T_k\|`, at most
        :math:`\|T_{k+1}\| - \|T_k\|`, so all of them add up to :math:`\|T\|` at most; and no map is longer than 1. The
        products bound the squared norm of the expectation, from which the mean is not further than
        :func:`~lit_certattr.statistics.vector_margin`.

        Args:
            level: Probability that a correct mean is refused, for each of three bounds.

        Raises:
            InputError: If it cannot; the message says what is impossible.
        """
        length, n = float(self.mean.norm()), self.num_samples
        least = float(self.projections.sum()) / n
        if not least - 1e-6 <= length <= (n - self.num_zero) / n + 1e-6:
            raise InputError(f"the mean has the length {length:.4f}, but these samples give {least:.4f} to 1")
        if self.nonnegative and float(self.mean.min()) < 0:
            raise InputError("the mean of maps without negative values is negative")
        low, high = (
            sign * inner_product_upper_bound(sign * self.products.numpy(), level, self.nonnegative and sign > 0)
            for sign in (-1, 1)
        )
        margin = vector_margin(n, level, 2**0.5 if self.nonnegative else 2.0)
        if not max(0.0, low) ** 0.5 - margin <= length <= max(0.0, high) ** 0.5 + margin:
            raise InputError(f"the mean has the length {length:.4f}, far from the root of the mean product")

    def claims(self) -> dict[str, Tensor]:
        """The one number from which all cosines follow: the squared norm of the smoothed map."""
        return {_NORM: torch.tensor(self.norm**2, dtype=torch.float64)}

    def upper_bounds(self, fresh: Self, level: float) -> dict[str, Tensor]:
        """The upper bound of the squared norm from independent noise (:func:`inner_product_upper_bound`).

        Args:
            fresh: Result of the same certificate for the same image, from independent noise.
            level: Probability that the bound is below the squared norm.

        Raises:
            InputError: If the maps have another shape.
        """
        check_same_shape(self.mean, fresh.mean)
        upper = inner_product_upper_bound(fresh.products.numpy(), level, self.nonnegative)
        return {_NORM: torch.tensor(max(0.0, upper), dtype=torch.float64)}

    def statement(self, radius: float | None = None) -> str:
        """What is certified, in plain words.

        Args:
            radius: Budget in pixel l2 units, for which the statement gives the cosine; ``None`` gives the radius up to
                which a cosine of 0.9 is certified.

        Raises:
            InputError: If the radius is negative or not a finite number.
        """
        budget = budget_of(radius)
        at = self.max_radius(0.9) if budget is None else budget
        within = at_least(at) if budget is None else exact(at)
        cosine = self.at(float(within))
        nothing = " Nothing is certified at this radius." if cosine <= (0.0 if self.nonnegative else -1.0) else ""
        maps = "never negative (checked on every sample)" if self.nonnegative else "of any sign"
        if at > 0:
            what = (
                f"{self._surely()}: for every perturbation of the image with {self.change_budget.measure} at "
                f"most {within}, the cosine "
                f"between the smoothed map of the image and that of the perturbed image is at least {at_least(cosine)}."
                f"{nothing}"
            )
        else:
            what = (
                f"Nothing is certified at any positive {self.change_budget.radius_word}: the samples do not "
                "show that the smoothed map of the "
                "image is other than zero."
            )
        return (
            f"{what} The smoothed map is the mean of attribution maps, each scaled to length 1 and "
            f"{maps}, under {self.noise_in_words()}, as its expectation; the statement holds for "
            f"all radii at once.{self._lengths_in_words(budget)} A map of the perturbed image that is itself "
            "estimated from samples, the ranking of "
            f"its pixels, and the predicted class are not covered."
        )


def zero_flags(num_zero: int, num_samples: int) -> tuple[str, ...]:
    """Flag about maps that are zero everywhere.

    Args:
        num_zero: Number of maps that are zero everywhere.
        num_samples: Number of all maps.
    """
    flag = f"{num_zero} of {num_samples} noisy maps are zero; they count as zero"
    return (flag,) if num_zero else ()
