r"""LENS numbers of every k at once, and the dissimilarities that sum over k.

S_k and T_k are the top k pixels of the clean and the perturbed map; see :mod:`lit_certattr.metrics.functional.lens`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.lens import lens_scores
from lit_certattr.metrics.functional.pairs import Part, check_part, checked_pair, part_of, set_size
from lit_certattr.metrics.functional.ranking import ordinal_ranks
from lit_certattr.metrics.functional.windows import check_window, window_minimum


class LENSCurves(NamedTuple):
    """LENS numbers for several k, float32 ``[..., len(ks)]`` each."""

    precision: Tensor
    recall: Tensor
    precision_chance: Tensor
    recall_chance: Tensor

    def part(self, name: str, part: Part) -> Tensor:
        """A part of ``"precision"`` or ``"recall"``: score, chance level or adjusted score."""
        return part_of(getattr(self, name), getattr(self, f"{name}_chance"), part)


def lens_curves(clean: Tensor, perturbed: Tensor, window: int = 1, ks: Sequence[float] | None = None) -> LENSCurves:
    r"""w-LENS-prec@k and w-LENS-recall@k for every k, and their chance levels, in one pass.

    With ranks r from 1 (largest) and :math:`\bar r_b(p) = \min_{q \in N_w(p)} r_b(q)`, pixel p is in
    :math:`S_k \cap N_w(T_k)` if and only if :math:`\max(r_a(p), \bar r_b(p)) \le k`, and in :math:`N_w(T_k)` if and
    only if :math:`\bar r_b(p) \le k`: two histograms and their running sums give all k.

    Args:
        clean: Maps of the clean images ``[..., H, W]``, finite, any float type.
        perturbed: Maps of the perturbed images, same shape.
        window: w: distance that a pixel may move; 0 gives the top-k intersection.
        ks: Shares or counts to report; ``None`` for 1, 2, ..., H * W.

    Raises:
        InputError: If the maps do not fit each other or are not finite, or a setting is out of range.

    Example:
        >>> lens_curves(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0.0, 1.0, 2.0]]), window=1).precision
        tensor([0., 1., 1.])
    """
    both = checked_pair(clean, perturbed)
    num_pixels = clean.shape[-1] * clean.shape[-2]
    ranks = ordinal_ranks(both.flatten(-2).flatten(0, 1)).view(both.shape)
    near = window_minimum(ranks, check_window(window))
    sizes = torch.arange(1, num_pixels + 1) if ks is None else torch.tensor([set_size(k, num_pixels) for k in ks])
    sizes = sizes.to(both.device)
    found, area = (
        counts[..., sizes].float().reshape(2, *clean.shape[:-2], len(sizes))
        for counts in (_reached(torch.maximum(ranks, near.flip(0))), _reached(near))
    )
    return LENSCurves(found[0] / sizes, found[1] / sizes, area[1] / num_pixels, area[0] / num_pixels)


def lens_dissimilarity(clean: Tensor, perturbed: Tensor, k: float, window: int = 1, part: Part = "score") -> Tensor:
    r""":math:`d_k^{(w)} = 1 - \tfrac12 (\text{w-LENS-prec@k} + \text{w-LENS-recall@k})` of Kamath et al. (2024).

    **Not a metric** for w >= 1, nor a pseudometric: on one row of pixels let three maps have their top pixel in column
    0, 1 and 2. With k = w = 1 the first two and the last two have distance 0, the outer ones 1. For every w,
    :math:`d_k^{(w+1)} \le d_k^{(w)} \le d_k^{(0)} = |S_k \triangle T_k| / (2k)`.

    Args:
        clean: Maps of the clean images ``[..., H, W]``.
        perturbed: Maps of the perturbed images, same shape.
        k: Share in (0, 1) or count of pixels.
        window: w: distance that a pixel may move.
        part: ``"score"`` (0 is perfect), its ``"chance"`` level, or ``"adjusted"``, their ratio (1 is chance).

    Returns:
        Float32 ``[...]``; the score is in [0, 1].

    Raises:
        InputError: As :func:`lens_curves`.

    Example:
        >>> lens_dissimilarity(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0.0, 1.0, 2.0]]), k=1)
        tensor(1.)
    """
    check_part(part)
    scores = lens_scores(clean, perturbed, k, [check_window(window)])
    distance = 1 - (scores.precision + scores.recall) / 2
    return _distance_part(distance, 1 - (scores.precision_chance + scores.recall_chance) / 2, part)[..., 0]


def mean_lens_dissimilarity(
    clean: Tensor, perturbed: Tensor, window: int = 1, weights: Tensor | None = None, part: Part = "score"
) -> Tensor:
    r""":math:`d^{(w)} = \sum_k \alpha_k d_k^{(w)}`, over all k, of Kamath et al. (2024).

    At w = 0 it is u / 2 (:func:`mean_set_difference`), and it decreases as w grows. No metric for w >= 1; see
    :func:`lens_dissimilarity`.

    Args:
        clean: Maps of the clean images ``[..., H, W]``.
        perturbed: Maps of the perturbed images, same shape.
        window: w: distance that a pixel may move.
        weights: :math:`\alpha_1, \dots, \alpha_n`, not negative, sum 1; ``None`` for 1 / n each.
        part: ``"score"`` (0 is perfect), its ``"chance"`` level, or ``"adjusted"``, their ratio.

    Returns:
        Float32 ``[...]``; the score is in [0, 1].

    Raises:
        InputError: As :func:`lens_curves`, or if the weights are none.
    """
    check_part(part)
    curves = lens_curves(clean, perturbed, window)
    alpha = _weights(weights, curves.precision)
    distance = ((1 - (curves.precision + curves.recall) / 2) * alpha).sum(-1)
    chance = ((1 - (curves.precision_chance + curves.recall_chance) / 2) * alpha).sum(-1)
    return _distance_part(distance, chance, part).float()


def mean_set_difference(
    clean: Tensor, perturbed: Tensor, weights: Tensor | None = None, part: Part = "score"
) -> Tensor:
    r""":math:`u = \sum_k \alpha_k |S_k \triangle T_k| / k`, over all k, of Kamath et al. (2024).

    With all :math:`\alpha_k > 0` for k < n it is a metric on *rankings*, and therefore only a pseudometric on maps:
    u(a, 2a) = 0. It ignores where pixels are; :func:`mean_lens_dissimilarity` at w = 0 is its half.

    Args:
        clean: Maps of the clean images ``[..., H, W]``.
        perturbed: Maps of the perturbed images, same shape.
        weights: :math:`\alpha_1, \dots, \alpha_n`, not negative, sum 1; ``None`` for 1 / n each.
        part: ``"score"`` (0 is perfect), its ``"chance"`` level, or ``"adjusted"``, their ratio.

    Returns:
        Float32 ``[...]``; the score is in [0, 2].

    Raises:
        InputError: As :func:`mean_lens_dissimilarity`.

    Example:
        >>> mean_set_difference(torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 2.0]]))
        tensor(1.)
    """
    half = mean_lens_dissimilarity(clean, perturbed, 0, weights, part)
    return half if part == "adjusted" else 2 * half


def _reached(firsts: Tensor) -> Tensor:
    """Number of pixels whose first k is at most k, for k = 0 .. n: ``[2, B, H, W]`` to int64 ``[2, B, n + 1]``."""
    firsts = firsts.flatten(-2).long()
    histogram = firsts.new_zeros((*firsts.shape[:-1], firsts.shape[-1] + 1))
    return histogram.scatter_add_(-1, firsts, torch.ones_like(firsts)).cumsum(-1)


def _weights(weights: Tensor | None, curve: Tensor) -> Tensor:
    if weights is None:
        return curve.new_full((), 1 / curve.shape[-1])
    if weights.shape != curve.shape[-1:]:
        raise InputError(f"weights must be one number a k, [{curve.shape[-1]}], got {list(weights.shape)}")
    if not bool((weights >= 0).all() & ((weights.double().sum() - 1).abs() < 1e-6)):
        raise InputError(f"weights must not be negative and must sum to 1, got the sum {float(weights.sum())}")
    return weights.to(curve.device)


def _distance_part(distance: Tensor, chance: Tensor, part: Part) -> Tensor:
    if part == "adjusted":
        return torch.where(chance > 0, distance / chance, torch.nan)
    return distance if part == "score" else chance
