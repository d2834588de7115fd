"""Deletion and insertion: how the prediction changes with the pixels that a map ranks first."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lit_certattr.attribution import frozen
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.baselines import centre_map, check_maps, image_ids, random_maps, removal_ranks
from lit_certattr.metrics.functional.fill import Fill, fill_images
from lit_certattr.preflight import among, check_predictions
from lit_certattr.preflight import check_classes as known_classes


class Areas(NamedTuple):
    """Area under the curve of each image, float32 ``[B]``, for the map and two rankings that do not use the network."""

    map: Tensor
    centre: Tensor
    random: Tensor


class RemovalCurves(NamedTuple):
    """Softmax probability of the explained class while pixels are removed, or inserted, in three orders.

    Attributes:
        position: Where the points lie, float32 ``[P]``: the share of the pixels that is removed or inserted; for
            certified deletion the level K.
        map: In the order of the map, float32 ``[B, P]``.
        centre: From the centre of the image outwards, with the same number of pixels at each point.
        random: In random order, with the same number of pixels at each point.
        removed: Share of the pixels that is removed or inserted at each point, float32 ``[B, P]``.
    """

    position: Tensor
    map: Tensor
    centre: Tensor
    random: Tensor
    removed: Tensor

    def areas(self) -> Areas:
        """Area under each curve by the trapezoid rule, over the range of ``position``: a mean probability."""
        span = self.position[-1] - self.position[0]
        return Areas(*(torch.trapezoid(curve, self.position) / span for curve in self[1:4]))


def deletion(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    *,
    steps: int = 50,
    fill: Fill = "mean",
    max_batch: int = 64,
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> RemovalCurves:
    """Remove the pixels of each image from the most to the least important, and record the prediction.

    A small area says that the first pixels mattered most *to this network under this fill*. An image without them is
    unlike the images the network was trained on, so part of every drop is due to that: the other two rankings, which
    remove the same number of pixels, show how much.

    Conventions of the area: the trapezoid rule over the share of removed pixels, so its width is 1 and it is a mean
    probability; it includes both end points, the whole image (0) and the image without any pixel (1). Implementations
    that leave out the first point, sum without a width, or divide the curve by its first value give other numbers.

    Args:
        model: Network from images in [0, 1] to logits; its mode, flags and gradients stay unchanged.
        images: Images ``[B, C, H, W]``.
        maps: Maps ``[B, H, W]`` of the same height and width; ties are removed by pixel index.
        targets: Explained classes ``[B]``, as in the maps.
        steps: Parts in which the pixels are removed; the curve has ``steps + 1`` points, the whole image included.
        fill: What replaces a removed pixel, see :func:`~lit_certattr.metrics.functional.fill_images`.
        max_batch: Most images evaluated at once.
        seed: Seed of the random ranking.
        ids: Ids of the images, which key their random ranking; ``None`` uses a hash of the pixels.

    Returns:
        The curves; :meth:`RemovalCurves.areas` gives the numbers.

    Raises:
        InputError: If maps, shapes or settings are unusable.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> curves = deletion(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), torch.tensor([0, 1, 1]), steps=4)
        >>> curves.map.shape, curves.position.tolist()
        (torch.Size([3, 5]), [0.0, 0.25, 0.5, 0.75, 1.0])

    Reference: Petsiuk, Das, Saenko, "RISE", BMVC 2018; Samek et al., IEEE TNNLS 2017.
    """
    rankings = _rankings(images, maps, targets, seed, ids)
    return _curves(model, images, fill_images(images, fill), rankings, targets, steps, max_batch)


def insertion(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    *,
    steps: int = 50,
    fill: Fill = "blur",
    max_batch: int = 64,
    seed: int = 0,
    ids: Sequence[str] | None = None,
) -> RemovalCurves:
    """Insert the pixels of each image into its fill from the most to the least important, and record the prediction.

    A large area says that the first pixels were enough; compare it with the areas of the other two rankings. The
    conventions are those of :func:`deletion`: width 1, from the fill alone to the whole image, both included.

    Args:
        model: See :func:`deletion`.
        images: See :func:`deletion`.
        maps: See :func:`deletion`.
        targets: See :func:`deletion`.
        steps: See :func:`deletion`.
        fill: Image into which the pixels are inserted, see :func:`~lit_certattr.metrics.functional.fill_images`.
        max_batch: See :func:`deletion`.
        seed: See :func:`deletion`.
        ids: See :func:`deletion`.

    Returns:
        The curves, from the fill alone to the whole image.

    Raises:
        InputError: If maps, shapes or settings are unusable.

    Reference: Petsiuk, Das, Saenko, "RISE", BMVC 2018.
    """
    rankings = _rankings(images, maps, targets, seed, ids)
    return _curves(model, fill_images(images, fill), images, rankings, targets, steps, max_batch)


def removal_curves(
    model: nn.Module,
    start: Tensor,
    end: Tensor,
    rankings: Sequence[Tensor],
    counts: Tensor,
    targets: Tensor,
    max_batch: int,
) -> list[Tensor]:
    """Probabilities while the pixels of ``start`` are replaced by those of ``end`` in the order of each ranking.

    Args:
        model: Network from images to logits.
        start: Images ``[B, C, H, W]``.
        end: Images of the same shape.
        rankings: Places of the pixels, int32 ``[B, H, W]`` each.
        counts: Pixels replaced at each point, int64 ``[B, P]``.
        targets: Classes ``[B]``.
        max_batch: Most images evaluated at once.

    Returns:
        Softmax probability of each image's class, float32 ``[B, P]`` for each ranking.

    Raises:
        InputError: If ``max_batch`` is below 1.
    """
    if max_batch < 1:
        raise InputError(f"max_batch must be at least 1, got {max_batch}")
    points, targets, curves = counts.shape[1], targets.to(start.device), []
    with torch.no_grad(), frozen(model):
        check_classes(model, start, targets)
        for ranks in rankings:
            values = []
            for pairs in torch.arange(counts.numel(), device=start.device).split(max_batch):
                image = pairs // points
                replaced = ranks[image] < counts.flatten()[pairs, None, None]
                logits = model(torch.where(replaced[:, None], end[image], start[image]))
                values.append(logits.float().softmax(1).gather(1, targets[image, None])[:, 0])
            curves.append(torch.cat(values).reshape(-1, points))
    return curves


def baseline_rankings(images: Tensor, seed: int, ids: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Rankings from the centre outwards, and at random: places of the pixels, int32 ``[B, H, W]`` each.

    Args:
        images: Images ``[B, C, H, W]``.
        seed: Seed of the random ranking.
        ids: Ids of the images.
    """
    height, width = images.shape[2:]
    centre = removal_ranks(centre_map(height, width)[None]).expand(len(images), -1, -1)
    random = removal_ranks(random_maps(height, width, ids, seed))
    return centre.to(images.device), random.to(images.device)


