"""The published attacks on explanations, as what they raise."""

import math

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks.explanation import ExplanationObjective, check_maps
from lit_certattr.errors import InputError
from lit_certattr.smoothing import top_k_mask, top_k_size

_SMALLEST = 1e-30


def relevance(maps: Tensor) -> Tensor:
    """Absolute values, scaled so that each map adds up to its number of pixels; zero maps stay zero.

    Args:
        maps: Maps ``[..., H, W]``.

    Example:
        >>> relevance(torch.tensor([[[3.0, -1.0]]]))
        tensor([[[1.5000, 0.5000]]])
    """
    magnitude = maps.abs()
    return magnitude * (maps[0].numel() / magnitude.sum((-2, -1), keepdim=True).clamp_min(_SMALLEST))


def centre(maps: Tensor) -> Tensor:
    """Centre of mass (row, column) of each map, in pixels, ``[B, 2]``.

    Args:
        maps: Maps ``[B, H, W]``; their absolute values count.

    Example:
        >>> centre(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]))
        tensor([[0.5000, 1.0000]])
    """
    share = maps.abs() / maps.abs().sum((-2, -1), keepdim=True).clamp_min(_SMALLEST)
    rows = torch.arange(maps.shape[-2], device=maps.device, dtype=maps.dtype)
    columns = torch.arange(maps.shape[-1], device=maps.device, dtype=maps.dtype)
    return torch.stack([(share.sum(-1) * rows).sum(-1), (share.sum(-2) * columns).sum(-1)], -1)


class TopKMass(ExplanationObjective):
    """Lowers the K most important pixels of the clean map ("top-k attack", Ghorbani et al., 2019).

    The criterion is the share of these pixels that have left the top K: 1 - top-k intersection.

    Args:
        top_k: K, as a share of the pixels in (0, 1) or as a number of pixels.

    Example:
        >>> clean, maps = torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[1.0, 3.0]]])
        >>> TopKMass(1).criterion(maps, clean)
        tensor([1.])
    """

    def __init__(self, top_k: float = 0.1) -> None:
        self.top_k = top_k

    @override
    def score(self, maps: Tensor, clean: Tensor) -> Tensor:
        inside = top_k_mask(clean.abs(), top_k_size(self.top_k, clean[0].numel()))
        return -(relevance(maps) * inside).sum((1, 2))

    @override
    def criterion(self, maps: Tensor, clean: Tensor) -> Tensor:
        size = top_k_size(self.top_k, clean[0].numel())
        kept = top_k_mask(maps.abs(), size) & top_k_mask(clean.abs(), size)
        return 1 - kept.sum((1, 2)) / size


class MassCentre(ExplanationObjective):
    """Moves the centre of mass of the map (Ghorbani et al., 2019); the criterion is the shift in pixels.

    At the clean image the gradient of the squared shift is zero: use another ``init`` than ``"zero"``.

    Example:
        >>> clean, maps = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
        >>> MassCentre().criterion(maps, clean)
        tensor([1.])
    """

    @override
    def score(self, maps: Tensor, clean: Tensor) -> Tensor:
        return (centre(maps) - centre(clean)).square().sum(1)

    @override
    def criterion(self, maps: Tensor, clean: Tensor) -> Tensor:
        return self.score(maps, clean).sqrt()


class TargetRegion(ExplanationObjective):
    """Draws the map into a region ("targeted attack", Ghorbani et al., 2019); the criterion is its share of the map.

    Args:
        region: Boolean mask ``[H, W]``, or ``[B, H, W]`` for a region of each image.

    Raises:
        InputError: If ``region`` is not such a mask.

    Example:
        >>> TargetRegion(torch.tensor([[True, False]])).criterion(torch.tensor([[[1.0, 3.0]]]), torch.ones(1, 1, 2))
        tensor([0.2500])
    """

    unrecorded = frozenset({"region"})

    def __init__(self, region: Tensor) -> None:
        if region.dtype != torch.bool or region.ndim not in (2, 3):
            raise InputError(f"region must be a boolean mask [H, W] or [B, H, W], got {region.dtype} {region.ndim}-d")
        self.region = region

    @override
    def score(self, maps: Tensor, clean: Tensor) -> Tensor:
        check_maps(self.region, tuple(maps.shape), "region")
        return (relevance(maps) * self.region.to(maps.device)).mean((1, 2))


class TargetMap(ExplanationObjective):
    r"""Replaces the map by a chosen one, keeping the outputs (Dombrowski et al., 2019).

    The score is :math:`-\|h(x) - h_t\|^2 - \gamma \|p(x) - p(x_0)\|^2`, with maps scaled to sum 1 and softmax outputs
    p; the criterion leaves the outputs out. The published prefactors are :math:`\gamma \approx 5 \cdot 10^{-4}` at
    224x224; maps of smaller images are larger numbers.

    Args:
        target: Map ``[H, W]``, or one for each image ``[B, H, W]``.
        gamma: Weight of the outputs, at least 0.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> TargetMap(torch.tensor([[0.0, 1.0]])).criterion(torch.tensor([[[2.0, 0.0]]]), torch.ones(1, 1, 2))
        tensor([-2.])
    """

    unrecorded = frozenset({"target"})

    def __init__(self, target: Tensor, gamma: float = 5e-4) -> None:
        if target.ndim not in (2, 3):
            raise InputError(f"target must be a map [H, W] or [B, H, W], got shape {tuple(target.shape)}")
        if not (gamma >= 0 and math.isfinite(gamma)):
            raise InputError(f"gamma must be a number of at least 0, got {gamma}")
        self.target, self.logit_weight = target, gamma

    @override
    def score(self, maps: Tensor, clean: Tensor) -> Tensor:
        check_maps(self.target, tuple(maps.shape), "target")
        target = self.target.to(maps) if self.target.ndim == 3 else self.target.to(maps)[None]
        pixels = maps[0].numel()
        return -((relevance(maps) - relevance(target)) / pixels).square().sum((1, 2))
