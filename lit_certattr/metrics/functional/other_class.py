"""Does a map depend on the class that it explains? Compared with the map of another class, drawn at random."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lit_certattr.attribution import Attribution, frozen
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.agreement import ssim
from lit_certattr.metrics.functional.baselines import image_ids, random_maps
from lit_certattr.metrics.functional.deletion import check_classes
from lit_certattr.metrics.functional.randomisation import explain
from lit_certattr.preflight import check_classes as known_classes
from lit_certattr.smoothing.normals import image_key

Similarity = Callable[[Tensor, Tensor], Tensor]
"""From two batches of maps ``[B, H, W]`` to one number per pair ``[B]``."""


class RandomLogits(NamedTuple):
    """Similarity of the maps of two classes, one number per image.

    Attributes:
        map: Similarity of the map of the target to that of the other class, float32 ``[B]``; NaN where a map is
            constant. Small is good.
        chance: The same when the pixels of the other map are in random order, float32 ``[B]``.
        others: The other classes, int64 ``[B]``.
    """

    map: Tensor
    chance: Tensor
    others: Tensor


def random_logit(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    attribution: Attribution,
    *,
    similarity: Similarity = ssim,
    others: Tensor | None = None,
    max_batch: int = 64,
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> RandomLogits:
    """Similarity of the map of the target class to the map of a random other class of the same image.

    A map that stays the same explains no class in particular: edges of the image, say. The check refutes, it never
    confirms. Some similarity is due to the image, of which only one part shows anything: compare methods on the same
    network and the same images.

    Conventions: here the similarity is :func:`~lit_certattr.metrics.functional.ssim` of the absolute values of the maps
    as pictures, each scaled by itself. Quantus computes it of the signed maps as one row of pixels, with windows of 7,
    after it has divided them by the largest value of the batch, so that a number depends on the other images.

    Args:
        model: Network from images in [0, 1] to logits of at least two classes; it stays as it is.
        images: Images ``[B, C, H, W]``.
        targets: Explained classes ``[B]``.
        attribution: The method.
        similarity: From two batches of maps ``[B, H, W]`` to one number per pair ``[B]``, e.g.
            :func:`~lit_certattr.metrics.functional.spearman`.
        others: The other classes ``[B]``, each another one than the target; ``None`` draws them.
        max_batch: Most images explained at once.
        seed: Seed of the other classes and of the order of the pixels.
        ids: Stable ids of the images: what is drawn for an image depends on the seed and its id alone. ``None`` takes a
            hash of its pixels.

    Returns:
        The similarities, beside chance.

    Raises:
        InputError: If the network has one logit only, a class is unknown, one of ``others`` is the target, or
            ``max_batch`` is below 1.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> found = random_logit(net, torch.rand(4, 1, 8, 8), torch.zeros(4).long(), Gradient())
        >>> found.map.shape, bool((found.others > 0).all())
        (torch.Size([4]), True)

    Reference: Sixt, Granz & Landgraf, "When explanations lie: why many modified BP attributions fail", ICML 2020.
    """
    if max_batch < 1:
        raise InputError(f"max_batch must be at least 1, got {max_batch}")
    with torch.inference_mode(False), torch.no_grad(), frozen(model):
        images, targets = images.clone(), targets.to(images.device, copy=True)  # usable outside of inference_mode
        names = image_ids(images, ids)
        check_classes(model, images, targets)
        count = model(images[:1].clone()).shape[1]
        if others is None:
            others = _draw(targets, count, seed, names)
        others = _checked(others.to(images.device, copy=True), targets, count)
        first, second = (explain(attribution, model, images, classes, max_batch) for classes in (targets, others))
        mixed = _shuffled(second, seed, names)
        constant = _constant(first) | _constant(second)
        found = [similarity(first, maps).masked_fill(constant, torch.nan).float() for maps in (second, mixed)]
    return RandomLogits(found[0], found[1], others)


def _draw(targets: Tensor, count: int, seed: int, ids: Sequence[str]) -> Tensor:
    steps = [1 + image_key(seed, f"{name}\x00other class") % (count - 1) for name in ids]
    return (targets + torch.tensor(steps, device=targets.device)) % count


def _checked(others: Tensor, targets: Tensor, count: int) -> Tensor:
    if others.shape != targets.shape:
        raise InputError(f"others must be {len(targets)} classes, got {tuple(others.shape)}")
    known_classes(others.tolist(), count)
    if bool((others == targets).any()):
        place = int((others == targets).nonzero()[0])
        raise InputError(
            f"others must differ from the targets, but image {place} has class {int(targets[place])} twice"
        )
    return others


def _constant(maps: Tensor) -> Tensor:
    return maps.flatten(1).amax(1) == maps.flatten(1).amin(1)


def _shuffled(maps: Tensor, seed: int, ids: Sequence[str]) -> Tensor:
    """The maps with their pixels in an order that depends on seed and id alone."""
    order = random_maps(maps.shape[1], maps.shape[2], ids, seed).flatten(1).argsort(1).to(maps.device)
    return maps.flatten(1).gather(1, order).view_as(maps)
