"""Goals of attacks on smoothed maps: votes of pixels, the overlap of the top K, the cosine."""

from typing import Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks.smoothed import SmoothedObjective
from lit_certattr.errors import InputError
from lit_certattr.smoothing import MapKind, quadratic_map, relaxed_top_k, scaled_map, top_k_mask

_SMALLEST = 1e-30


def soft_top_k(maps: Tensor, size: int, temperature: float) -> Tensor:
    r"""Differentiable stand-in for the top-K mask: :math:`\mathrm{sigmoid}((a_j - t) / T s)`.

    The threshold t lies half-way between the K-th and the next largest value of the map itself, s is the map's own
    standard deviation: rescaling a map changes nothing. As T approaches 0, this becomes the hard mask.

    Args:
        maps: Maps ``[..., H, W]``.
        size: K, fewer than all pixels.
        temperature: T, positive; with a small T, only pixels close to the threshold have a gradient.

    Returns:
        Values in (0, 1), of the shape of ``maps``.

    Example:
        >>> soft_top_k(torch.tensor([[3.0, 1.0], [0.0, 0.0]]), 1, temperature=0.01).round().int().tolist()
        [[1, 0], [0, 0]]
    """
    largest = maps.flatten(-2).topk(size + 1).values
    threshold = largest[..., -2:].mean(-1)[..., None, None]
    spread = maps.detach().flatten(-2).std(-1, correction=0)[..., None, None].clamp_min(_SMALLEST)
    return ((maps - threshold) / (temperature * spread)).sigmoid()


class PixelVotes(SmoothedObjective):
    r"""Pushes the votes of chosen pixels: how often each is among the top K of a noisy map.

    Attacks what :class:`~lit_certattr.certificates.PixelCertificate` certifies: a pixel certified important at radius
    R keeps a vote above 1/2 under every perturbation shorter than R.

    Args:
        change: Integers ``[B, H, W]`` in {-1, 0, 1}: push the vote down, leave the pixel alone, push it up.
        size: K in pixels.
        focus: ``"majority"`` counts the pixels whose vote crosses 1/2 (pixels near it have most weight, pixels
            beyond it hardly any); ``"mean"`` is the mean vote of all chosen pixels.
        temperature: See :func:`soft_top_k`.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> votes = PixelVotes(torch.tensor([[[-1, 0]]]), size=1, focus="mean")
        >>> votes.value(torch.tensor([[[[0.2, 0.9]]], [[[0.7, 0.1]]]]))
        tensor([0.5000])
    """

    def __init__(
        self, change: Tensor, size: int, focus: Literal["majority", "mean"] = "majority", temperature: float = 0.2
    ) -> None:
        if change.ndim != 3 or not bool(torch.isin(change, torch.tensor([-1, 0, 1], device=change.device)).all()):
            raise InputError(f"change must be [B, H, W] of -1, 0 and 1, got shape {tuple(change.shape)}")
        if focus not in ("majority", "mean"):
            raise InputError(f"focus must be majority or mean, got {focus!r}")
        self.change, self.focus = change, focus
        self.size = _check_size(size, change)
        self.temperature = _check_temperature(temperature)

    @override
    def surrogate(self, maps: Tensor) -> Tensor:
        votes = self._pushed(soft_top_k(maps, self.size, self.temperature).mean(0))
        return self._mean(((votes - 0.5) / 0.1).sigmoid() if self.focus == "majority" else votes)

    @override
    def value(self, maps: Tensor) -> Tensor:
        """As in the base class; with ``"majority"`` the mean vote decides between equal counts."""
        votes = self._pushed(top_k_mask(maps, self.size).float().mean(0))
        mean = self._mean(votes)
        return mean if self.focus == "mean" else self._mean((votes > 0.5).float()) + 0.01 * mean

    def _pushed(self, votes: Tensor) -> Tensor:
        """The share of the votes that goes the way it is pushed."""
        return torch.where(self.change > 0, votes, 1 - votes)

    def _mean(self, values: Tensor) -> Tensor:
        chosen = (self.change != 0).to(values.dtype).flatten(1)
        mean: Tensor = (values.flatten(1) * chosen).sum(1) / chosen.sum(1).clamp_min(1)
        return mean


