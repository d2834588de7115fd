"""Certified top-K overlap: how many of the K most important pixels no small perturbation can displace."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast, get_args

import attrs
import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor

from lit_certattr.certificates.result import Claims, Result, round_down
from lit_certattr.certificates.votes import VoteCertificate, check_votes, vote_flags
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise, top_k_mask, top_k_size
from lit_certattr.smoothing.sparsify import Ties
from lit_certattr.statistics import clopper_pearson_lower, exact_share, hoeffding_margin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Bound = Literal["clopper_pearson", "published_hoeffding"]


def displacement_radii(
    lower: npt.ArrayLike, upper: npt.ArrayLike, inside: npt.ArrayLike, sigma: float
) -> npt.NDArray[np.float64]:
    r"""Radii at which the adversary can displace the first, second, ... K-th pixel of the top-K set.

    Theorem. Let :math:`h(x) = E f(x + \sigma Z)` with :math:`f` in [0, 1] per pixel,
    :math:`l_j \le h_j(x) \le u_j`, and S a set of K pixels. Sort the lower bounds in S upwards,
    :math:`l_{(1)} \le l_{(2)} \le \dots`, and the upper bounds outside S downwards. If
    :math:`\|\delta\|_2 < \rho_m = \frac{\sigma}{2}(\Phi^{-1}(l_{(m)}) - \Phi^{-1}(u_{(m)}))`, at most
    :math:`m - 1` pixels of S are missing from the top K of :math:`h(x + \delta)`.

    Proof. By Neyman-Pearson :math:`h_j(x + \delta) \in [\Phi(\Phi^{-1}(l_j) - r), \Phi(\Phi^{-1}(u_j) + r)]` with
    :math:`r = \|\delta\|/\sigma`. If m pixels of S are missing, m outsiders are in; the best of the missing
    insiders has a value of at least that of :math:`l_{(m)}`, the worst of the m outsiders at most that of
    :math:`u_{(m)}`, yet the outsider ranks no lower. That needs :math:`\rho_m \le \|\delta\|`. ∎ (Rank form:
    Levine et al., 2019; box form and tightness over all f with these means: docs/certificates.md.)

    With ``lower = upper = h(x)`` this is the population rule.

    Args:
        lower: Lower bounds ``[N]`` in [0, 1].
        upper: Upper bounds ``[N]`` in [0, 1].
        inside: Mask ``[N]`` of S, with K ones.
        sigma: Standard deviation of the noise.

    Returns:
        Float64 ``[K]``, increasing; ``inf`` where there is no outsider left to swap in, ``-inf`` for pixels that
        are not certified even without a perturbation.

    Example:
        >>> h = [0.91, 0.72, 0.55, 0.40, 0.31, 0.22, 0.15, 0.08, 0.05, 0.02]
        >>> radii = displacement_radii(h, h, np.arange(10) < 4, sigma=0.1)
        >>> int((radii > 0.03).sum())
        3
    """
    inside = np.asarray(inside, bool)
    insiders = np.sort(ndtri(np.asarray(lower, np.float64)[inside]))
    outsiders = np.sort(ndtri(np.asarray(upper, np.float64)[~inside]))[::-1]
    pairs = min(insiders.size, outsiders.size)
    radii = np.full(insiders.size, np.inf)
    low, high = insiders[:pairs], outsiders[:pairs]
    with np.errstate(invalid="ignore"):
        radii[:pairs] = np.where(low > high, sigma / 2 * (low - high), -np.inf)  # ties go to the adversary
    return radii


@attrs.frozen(eq=False)
class TopKOverlapResult(Result):
    """Certified overlap of the top-K sets of one map, at every radius.

    Attributes:
        displacement: float32 ``[K]``, increasing: radius below which at most 0, 1, 2, ... pixels are displaced.
        inside: bool ``[H, W]``: the certified top-K set S.
        votes: int32 ``[H, W]``: how many samples put the pixel in the top of their sparsified map.
        top_k: The K asked for, a share or a pixel count.
        size: K in pixels.
        sparsity: Kept share (or count) of each noisy map.
        kept: Pixels kept of each noisy map.
        bound: The confidence bound that was used.
    """

    kind: ClassVar[str] = "topk_overlap"

    displacement: Tensor
    inside: Tensor
    votes: Tensor
    top_k: float
    size: int
    sparsity: float
    kept: int
    bound: str

    def __attrs_post_init__(self) -> None:
        dtypes = (self.displacement.dtype, self.inside.dtype, self.votes.dtype)
        if dtypes != (torch.float32, torch.bool, torch.int32):
            raise ValueError("displacement, inside and votes must be float32, bool and int32")
        if self.displacement.shape != (self.size,) or self.inside.ndim != 2 or self.inside.shape != self.votes.shape:
            raise ValueError("displacement must be [K], inside and votes [H, W]")

    def overlap(self, radius: float) -> int:
        """Number of the K pixels that no perturbation with l2 norm up to ``radius`` can displace, in 0..K."""
        if radius < 0:
            raise InputError(f"radius must not be negative, got {radius}")
        return int((self.displacement > radius).sum())

    def curve(self, radii: Sequence[float] | Tensor) -> Tensor:
        """Certified overlap as a share of K at each radius, float64 in [0, 1]."""
        return torch.tensor([self.overlap(float(radius)) / self.size for radius in radii], dtype=torch.float64)

    def max_radius(self, share: float) -> float:
        """Largest radius, not included itself, below which at least ``share`` of K is kept; 0 where none is."""
        needed = -exact_share(-share, self.size)  # rounded up, without floating-point surprises
        if not 1 <= needed <= self.size:
            raise InputError(f"share must lie in (0, 1], got {share}")
        return max(0.0, float(self.displacement[self.size - needed]))

    def statement(self, radius: float | None = None) -> str:
        """See :class:`Result`; with a radius, the overlap at that budget."""
        at = self.max_radius(0.5) if radius is None else radius
        count = self.overlap(at) if radius is not None else -(-self.size // 2) if at > 0 else 0
        edge = "below" if radius is None else "at most"
        return (
            f"With probability at least {1 - self.alpha:.4g}: for every perturbation of the image with l2 norm "
            f"{edge} {at:.4g}, at least {count} of the K = {self.size} most important pixels of this smoothed map "
            f"are among the K most important pixels of the smoothed map of the perturbed image. The smoothed map "
            f"is the mean of top-{self.kept} masks under {self.noise} with sigma = {self.sigma:g}, as its "
            f"expectation; the statement holds for all radii at once. A map of the perturbed image that is "
            f"itself estimated from samples, and the predicted class, are not covered."
        )

    @classmethod
    def from_votes(cls, votes: Tensor, top_k: float, sparsity: float, bound: Bound, record: dict[str, Any]) -> Self:
        """The set and the radii that votes give; the one place where :class:`TopKOverlapCertificate` decides.

        Args:
            votes: int32 ``[H, W]``, see :class:`TopKOverlapResult`.
            top_k: K, as a share or a pixel count.
            sparsity: Share or count of pixels kept of each noisy map.
            bound: Confidence bound of each pixel's mean.
            record: The fields that every result has.
        """
        pixels = votes.numel()
        size = top_k_size(top_k, pixels)
        inside = top_k_mask(votes, size)
        lower, upper = _bound_tables(record["num_samples"], record["alpha"] / (2 * pixels), bound)
        flat = votes.numpy().ravel()
        radii = displacement_radii(lower[flat], upper[flat], inside.numpy().ravel(), record["sigma"])
        return cls(
            displacement=round_down(radii),
            inside=inside,
            votes=votes,
            top_k=top_k,
            size=size,
            sparsity=sparsity,
            kept=top_k_size(sparsity, pixels),
            bound=bound,
            **record,
        )

    def rederive(self) -> Self:
        """See :class:`Result`. Flags on ties are kept as they are: the votes do not show ties."""
        bound, ties = _bound(self.bound), self.sampling.get("ties", "index")
        kept, record = top_k_size(self.sparsity, self.votes.numel()), self._record()
        constant = 0
        if ties == "index":  # then every other map has given exactly as many votes
            constant = max(0, self.num_samples - int(self.votes.sum(dtype=torch.int64)) // kept)
            flags = vote_flags(self.num_samples, constant, 0.0, ties)
            record["flags"] = tuple(dict.fromkeys((*flags, *self.flags)))
        check_votes(self.votes, kept, ties, self.num_samples, constant)
        return self.from_votes(self.votes, self.top_k, self.sparsity, bound, record)

    def claims(self) -> dict[str, Claims]:
        """See :class:`Result`: both bounds of every pixel's mean."""
        tables = _bound_tables(self.num_samples, self.alpha / (2 * self.votes.numel()), _bound(self.bound))
        lower, upper = (torch.from_numpy(table)[self.votes] for table in tables)
        return {
            "selected": Claims(self.votes, lower),
            "left out": Claims(self.num_samples - self.votes, 1 - upper),
        }

    def plot(self) -> "Figure":
        """Certified overlap against the radius."""
        from lit_certattr.certificates.drawing import draw_overlap

        return draw_overlap(self)