def check_removal(images: Tensor, maps: Tensor, targets: Tensor) -> None:
    """Refuse maps that do not fit the images, and targets that are not one class per image.

    Args:
        images: Images ``[B, C, H, W]``.
        maps: Maps ``[B, H, W]``.
        targets: Class indices ``[B]``.

    Raises:
        InputError: If the maps do not fit the images, or the targets are not one class per image.
    """
    if images.ndim != 4 or maps.shape != (len(images), *images.shape[2:]):
        raise InputError(f"maps must be [B, H, W] of the images, got {tuple(maps.shape)} for {tuple(images.shape)}")
    if targets.shape != (len(images),) or targets.is_floating_point():
        raise InputError(f"targets must be {len(images)} classes, got {targets.dtype} {tuple(targets.shape)}")


def check_classes(model: nn.Module, images: Tensor, targets: Tensor) -> None:
    """Refuse a network that is no fixed function of each image alone, and classes that it does not have.

    Args:
        model: The network, in eval mode, with frozen parameters.
        images: Images ``[B, C, H, W]``, of which the first one is passed twice alone and once beside others.
        targets: Classes ``[B]``.

    Raises:
        InputError: If the network fails, returns no logits, is random (dropout left on), or mixes the images of a
            batch, or a class is unknown.
    """
    image = images[:1]
    logits, _, _ = check_predictions(model, image, among(image, images[1:3]), "the first image", may_write=True)
    known_classes(targets.tolist(), logits.shape[1])


def _rankings(
    images: Tensor, maps: Tensor, targets: Tensor, seed: int, ids: Sequence[str] | None
) -> tuple[Tensor, Tensor, Tensor]:
    maps = check_maps(maps)
    check_removal(images, maps, targets)
    return removal_ranks(maps).to(images.device), *baseline_rankings(images, seed, image_ids(images, ids))


def _curves(
    model: nn.Module,
    start: Tensor,
    end: Tensor,
    rankings: Sequence[Tensor],
    targets: Tensor,
    steps: int,
    max_batch: int,
) -> RemovalCurves:
    pixels = start[0, 0].numel()
    if not 1 <= steps <= pixels:
        raise InputError(f"steps must be 1 to the number of pixels, {pixels}, got {steps}")
    counts = (2 * torch.arange(steps + 1, device=start.device) * pixels + steps) // (2 * steps)  # rounded to nearest
    together = counts.expand(len(start), -1)
    map_, centre, random = removal_curves(model, start, end, rankings, together, targets, max_batch)
    return RemovalCurves((counts / pixels).float(), map_, centre, random, (together / pixels).float())
