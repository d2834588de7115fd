"""Does a map point at the object? Numbers of each image, beside the image centre and chance."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.baselines import centre_map, check_maps, removal_ranks


class Localisation(NamedTuple):
    """Numbers of each image, float32 ``[B]``.

    Attributes:
        map: Of the map.
        centre: The same of :func:`~lit_certattr.metrics.functional.centre_map`.
        uniform: The same of a map without preference, i.e. chance.
        empty: 1 where the map points nowhere (no positive value; for the pointing game and the rank accuracy a
            constant map). It counts as 0 in ``map``.
    """

    map: Tensor
    centre: Tensor
    uniform: Tensor
    empty: Tensor


def energy_in_mask(maps: Tensor, masks: Tensor) -> Localisation:
    r"""Share of the positive mass of a map that lies in a mask, :math:`\sum_{p \in M} a_p^+ / \sum_p a_p^+`.

    Convention: negative values count as 0. Libraries that take absolute values, or first shift a map so that its
    smallest value is 0, give other numbers for signed maps.

    Args:
        maps: Maps ``[B, H, W]``; negative values are ignored.
        masks: Where the object is, boolean ``[B, H, W]``, no mask empty; :func:`box_masks` makes them of boxes.

    Returns:
        Shares in [0, 1]. Chance is the share of the pixels that the mask covers.

    Raises:
        InputError: If maps are not finite, shapes differ, or a mask is empty.

    Example:
        >>> maps, masks = torch.tensor([[[3.0, 1.0], [-9.0, 0.0]]]), torch.tensor([[[True, False], [False, False]]])
        >>> energy = energy_in_mask(maps, masks)
        >>> energy.map.item(), energy.uniform.item()
        (0.75, 0.25)

    Reference: Wang et al., "Score-CAM", CVPR workshops 2020 (the energy-based pointing game).
    """
    maps, masks = check_maps(maps), check_masks(masks, maps)
    centre = centre_map(*maps.shape[1:]).to(maps.device).expand_as(maps)
    return Localisation(
        map=_positive_share(maps, masks),
        centre=_positive_share(centre, masks),
        uniform=masks.float().mean((1, 2)),
        empty=(maps <= 0).flatten(1).all(1).float(),
    )


def gridpg(maps: Tensor, cells: Tensor | Sequence[int]) -> Localisation:
    r"""Grid pointing game: share of the positive mass in the cell that shows the explained class.

    Args:
        maps: Maps ``[B, H, W]`` of 2 x 2 mosaics, each of the class of one cell.
        cells: Which cell, ``[B]``: 0 and 1 above, 2 and 3 below, from the left.

    Returns:
        Shares in [0, 1]. Chance is 1/4, and so is the image centre: it is the middle of the mosaic.

    Raises:
        InputError: If maps are not finite or have odd sides, or a cell is unknown.

    Example:
        >>> gridpg(torch.tensor([[[3.0, 1.0], [0.0, 0.0]]]), [0]).map
        tensor([0.7500])

    Reference: Boehle, Fritz, Schiele, "Convolutional dynamic alignment networks", CVPR 2021;
    Rao, Boehle, Schiele, "Towards better understanding attribution methods", CVPR 2022.
    """
    maps = check_maps(maps)
    if len(cells) != len(maps):
        raise InputError(f"cells must name one cell per map, got {len(cells)} for {len(maps)} maps")
    return energy_in_mask(maps, cell_masks(cells, *maps.shape[1:]).to(maps.device))


def pointing_game(maps: Tensor, masks: Tensor, tolerance: int = 0) -> Localisation:
    """Whether the largest value of a map lies on the object, or near it.

    Conventions: of tied maxima the first pixel counts, in reading order (elsewhere a hit of *any* tied pixel may
    count, which favours maps with many ties); the tolerance is a Euclidean distance; a constant map is a miss.

    Args:
        maps: Maps ``[B, H, W]``; of tied maxima the first pixel counts.
        masks: Where the object is, boolean ``[B, H, W]``, no mask empty.
        tolerance: Distance in pixels that still counts as a hit; Zhang et al. (2018) use 15 on photographs.

    Returns:
        1 for a hit and 0 for a miss. Chance is the share of the pixels that would be hits.

    Raises:
        InputError: If maps are not finite, shapes differ, a mask is empty, or ``tolerance`` is no distance.

    Example:
        >>> maps, masks = torch.tensor([[[3.0, 1.0, 0.0]]]), torch.tensor([[[False, True, False]]])
        >>> pointing_game(maps, masks).map.item(), pointing_game(maps, masks, tolerance=1).map.item()
        (0.0, 1.0)

    Reference: Zhang et al., "Top-down neural attention by excitation backprop", IJCV 2018.
    """
    maps, masks = check_maps(maps), check_masks(masks, maps)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int) or tolerance < 0:
        raise InputError(f"tolerance must be a whole number of pixels, 0 or more, got {tolerance!r}")
    steps = torch.arange(-tolerance, tolerance + 1, device=maps.device)
    disc = (steps[:, None].square() + steps.square() <= tolerance**2).float()
    hits = (F.conv2d(masks[:, None].float(), disc[None, None], padding=tolerance) > 0.5).flatten(1)
    flat, centre = maps.flatten(1), centre_map(*maps.shape[1:]).flatten().to(maps.device)
    constant = flat.amax(1) == flat.amin(1)
    return Localisation(
        map=(hits.gather(1, _first_maximum(flat)[:, None])[:, 0] & ~constant).float(),
        centre=hits[:, _first_maximum(centre[None])[0]].float(),
        uniform=hits.float().mean(1),
        empty=constant.float(),
    )


def relevance_rank_accuracy(maps: Tensor, masks: Tensor) -> Localisation:
    r"""Share of the K largest pixels of a map that lie in a mask of K pixels, :math:`|S_K \cap M| / K`.

    Unlike the energy it does not depend on the values, only on their order. Conventions: of tied pixels the first
    counts, in reading order (elsewhere any may); signed values are ranked with their signs.

    Args:
        maps: Maps ``[B, H, W]``.
        masks: Where the object is, boolean ``[B, H, W]``, no mask empty.

    Returns:
        Shares in [0, 1]. Chance is the share of the pixels that the mask covers. A constant map points nowhere.

    Raises:
        InputError: If maps are not finite, shapes differ, or a mask is empty.

    Example:
        >>> maps, masks = torch.tensor([[[3.0, 1.0, 2.0, 0.0]]]), torch.tensor([[[True, True, False, False]]])
        >>> found = relevance_rank_accuracy(maps, masks)
        >>> found.map.item(), found.uniform.item()
        (0.5, 0.5)

    Reference: Arras, Osman & Samek, "CLEVR-XAI: a benchmark dataset for the ground truth evaluation of neural network
    explanations", Information Fusion 2022.
    """
    maps, masks = check_maps(maps), check_masks(masks, maps)
    centre = centre_map(*maps.shape[1:]).to(maps.device).expand_as(maps)
    constant = maps.flatten(1).amax(1) == maps.flatten(1).amin(1)
    return Localisation(
        map=_rank_share(maps, masks).masked_fill(constant, 0.0),
        centre=_rank_share(centre, masks),
        uniform=masks.float().mean((1, 2)),
        empty=constant.float(),
    )


def cell_masks(cells: Tensor | Sequence[int], height: int, width: int) -> Tensor:
    """Masks of cells of a 2 x 2 mosaic.

    Args:
        cells: Cells ``[B]``: 0 and 1 above, 2 and 3 below, from the left.
        height: Height of the mosaic, even.
        width: Width of the mosaic, even.

    Returns:
        Boolean ``[B, H, W]``, on the CPU.

    Raises:
        InputError: If a cell is unknown or a side is odd.

    Example:
        >>> cell_masks([1], 2, 4).int().tolist()
        [[[0, 0, 1, 1], [0, 0, 0, 0]]]
    """
    if height % 2 or width % 2:
        raise InputError(f"a mosaic of 2 x 2 cells must have even sides, got {height} x {width}")
    chosen = torch.as_tensor(cells, device="cpu")
    if chosen.is_floating_point() or not bool(((chosen >= 0) & (chosen < 4)).all()):
        raise InputError(f"cells must be 0, 1, 2 or 3, got {chosen.tolist()}")
    row = torch.arange(height) // (height // 2) == (chosen // 2)[:, None]
    column = torch.arange(width) // (width // 2) == (chosen % 2)[:, None]
    return row[:, :, None] & column[:, None, :]


def box_masks(boxes: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Masks of the union of the boxes of each image.

    Args:
        boxes: For each image its boxes ``[n, 4]`` as ``(x1, y1, x2, y2)`` in pixels; a pixel belongs to a box if its
            centre does (pixel 0 has its centre at 0.5).
        height: Height of the image.
        width: Width of the image.

    Returns:
        Boolean ``[B, H, W]``, on the device of the boxes.

    Raises:
        InputError: If boxes are not ``[n, 4]``.

    Example:
        >>> box_masks([torch.tensor([[1, 0, 3, 1]])], 2, 4).int().tolist()
        [[[0, 1, 1, 0], [0, 0, 0, 0]]]
    """
    masks = []
    for corners in boxes:
        if corners.ndim != 2 or corners.shape[1] != 4:
            raise InputError(f"boxes must be [n, 4] as (x1, y1, x2, y2), got {tuple(corners.shape)}")
        x1, y1, x2, y2 = corners[:, :, None].unbind(1)
        columns, rows = (torch.arange(size, device=corners.device) + 0.5 for size in (width, height))
        inside = ((rows >= y1) & (rows < y2))[:, :, None] & ((columns >= x1) & (columns < x2))[:, None, :]
        masks.append(inside.any(0))
    return torch.stack(masks)


