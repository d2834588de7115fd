"""Certified top-K overlap of rank-scored smoothing, by Renyi divergences."""

from collections.abc import Sequence
from typing import Literal, get_args

from lit_certattr.certificates.topk_overlap import TopKOverlapCertificate
from lit_certattr.errors import InputError
from lit_certattr.smoothing.sparsify import Ties

Scores = Literal["linear", "uniform"]


class RenyiCertificate(TopKOverlapCertificate):
    r"""Certified top-K overlap by Renyi divergences, of maps scored by rank (after Liu et al., 2021).

    Each noisy map is replaced by scores of its ranks that sum to one: linear over the top ``sparsity`` pixels, or
    uniform on them. The mean is a distribution :math:`m(x)` over pixels. Moving the image by :math:`\delta` moves it
    by a Renyi divergence of at most :math:`\alpha \|\delta\|^2 / 2\sigma^2` in either direction, and displacing pixels
    of the top K costs a divergence that :func:`~lit_certattr.certificates.renyi_bounds.swap_divergence` bounds from
    below for every order; the best order and direction give the radius. Means are bounded by exact binomial bounds of
    all pixels, as in :class:`TopKOverlapCertificate`: linear scores are counted as masks of a random size.

    It says the same kind of thing as :class:`TopKOverlapCertificate` and holds for the same noise. A divergence counts
    the probability that moves, so radii are smaller where the scores are spread over many pixels, the usual case;
    but the scores add up to one, which Neyman and Pearson's lemma does not know, so they can be larger where few pixels
    hold most of them.

    Args:
        top_k: K, as a share of the pixels or a pixel count.
        alpha: Probability of any false statement about one image.
        sparsity: Share or count of pixels that score in each noisy map; ``None`` takes K.
        scores: ``"linear"`` or ``"uniform"``.
        uncovered: See :class:`TopKOverlapCertificate`.
        ties: Tie rule of uniform scores.
        sync_on_compute: Add the samples of all processes.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> certificate = RenyiCertificate(top_k=1, alpha=0.05, scores="uniform")
        >>> certificate.bind(GaussianNoise(sigma=0.5), (1, 2))
        >>> certificate.update(torch.tensor([[[2.0, 1.0]]]).expand(100, 1, 2))
        >>> certificate.compute().overlap(0.2)
        1
    """

    name = "renyi"

    def __init__(
        self,
        top_k: float = 0.2,
        alpha: float = 0.001,
        sparsity: float | None = None,
        scores: Scores = "linear",
        uncovered: Sequence[float] | None = None,
        ties: Ties = "index",
        sync_on_compute: bool = False,
    ) -> None:
        if scores not in get_args(Scores):
            raise InputError(f"scores must be one of {', '.join(get_args(Scores))}, got {scores!r}")
        super().__init__(
            top_k,
            alpha,
            sparsity,
            bound="renyi",
            map_kind="ranked" if scores == "linear" else "sparsified",
            uncovered=uncovered,
            ties=ties,
            sync_on_compute=sync_on_compute,
        )