class TopKOverlapCertificate(VoteCertificate):
    r"""Certified top-K overlap of sparsified SmoothGrad (Levine, Singla & Feizi, 2019).

    The smoothed map is :math:`h(x) = E f(x + \sigma Z)` with :math:`f` the 0/1 mask of the top ``sparsity``
    pixels of the map of one noisy image. S is the top-K set of the sample mean. Bounds of all N pixels hold
    at once with probability :math:`1 - \alpha` (two-sided, union over 2N), also for the released S, which is chosen
    on the same samples; :func:`displacement_radii` turns them into the overlap at *every* radius.

    ``bound="clopper_pearson"`` is exact for 0/1 masks and is never looser than Hoeffding's at these levels;
    ``"published_hoeffding"`` is the rule of the authors' code, :math:`c = \sqrt{\ln(2N/\alpha) / 2n}`: valid, and
    five to six times as many samples for the same radii.

    Differences from the published protocol: the explained class is fixed before sampling instead of re-chosen
    at each draw, channels are merged by the attribution method before ranking, and the reported quantity is the
    population overlap (see :meth:`TopKOverlapResult.statement`).

    Args:
        top_k: K, as a share of the pixels or a pixel count.
        alpha: Probability of any false statement about one image.
        sparsity: Share or count of pixels kept of each noisy map; ``None`` keeps K.
        bound: Confidence bound of each pixel's mean.
        ties: Tie rule of the masks; ``"positive"`` is the published one.
        sync_on_compute: Add the samples of all processes.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> certificate = TopKOverlapCertificate(top_k=1, alpha=0.05)
        >>> certificate.bind(GaussianNoise(sigma=0.5), (1, 2))
        >>> certificate.update(torch.tensor([[[2.0, 1.0]]]).expand(100, 1, 2))
        >>> certificate.compute().overlap(0.5)
        1
    """

    name = "topk_overlap"
    laws = (GaussianNoise,)

    def __init__(
        self,
        top_k: float = 0.2,
        alpha: float = 0.001,
        sparsity: float | None = None,
        bound: Bound = "clopper_pearson",
        ties: Ties = "index",
        sync_on_compute: bool = False,
    ) -> None:
        super().__init__(alpha, ties, sync_on_compute)
        self.top_k, self.bound = top_k, _bound(bound)
        self.sparsity = top_k if sparsity is None else sparsity

    def mask_sizes(self, num_pixels: int) -> tuple[int, ...]:
        """See :class:`Certificate`."""
        top_k_size(self.top_k, num_pixels)
        return (top_k_size(self.sparsity, num_pixels),)

    def smallest_num_samples(self, num_pixels: int) -> int:
        """See :class:`Certificate`: enough that a pixel always chosen beats one never chosen."""
        self.mask_sizes(num_pixels)
        log_level = np.log(2 * num_pixels / self.alpha)
        return int(np.floor(2 * log_level if self.bound == "published_hoeffding" else log_level / np.log(2))) + 1

    def compute(self) -> TopKOverlapResult:
        """See :class:`Certificate`."""
        record = self._record()
        votes = self.votes[0].cpu().to(torch.int32, copy=True)  # a sum over processes promotes to int64
        return TopKOverlapResult.from_votes(votes, self.top_k, self.sparsity, self.bound, record)


def _bound(name: str) -> Bound:
    if name not in get_args(Bound):
        raise InputError(f"bound must be one of {', '.join(get_args(Bound))}, got {name!r}")
    return cast(Bound, name)


@lru_cache(maxsize=64)
def _bound_tables(num_samples: int, level: float, bound: Bound) -> tuple[npt.NDArray, npt.NDArray]:
    """Lower and upper bound of the mean for each of the ``num_samples + 1`` counts."""
    counts = np.arange(num_samples + 1)
    if bound == "published_hoeffding":
        margin = hoeffding_margin(num_samples, level)
        share = counts / num_samples
        return np.clip(share - margin, 0, 1), np.clip(share + margin, 0, 1)
    lower = clopper_pearson_lower(counts, num_samples, level)
    return lower, 1.0 - lower[::-1]
