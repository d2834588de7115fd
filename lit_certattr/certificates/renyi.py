"""Certified top-K overlap of rank-scored smoothing, by Renyi divergences, in l2 and other norms."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import attrs
import numpy as np
import numpy.typing as npt
from typing_extensions import override

from lit_certattr.budgets import LpBudget
from lit_certattr.certificates.measures import Measure, OverlapMeasure
from lit_certattr.certificates.overlap_bounds import Rule
from lit_certattr.certificates.renyi_bounds import Reach, renyi_displacement_radii, shortest_shift, swap_radius
from lit_certattr.certificates.topk_overlap import TopKOverlapAccumulator, TopKOverlapCertificate
from lit_certattr.certificates.topk_overlap_result import TopKOverlapResult
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GAUSSIAN_LAWS, GaussianNoise, GeneralisedNormalNoise, Noise
from lit_certattr.smoothing.sparsify import Ties

Scores = Literal["linear", "uniform"]


def order_of_norm(name: str) -> float:
    """The order p of the norm ``"lp"``, at least 2.

    Args:
        name: Name of the norm: ``"l2"``, ``"l4"``, ..., ``"linf"``.

    Raises:
        InputError: If it is not such a name.

    Example:
        >>> order_of_norm("l2"), order_of_norm("linf")
        (2.0, inf)
    """
    if not re.fullmatch(r"l(inf|\d+(\.\d+)?)", name) or float(name[1:]) < 2:
        raise InputError(f"radius_norm must be l2, l4, ... or linf, got {name!r}")
    return float(name[1:])


@attrs.frozen(eq=False, repr=False)
class RenyiResult(TopKOverlapResult):
    """Certified overlap of the top-K sets of one map of rank scores, at every radius *in the norm* ``radius_norm``.

    Attributes:
        radius_norm: Norm of all radii: ``"l2"``, ``"l8"``, ``"linf"``, ...
        s: Exponent of the noise, 2 for Gaussian noise.
        dimension: Number of values of the image, channels included.
    """

    kind: ClassVar[str] = "renyi"

    radius_norm: str
    s: int
    dimension: int

    @override
    def noise_in_words(self) -> str:
        exponent = f" and exponent s = {self.s}" if self.noise == GeneralisedNormalNoise.__name__ else ""
        return super().noise_in_words() + exponent

    @property
    def law(self) -> Noise:
        """The noise law; for other laws whose votes a change shifts like a Gaussian's the Gaussian law."""
        gaussian = self.noise != GeneralisedNormalNoise.__name__
        return GaussianNoise(self.scale) if gaussian else GeneralisedNormalNoise(self.sigma, self.s)

    def longest_radius(self) -> float:
        """The radius at which half of K is kept if all votes agree; of those that have a vote, if these are fewer."""
        vote, count = self.unanimous(), min(-(-self.size // 2), self.kept)
        insiders, outsiders = np.full(count, vote / self.kept), np.full(count, (1 - vote) / self.kept)
        return swap_radius(insiders, outsiders, _reach(self.law, self.radius_norm, self.dimension))

    @override
    def _rule(self, inside: npt.NDArray) -> Rule:
        mass = (self.kept + 1) / 2 if self.map_kind == "ranked" else self.kept
        reach = _reach(self.law, self.radius_norm, self.dimension)
        return lambda lower, upper: renyi_displacement_radii(lower / mass, upper / mass, inside, reach)


def _reach(law: Noise, norm: str, dimension: int) -> Reach:
    return partial(shortest_shift, law=law, norm=order_of_norm(norm), dimension=dimension)


class RenyiCertificate(TopKOverlapCertificate):
    r"""Certified top-K overlap by Renyi divergences, of maps scored by rank (after Liu et al., 2021).

    What it says: with probability at least :math:`1 - \alpha`, for all radii r at once, under every perturbation with a
    norm (``radius_norm``) up to r at least R(r) of the K pixels of the released set stay among the K largest of the
    smoothed map.

    Each noisy map is replaced by scores of its ranks that sum to one: linear over the top ``sparsity`` pixels, or
    uniform on them. The mean is a distribution :math:`m(x)` over pixels. Moving the image by :math:`\delta` moves it by
    at most the Renyi divergence of the shifted noise, in either direction, and displacing pixels of the top K costs a
    divergence that :func:`~lit_certattr.certificates.renyi_bounds.swap_divergence` bounds from below for every order;
    :func:`~lit_certattr.certificates.renyi_bounds.shortest_shift` of the best order and direction is the radius. Means
    are bounded by exact binomial bounds of all pixels, as in :class:`TopKOverlapCertificate`: linear scores are counted
    as masks of a random size.

    For l2 it makes the same kind of statement as :class:`TopKOverlapCertificate`. A divergence depends on the
    probability that moves, so radii are smaller if the scores are spread over many pixels, which is the usual case. But
    this theorem uses that the scores add up to one, which Neyman and Pearson's lemma does not, so radii can be larger
    if few pixels hold most of the scores.

    Only this theorem gives radii in other norms. With noise of exponent s (2 for Gaussian noise, or the exponent of
    :class:`~lit_certattr.smoothing.GeneralisedNormalNoise`) its radii are l_s lengths, or l_p lengths for any larger p,
    up to ``"linf"``. Results name the norm wherever they show a radius.

    Args:
        top_k: K, as a share of the pixels or a pixel count.
        alpha: Probability of any false statement about one image.
        sparsity: Share or count of pixels with a positive score in each noisy map; ``None`` takes K.
        scores: ``"linear"`` or ``"uniform"``.
        radius_norm: Norm of the perturbations: ``"l2"``, ``"l4"``, ..., ``"linf"``; at least the exponent of the noise.
        uncovered: Shares of K whose bounds may fail, as in :class:`TopKOverlapCertificate`.
        ties: Tie rule of uniform scores.
        sync_on_compute: Add the samples of all processes.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> import torch
        >>> certificate = RenyiCertificate(top_k=1, alpha=0.05, scores="uniform")
        >>> accumulator = certificate.start(GaussianNoise(sigma=0.5), (1, 2))
        >>> accumulator.update(torch.tensor([[[2.0, 1.0]]]).expand(100, 1, 2))
        >>> accumulator.compute().overlap(0.2)
        1
    """

    name = "renyi"
    result = RenyiResult
    laws = (*GAUSSIAN_LAWS, GeneralisedNormalNoise)

    def __init__(
        self,
        top_k: float = 0.2,
        alpha: float = 0.001,
        sparsity: float | None = None,
        scores: Scores = "linear",
        radius_norm: str = "l2",
        uncovered: Sequence[float] | None = None,
        ties: Ties = "index",
        sync_on_compute: bool = False,
    ) -> None:
        if scores not in get_args(Scores):
            raise InputError(f"scores must be one of {', '.join(get_args(Scores))}, got {scores!r}")
        order_of_norm(radius_norm)  # checks
        super().__init__(
            top_k,
            alpha,
            sparsity,
            map_kind="ranked" if scores == "linear" else "sparsified",
            uncovered=uncovered,
            ties=ties,
            sync_on_compute=sync_on_compute,
        )
        self.scores, self.radius_norm = scores, radius_norm

    @override
    def measures(self) -> Sequence[Measure]:
        return [OverlapMeasure(self.top_k, "renyi_overlap", self.radius_norm)]

    def check_noise(self, noise: Noise) -> None:
        """Refuse a noise law that the theorem does not cover, or whose norm is above ``radius_norm``.

        Args:
            noise: Noise law.

        Raises:
            InputError: If it is not covered; the message names the laws or the norms that are.
        """
        super().check_noise(noise)
        if self.radius_norm != "l2" and not isinstance(noise.budget, LpBudget):
            raise InputError(f"radii of {type(noise).__name__} are lengths of its budget: set radius_norm to l2")
        if order_of_norm(self.radius_norm) < (s := _exponent(noise)):
            raise InputError(
                f"with {noise!r} {type(self).__name__} is proved for radius_norm l{s} and above, up to linf, "
                f"not for {self.radius_norm}"
            )

    @override
    def start(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None, share: float = 1.0
    ) -> TopKOverlapAccumulator:
        accumulator = super().start(noise, map_shape, dimension, share)
        if dimension is None and self.radius_norm != "l2":
            raise InputError(f"{type(self).__name__}: {self.radius_norm} needs start(noise, map_shape, dimension)")
        return accumulator

    @override
    def fixed(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None, num_samples: int, share: float
    ) -> dict[str, Any]:
        return super().fixed(noise, map_shape, dimension, num_samples, share) | {
            "radius_norm": self.radius_norm,
            "s": _exponent(noise),
            "dimension": dimension or map_shape[0] * map_shape[1],  # l2 radii do not depend on it
        }


def _exponent(noise: Noise) -> int:
    return noise.s if isinstance(noise, GeneralisedNormalNoise) else 2
