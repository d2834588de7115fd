"""Soft stability: how often the class that an explanation alone predicts survives as further features are shown."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lit_certattr.attribution import frozen
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.baselines import check_maps, image_ids
from lit_certattr.metrics.functional.fill import Fill, fill_images
from lit_certattr.settings import real_number, whole_number
from lit_certattr.smoothing import normal_stream
from lit_certattr.smoothing.normals import few_normals
from lit_certattr.statistics import clopper_pearson_interval


class SoftStabilities(NamedTuple):
    """Soft stability of each image, float64 ``[B]`` each.

    Attributes:
        share: Share of the drawn revealings that keep the class.
        lower: Lower end of the exact interval of the probability that a revealing keeps it.
        upper: Upper end.
    """

    share: Tensor
    lower: Tensor
    upper: Tensor


def top_features(maps: Tensor, features: Tensor, count: int) -> Tensor:
    """The features with the largest means of a map: the explanation of that size.

    Args:
        maps: Maps ``[B, H, W]``.
        features: Number of the feature of each pixel, int64 ``[H, W]``, from 0.
        count: Size of the explanation, from 1 to the number of features.

    Returns:
        bool ``[B, n]``; of equal means the feature with the smaller number comes first.

    Raises:
        InputError: If a map or a number cannot be used.

    Example:
        >>> halves = torch.tensor([[0, 0, 1, 1]])
        >>> top_features(torch.tensor([[[0.1, 0.2, 0.5, 0.4]]]), halves, 1).tolist()
        [[False, True]]
    """
    maps, number = check_maps(maps), check_features(features, maps.shape[1:])
    if not 1 <= whole_number("count", count) <= number:
        raise InputError(f"count must lie in 1..{number}, got {count}")
    flat = features.flatten().to(maps.device)
    sums = torch.zeros(len(maps), number, dtype=torch.float64, device=maps.device)
    sums.index_add_(1, flat, maps.flatten(1).double())
    order = (sums / torch.bincount(flat, minlength=number)).argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(sums, dtype=torch.bool).scatter_(1, order[:, :count], True)


def soft_stability(
    model: nn.Module,
    images: Tensor,
    features: Tensor,
    explanations: Tensor,
    radius: int,
    *,
    num_samples: int = 200,
    fill: Fill = 0.5,
    confidence: float = 0.95,
    max_batch: int = 64,
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> SoftStabilities:
    r"""Probability that a random revealing of at most r further features keeps the predicted class.

    The network sees the features of the explanation alone, all others are filled; its class there is the reference. A
    revealing adds at most r of the other features; it is drawn uniformly among all these sets, the empty one included.
    With m other features, sets of k have the share :math:`\binom{m}{k} / \sum_{j \le r} \binom{m}{j}`, so nearly all
    revealings have the full size. The samples are independent: the interval is that of Clopper and Pearson, exact for
    every number of samples, and in place of the published bound of Hoeffding, which is wider.

    This is an estimate about one network without noise, on images that are mostly filled; it bounds no worst case.
    For that, certify with ``PatchMaskNoise``.

    Args:
        model: Network from images in [0, 1] to logits; its mode, flags and gradients stay unchanged.
        images: Images ``[B, C, H, W]``.
        features: Number of the feature of each pixel, int64 ``[H, W]``, from 0.
        explanations: The features that are shown, bool ``[B, n]``.
        radius: Largest number r of features that are revealed, at least 1; where fewer are left, all of them may be.
        num_samples: Revealings drawn for each image.
        fill: What replaces hidden features, see :func:`~lit_certattr.metrics.functional.fill_images`.
        confidence: Probability with which the interval of one image holds.
        max_batch: Most images evaluated at once.
        seed: Seed of the revealings.
        ids: Ids of the images, which key their revealings; ``None`` uses a hash of the pixels.

    Returns:
        The share and its interval, for each image.

    Raises:
        InputError: If features, explanations, shapes or settings are unusable.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> cells = torch.arange(16).reshape(4, 4)
        >>> shown = torch.arange(16).expand(3, -1) < 8
        >>> found = soft_stability(net, torch.rand(3, 1, 4, 4), cells, shown, radius=2)
        >>> bool((found.lower <= found.share).all() and (found.share <= found.upper).all())
        True

    Reference: Jin, Xue, You, Goel, Wong, "Probabilistic Stability Guarantees for Feature Attributions", 2025
    (arXiv 2504.13787); Clopper & Pearson (1934).
    """
    number = check_features(features, images.shape[2:])
    if explanations.dtype != torch.bool or tuple(explanations.shape) != (len(images), number):
        raise InputError(f"explanations must be bool [{len(images)}, {number}], got {tuple(explanations.shape)}")
    whole_number("radius", radius, least=1)
    whole_number("num_samples", num_samples, least=1)
    whole_number("max_batch", max_batch, least=1)
    if not 0 < real_number("confidence", confidence) < 1:
        raise InputError(f"confidence must lie in (0, 1), got {confidence}")
    shares = []
    with torch.no_grad(), frozen(model):
        filled, pixels = fill_images(images, fill), features.to(images.device)
        for image, hidden, shown, name in zip(images, filled, explanations, image_ids(images, ids), strict=True):
            reference = model(torch.where(shown.to(images.device)[pixels], image, hidden)[None]).argmax(1)
            kept = 0
            for start in range(0, num_samples, max_batch):
                count = min(max_batch, num_samples - start)
                sets = revealings(shown.cpu(), radius, name, start, count, seed).to(images.device)
                copies = torch.where(sets[:, pixels][:, None], image, hidden)
                kept += int((model(copies).argmax(1) == reference).sum())
            shares.append((kept / num_samples, *clopper_pearson_interval(kept, num_samples, confidence)))
    return SoftStabilities(*torch.tensor(shares, dtype=torch.float64).reshape(-1, 3).unbind(1))


def revealings(shown: Tensor, radius: int, name: str, start: int, count: int, seed: int = 0) -> Tensor:
    """Random supersets of an explanation with at most so many features more, uniform among all of them.

    Args:
        shown: The explanation, bool ``[n]``, on the CPU.
        radius: Largest number of further features.
        name: Id of the image, which keys the draws with the seed.
        start: Index of the first draw; a draw does not depend on the number of draws at once.
        count: Number of draws.
        seed: Seed.

    Returns:
        bool ``[count, n]``.
    """
    hidden = int((~shown).sum())
    key = normal_stream(seed, f"{name}\x00revealing", "cpu").key
    normals = torch.from_numpy(few_normals(key, start, count, 1 + hidden))
    uniform = torch.special.ndtr(normals[:, 0]).numpy()
    sizes = np.searchsorted(size_probabilities(hidden, radius).cumsum(), uniform, side="right").clip(max=hidden)
    places = normals[:, 1:].argsort(1).argsort(1)
    sets = shown.expand(count, -1).clone()
    sets[:, ~shown] = places < torch.from_numpy(np.minimum(sizes, radius))[:, None]
    return sets


def size_probabilities(hidden: int, radius: int) -> npt.NDArray[np.float64]:
    """Share of the sets of each size among all sets of at most so many features.

    Args:
        hidden: Number of features to choose from.
        radius: Largest size.

    Example:
        >>> size_probabilities(3, 2).tolist()  # 1, 3 and 3 sets
        [0.14285714285714285, 0.42857142857142855, 0.42857142857142855]
    """
    counts = [math.comb(hidden, size) for size in range(min(radius, hidden) + 1)]
    return np.array([count / sum(counts) for count in counts])


def check_features(features: Tensor, sides: Sequence[int]) -> int:
    """Check the numbers of features, and return how many there are.

    Args:
        features: Number of the feature of each pixel.
        sides: Height and width of the image.

    Raises:
        InputError: If they are not int64 ``[H, W]`` with each number from 0 to the largest.
    """
    if features.dtype != torch.int64 or tuple(features.shape) != tuple(sides):
        raise InputError(f"features must be int64 {tuple(sides)}, got {features.dtype} {tuple(features.shape)}")
    numbers = features.unique()
    if int(numbers[0]) != 0 or int(numbers[-1]) != len(numbers) - 1:
        raise InputError(
            f"features must be numbered 0, 1, ... without a gap, got {len(numbers)} up to {int(numbers[-1])}"
        )
    return len(numbers)