def check_masks(masks: Tensor, maps: Tensor) -> Tensor:
    """Check that masks are boolean, fit the maps and are not empty; return them on the device of the maps.

    Args:
        masks: Boolean masks ``[B, H, W]``.
        maps: Maps ``[B, H, W]``.

    Raises:
        InputError: If the masks are not boolean, do not fit the maps, or one is empty.
    """
    if masks.dtype != torch.bool or masks.shape != maps.shape:
        raise InputError(f"masks must be boolean {tuple(maps.shape)}, got {masks.dtype} {tuple(masks.shape)}")
    empty = ~masks.flatten(1).any(1)
    if bool(empty.any()):
        raise InputError(f"mask {int(empty.nonzero()[0])} is empty: nothing can be located in it")
    return masks.to(maps.device)


def _positive_share(maps: Tensor, masks: Tensor) -> Tensor:
    positive = maps.clamp(min=0).flatten(1)
    # By the largest value first: mass far below 1 must not vanish, nor mass far above overflow.
    positive = positive / positive.amax(1, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    inside, total = (positive * masks.flatten(1)).sum(1), positive.sum(1)
    return (inside / torch.where(total > 0, total, 1)).float()


def _rank_share(maps: Tensor, masks: Tensor) -> Tensor:
    size = masks.sum((1, 2), keepdim=True)
    top = removal_ranks(maps) < size
    return (top & masks).sum((1, 2)).float() / size[:, 0, 0]


def _first_maximum(flat: Tensor) -> Tensor:
    """Index of the first largest value of each row; argmax may return any, depending on the device."""
    places = torch.arange(flat.shape[1], device=flat.device)
    return torch.where(flat == flat.amax(1, keepdim=True), places, flat.shape[1]).amin(1)
