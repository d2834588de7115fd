r"""Locality-sensitive overlap (LENS) of the top pixels of a clean and a perturbed map, with its chance level.

Notation of all functions here: S and T are the top k pixels of the clean and of the perturbed map (ties by ascending
row-major index, so exactly k on any map, constant ones included), n the number of pixels, and :math:`N_w(Q)` the
pixels at chessboard distance at most w from Q, cut at the border: w = 1 is a 3x3 window.

Reference: Kamath, Mittal, Deshpande, Balasubramanian, "Rethinking robustness of model attributions", AAAI 2024.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_certattr.devices import values_are_free
from lit_certattr.metrics.functional.diverse import diverse_masks
from lit_certattr.metrics.functional.pairs import Part, check_part, checked_maps, part_of, set_size
from lit_certattr.metrics.functional.windows import check_window, check_windows, neighbourhoods
from lit_certattr.smoothing import top_k_mask


class LENSScores(NamedTuple):
    """All LENS numbers of pairs of maps, float32 ``[..., len(windows)]`` each."""

    intersection: Tensor
    precision: Tensor
    recall: Tensor
    intersection_chance: Tensor
    precision_chance: Tensor
    recall_chance: Tensor
    picks_clean: Tensor
    """Pixels of S: k, or fewer where a diverse set is exhausted."""
    picks_perturbed: Tensor
    """Pixels of T."""

    def part(self, name: str, part: Part) -> Tensor:
        """A part of ``"intersection"``, ``"precision"`` or ``"recall"``: score, chance level or adjusted score."""
        return part_of(getattr(self, name), getattr(self, f"{name}_chance"), part)


def lens_scores(
    clean: Tensor, perturbed: Tensor, k: float, windows: Sequence[int] = (1, 2, 3), diverse: bool = False
) -> LENSScores:
    r"""Top-k intersection, w-LENS-prec@k and w-LENS-recall@k for several w, and their chance levels, in one pass.

    .. math:: \frac{|S \cap T|}{\max(|S|, |T|)}, \quad
        \text{prec} = \frac{|S \cap N_w(T)|}{|S|}, \quad \text{recall} = \frac{|T \cap N_w(S)|}{|T|}.

    The names follow the paper. With the clean map as ground truth they are swapped compared with information
    retrieval, where the share of the *retrieved* set T that is relevant is precision.

    prec(a, b) = recall(b, a); both grow with w; w = 0 gives the intersection.

    **Chance.** For fixed T and a set S drawn uniformly among those of its size, :math:`E[\text{prec}] = |N_w(T)| / n`,
    since each member of S is uniform; recall likewise with S fixed, and the intersection has
    :math:`\min(|S|, |T|) / n`. Windows of many pixels cover much of a map: always read a score together with its chance
    level. Diverse sets of random maps are slightly biased to the border, so for them the level is approximate.

    Args:
        clean: Maps of the clean images ``[..., H, W]``, finite, any float type.
        perturbed: Maps of the perturbed images, same shape.
        k: Pixels of S and T: a share in (0, 1) or a count of 1 to H * W.
        windows: w: distances that a pixel may move, ascending.
        diverse: S and T are the :func:`diverse_top_k` sets of the same w (the "-div" numbers of the paper).

    Raises:
        InputError: If the maps do not fit each other or are not finite, or a setting is out of range.

    Example:
        >>> clean, perturbed = torch.eye(8)[:1].view(1, 8), torch.eye(8)[1:2].view(1, 8)
        >>> scores = lens_scores(clean, perturbed, k=1, windows=[0, 1])
        >>> scores.precision, scores.precision_chance
        (tensor([0., 1.]), tensor([0.1250, 0.3750]))
    """
    pair, windows = checked_maps(clean, perturbed), check_windows(windows)
    num_pixels = clean.shape[-1] * clean.shape[-2]
    size = set_size(k, num_pixels)
    columns = [_counts(masks, near) for masks, near in _sets(pair, size, windows, diverse)]
    counts = torch.stack(columns, dim=-1).float().reshape(7, *clean.shape[:-2], len(windows))
    picks, shared, near, found = counts.split([2, 1, 2, 2])
    scores, chance = found / picks, near.flip(0) / num_pixels
    return LENSScores(
        intersection=shared[0] / picks.amax(0),
        precision=scores[0],
        recall=scores[1],
        intersection_chance=picks.amin(0) / num_pixels,
        precision_chance=chance[0],
        recall_chance=chance[1],
        picks_clean=picks[0],
        picks_perturbed=picks[1],
    )


def top_k_intersection(clean: Tensor, perturbed: Tensor, k: float, part: Part = "score") -> Tensor:
    r"""Top-k intersection :math:`|S \cap T| / k`.

    Args:
        clean: Maps of the clean images ``[..., H, W]``.
        perturbed: Maps of the perturbed images, same shape.
        k: Share in (0, 1) or count of pixels.
        part: ``"score"``, its ``"chance"`` level k / n, or the ``"adjusted"`` score (1 perfect, 0 chance).

    Returns:
        Float32 ``[...]``; the score is in [0, 1].

    Raises:
        InputError: As :func:`lens_scores`.

    Example:
        >>> top_k_intersection(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[3.0, 1.0, 2.0]]), k=2)
        tensor(0.5000)
    """
    check_part(part)
    return lens_scores(clean, perturbed, k, [0]).part("intersection", part)[..., 0]


def lens_precision(
    clean: Tensor, perturbed: Tensor, k: float, window: int = 1, diverse: bool = False, part: Part = "score"
) -> Tensor:
    r"""w-LENS-prec@k of Kamath et al. (2024): :math:`|S \cap N_w(T)| / |S|`, the share of S that is near T.

    Swapped with :func:`lens_recall` with respect to information retrieval; see :func:`lens_scores`.

    Args:
        clean: Maps of the clean images ``[..., H, W]``.
        perturbed: Maps of the perturbed images, same shape.
        k: Share in (0, 1) or count of pixels.
        window: w: distance that a pixel may move.
        diverse: Compare :func:`diverse_top_k` sets.
        part: ``"score"``, its ``"chance"`` level :math:`|N_w(T)| / n`, or the ``"adjusted"`` score: 1 is perfect, 0
            what a random S reaches, NaN if :math:`N_w(T)` is the whole map.

    Returns:
        Float32 ``[...]``; the score is in [0, 1].

    Raises:
        InputError: As :func:`lens_scores`.

    Example:
        >>> clean, perturbed = torch.tensor([[9.0, 0.0, 8.0, 0.0]]), torch.tensor([[0.0, 9.0, 0.0, 0.0]])
        >>> lens_precision(clean, perturbed, k=1, window=1)
        tensor(1.)
    """
    check_part(part)
    return lens_scores(clean, perturbed, k, [check_window(window)], diverse).part("precision", part)[..., 0]


def lens_recall(
    clean: Tensor, perturbed: Tensor, k: float, window: int = 1, diverse: bool = False, part: Part = "score"
) -> Tensor:
    r"""w-LENS-recall@k of Kamath et al. (2024): :math:`|T \cap N_w(S)| / |T|`, the share of T that is near S.

    Swapped with :func:`lens_precision` with respect to information retrieval; see :func:`lens_scores`.

    Args:
        clean: Maps of the clean images ``[..., H, W]``.
        perturbed: Maps of the perturbed images, same shape.
        k: Share in (0, 1) or count of pixels.
        window: w: distance that a pixel may move.
        diverse: Compare :func:`diverse_top_k` sets.
        part: ``"score"``, its ``"chance"`` level :math:`|N_w(S)| / n`, or the ``"adjusted"`` score.

    Returns:
        Float32 ``[...]``; the score is in [0, 1].

    Raises:
        InputError: As :func:`lens_scores`.
    """
    check_part(part)
    return lens_scores(clean, perturbed, k, [check_window(window)], diverse).part("recall", part)[..., 0]


def diverse_top_k_intersection(
    clean: Tensor, perturbed: Tensor, k: float, window: int = 1, part: Part = "score"
) -> Tensor:
    r"""Top-k-div intersection :math:`|D(a) \cap D(b)| / \max(|D(a)|, |D(b)|)` of the :func:`diverse_top_k` sets.

    Args:
        clean: Maps of the clean images ``[..., H, W]``.
        perturbed: Maps of the perturbed images, same shape.
        k: Share in (0, 1) or count of pixels; the sets have fewer where they are exhausted.
        window: w: picks block each other within this distance.
        part: ``"score"``, its ``"chance"`` level, or the ``"adjusted"`` score.

    Returns:
        Float32 ``[...]``; the score is in [0, 1].

    Raises:
        InputError: As :func:`lens_scores`.
    """
    check_part(part)
    scores = lens_scores(clean, perturbed, k, [check_window(window)], diverse=True)
    return scores.part("intersection", part)[..., 0]


def lens_chance(shape: tuple[int, int], k: float, window: int) -> float:
    r"""Expected w-LENS-prec@k (and recall) of two independent, uniformly random sets of k pixels.

    .. math:: \frac1n \sum_p \Bigl(1 - \binom{n - |N_w(p)|}{k} \Big/ \binom nk\Bigr)

    since p is near T unless T misses all of :math:`N_w(p)`, and S is uniform. The ratio of the binomials is
    :math:`\prod_{j < |N_w(p)|} (n - k - j) / (n - j)`.

    Args:
        shape: H and W.
        k: Share in (0, 1) or count of pixels.
        window: w: distance that a pixel may move.

    Example:
        >>> round(lens_chance((224, 224), 1000, 3), 3)
        0.621
    """
    num_pixels = shape[0] * shape[1]
    size = set_size(k, num_pixels)
    rows, columns = (_window_sizes(side, check_window(window)) for side in shape)
    areas = np.multiply.outer(rows, columns)
    j = np.arange(areas.max(), dtype=np.float64)
    missed = np.concatenate([[1.0], np.cumprod(np.maximum(num_pixels - size - j, 0) / (num_pixels - j))])
    return float(1 - missed[areas].mean())


def _window_sizes(side: int, window: int) -> np.ndarray:
    i = np.arange(side)
    return np.minimum(side, i + window + 1) - np.maximum(0, i - window)


def _sets(pair: list[Tensor], size: int, windows: Sequence[int], diverse: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """The sets of both maps ``[2, B, H, W]`` and their neighbourhoods, for each window."""
    if diverse:
        for window in windows:
            masks = torch.stack([diverse_masks(maps, size, window) for maps in pair])
            yield masks, next(neighbourhoods(masks, [window]))
    else:
        masks = torch.stack([top_k_mask(maps, size) for maps in pair])
        for near in neighbourhoods(masks, windows):
            yield masks, near


def _counts(masks: Tensor, near: Tensor) -> Tensor:
    """Counts ``[7, B]``: both sets, their intersection, both neighbourhoods, and each set inside the other's."""
    parts = masks, masks[:1] & masks[1:], near, masks & near.flip(0)
    if values_are_free(masks):  # counting bytes row by row is ten times as fast as a sum of booleans
        counts = [np.count_nonzero(row) for part in parts for row in part.flatten(0, 1).numpy()]
        return torch.tensor(counts, dtype=torch.int64).view(7, -1 if counts else 0)
    return torch.cat([part.sum((-2, -1)) for part in parts])