class TopKOverlap(SmoothedObjective):
    """Drives pixels out of the top K of a smoothed map.

    Attacks what :class:`~lit_certattr.certificates.TopKOverlapCertificate` certifies: how many pixels of the released
    set are among the K largest values of the mean of the noisy maps, each made a map in [0, 1] first.

    Args:
        inside: Released top-K set of each image, boolean ``[B, H, W]``, the same K for all.
        kept: Number of pixels that are non-zero in a sparsified, ranked or relaxed map; ``None`` for K.
        map_kind: How a noisy map becomes the map that is averaged, as in the certificate.
        saturation: Pixels of a relaxed map that saturate at 1.
        temperature: See :func:`soft_top_k`.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> overlap = TopKOverlap(torch.tensor([[[True, False, False]]]))
        >>> overlap.value(torch.tensor([[[[0.9, 0.2, 0.1]]], [[[0.1, 0.8, 0.3]]], [[[0.2, 0.5, 0.1]]]]))
        tensor([1.])
    """

    def __init__(
        self,
        inside: Tensor,
        kept: int | None = None,
        map_kind: MapKind = "sparsified",
        saturation: int = 1,
        temperature: float = 0.2,
    ) -> None:
        sizes = inside.flatten(1).sum(1)
        if inside.ndim != 3 or inside.dtype != torch.bool or not bool((sizes == sizes[0]).all()):
            raise InputError("inside must be boolean [B, H, W] with the same number of pixels in every image")
        if map_kind not in get_args(MapKind):
            raise InputError(f"map_kind must be one of {', '.join(get_args(MapKind))}, got {map_kind!r}")
        self.inside, self.map_kind, self.saturation = inside, map_kind, saturation
        self.size = _check_size(int(sizes[0]), inside)
        self.kept = self.size if kept is None else _check_size(kept, inside, map_kind in ("scaled", "quadratic"))
        self.temperature = _check_temperature(temperature)

    @override
    def surrogate(self, maps: Tensor) -> Tensor:
        """Share of the smoothed map that lies outside the set, up to a constant."""
        ranks = self.map_kind in ("sparsified", "ranked")
        smoothed = (soft_top_k(maps, self.kept, self.temperature) if ranks else self._unit(maps)).mean(0)
        mass: Tensor = (smoothed * self.inside).flatten(1).sum(1) / smoothed.flatten(1).sum(1).clamp_min(_SMALLEST)
        return -mass

    @override
    def value(self, maps: Tensor) -> Tensor:
        """Share of the set that is displaced, in [0, 1]."""
        top = top_k_mask(self._unit(maps).mean(0), self.size)
        return 1 - (top & self.inside).flatten(1).sum(1) / self.size

    def _unit(self, maps: Tensor) -> Tensor:
        """The maps in [0, 1] that are averaged."""
        match self.map_kind:
            case "ranked":
                # 1 for the largest pixel, 1 - 1/kept for the next, ..., 0 behind the ``kept`` largest; ties by index.
                order = maps.flatten(-2).sort(dim=-1, descending=True, stable=True).indices
                falling = 1 - torch.arange(order.shape[-1], device=maps.device, dtype=maps.dtype) / self.kept
                ranked = torch.zeros_like(maps).flatten(-2)
                return ranked.scatter(-1, order, falling.clamp_min(0).expand_as(ranked)).view_as(maps)
            case "relaxed":
                return relaxed_top_k(maps, self.kept, self.saturation)
            case "scaled":
                return scaled_map(maps)
            case "quadratic":
                return quadratic_map(maps)
            case _:
                return top_k_mask(maps, self.kept).float()


class SmoothedCosine(SmoothedObjective):
    """Turns the smoothed map away from a reference: 1 - cosine.

    Attacks what :class:`~lit_certattr.certificates.CosineCertificate` certifies: every noisy map is scaled to length 1
    before it is averaged. The cosine of a mean of few maps is too small, and the same for all points to first order.

    Args:
        reference: Smoothed maps of the clean images ``[B, H, W]``, of any length.

    Raises:
        InputError: If ``reference`` has another shape.

    Example:
        >>> turned = SmoothedCosine(torch.tensor([[[1.0, 0.0]]]))
        >>> turned.value(torch.tensor([[[[2.0, 0.0]]], [[[0.0, 5.0]]]]))
        tensor([0.2929])
    """

    def __init__(self, reference: Tensor) -> None:
        if reference.ndim != 3:
            raise InputError(f"reference must be maps [B, H, W], got shape {tuple(reference.shape)}")
        self.reference = reference.flatten(1)

    @override
    def surrogate(self, maps: Tensor) -> Tensor:
        smoothed = torch.nn.functional.normalize(maps.flatten(2), dim=2, eps=_SMALLEST).mean(0)
        return 1 - torch.nn.functional.cosine_similarity(smoothed, self.reference.to(smoothed), eps=_SMALLEST)

    @override
    def value(self, maps: Tensor) -> Tensor:
        return self.surrogate(maps)


def _check_size(size: int, maps: Tensor, all_pixels: bool = False) -> int:
    pixels = maps[0].numel()
    if not 1 <= size < pixels + all_pixels:
        raise InputError(f"K must be at least 1 and leave out at least one of {pixels} pixels, got {size}")
    return size


def _check_temperature(temperature: float) -> float:
    if not 0 < temperature < float("inf"):
        raise InputError(f"temperature must be a positive number, got {temperature}")
    return temperature
