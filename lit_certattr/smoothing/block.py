"""A block of noisy maps, whose masks are shared by all certificates."""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from lit_certattr.devices import onto, values_are_free
from lit_certattr.errors import InputError
from lit_certattr.smoothing.draw import Draw
from lit_certattr.smoothing.ranking import Ranking
from lit_certattr.smoothing.sparsify import (
    Ties,
    break_ties,
    flatten_maps,
    quadratic_map,
    relaxed_top_k,
    scaled_map,
    select,
    votes_without_ties,
)

MapKind = Literal["sparsified", "ranked", "relaxed", "scaled", "quadratic"]
"""How a noisy map becomes the map in [0, 1] that is averaged."""


class MapBlock:
    """A block of noisy maps of one image, shared by all certificates.

    Everything is computed on first use and kept. A constant map has no ranking: it selects no pixel, and the block
    counts it (:attr:`num_constant`), so that a certificate can give it a vote for neither label. A map with NaN or
    infinity is invalid: it is replaced by a map of zeros, which is constant, and counted in :attr:`num_invalid` as
    well.

    Args:
        maps: Maps ``[b, H, W]`` of fresh samples, or the draw that computes them on first use.
        start: Index of the first sample; ``None`` if the caller does not number the samples.
        levels: One uniform level in [0, 1) per map, float32 ``[b]``; see
            :func:`~lit_certattr.smoothing.uniform_levels`. Only :meth:`level_masks` needs them.

    Example:
        >>> block = MapBlock(torch.tensor([[[3.0, 1.0]], [[0.0, 0.0]]]))
        >>> block.votes(1).tolist(), int(block.num_constant)
        ([[1, 0]], 1)
    """

    def __init__(self, maps: Tensor | Draw, start: int | None = None, levels: Tensor | None = None) -> None:
        self._source, self.start, self.levels = maps, start, levels
        self._masks: dict[tuple[int, Ties], tuple[Tensor, Tensor]] = {}
        self._counts: dict[tuple[int, Ties], tuple[Tensor, Tensor]] = {}
        self._known: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._source)

    @property
    def maps(self) -> Tensor:
        """The maps ``[b, H, W]``, finite: invalid maps are replaced by zeros."""
        return self._finite[0]

    @cached_property
    def _finite(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What one look at the extremes of each map tells.

        The maps, with zeros in place of those that are not finite; and for each whether it is finite, whether it is
        finite and not constant, and whether it is finite and has a negative value.
        """
        maps = self._source.maps if isinstance(self._source, Draw) else self._source
        flat = flatten_maps(maps)
        low, high = flat.amin(1), flat.amax(1)  # NaN goes through both; aminmax takes twenty times as long
        valid = torch.isfinite(low) & torch.isfinite(high)
        varies, signed = valid & (high > low), valid & (low < 0)
        if values_are_free(maps) and bool(valid.all()):
            return maps, valid, varies, signed
        return torch.where(valid.view(-1, 1, 1), maps, 0), valid, varies, signed

    @property
    def varies(self) -> Tensor:
        """Whether a map is finite and not constant, bool ``[b]``: then it has a largest pixel and numbers."""
        return self._finite[2]

    @property
    def draw(self) -> Draw:
        """The noisy images behind the maps.

        Raises:
            InputError: If the block was made of maps alone.
        """
        if not isinstance(self._source, Draw):
            raise InputError("this certificate needs the noisy images, not only their maps: use a Certifier")
        return self._source

    @cached_property
    def _flat(self) -> Tensor:
        return flatten_maps(self.maps)

    @cached_property
    def _ranking(self) -> Ranking:
        return Ranking(self._flat)

    @cached_property
    def _has_no_sign(self) -> bool:
        """Whether no value is known to be negative; on an accelerator, reading one would wait."""
        return values_are_free(self.maps) and not bool(self._finite[3].any())

    @property
    def sizes(self) -> Tensor:
        """The absolute values of the maps, ``[b, H, W]``."""
        return self.maps if self._has_no_sign else self.maps.abs()

    @property
    def _constant(self) -> Tensor:
        return ~self.varies  # a map that is not finite is zeros by now

    @cached_property
    def num_constant(self) -> Tensor:
        """Number of constant maps, scalar."""
        return self._constant.sum()

    @cached_property
    def num_invalid(self) -> Tensor:
        """Number of maps with NaN or infinity, scalar; they are counted as constant too."""
        return (~self._finite[1]).sum()

    def _thresholds(self, sizes: Sequence[int]) -> Tensor:
        """The smallest of the ``size`` largest pixels of each map, for each size, ``[b, K]``."""
        if missing := [size for size in sizes if size not in self._known]:
            self._known |= zip(missing, self._ranking.largest(missing).split(1, dim=1), strict=True)
        return torch.cat([self._known[size] for size in sizes], 1)

    def _select(self, size: int, ties: Ties) -> tuple[Tensor, Tensor]:
        if (size, ties) not in self._masks:
            mask, tied = select(self._flat, self._thresholds([size]), size, ties)
            self._masks[size, ties] = (mask & ~self._constant[:, None]).view(self.maps.shape), tied.sum()
        return self._masks[size, ties]

    def masks(self, size: int, ties: Ties = "index") -> Tensor:
        """Top-``size`` mask of each map, boolean ``[b, H, W]``; see :func:`~lit_certattr.smoothing.top_k_mask`."""
        return self._select(size, ties)[0]

    def count(self, sizes: Sequence[int], ties: Ties = "index") -> tuple[Tensor, Tensor]:
        """Votes ``[K, H, W]`` and tied pixels ``[K]`` for several sizes, as in :meth:`votes` and :meth:`tied`."""
        if missing := [size for size in sizes if (size, ties) not in self._counts]:
            counted = self._count_at_once(missing) if ties == "index" else None
            for index, size in enumerate(missing):
                self._counts[size, ties] = (counted[index], self._no_ties) if counted else self._count_one(size, ties)
        votes, tied = zip(*(self._counts[size, ties] for size in sizes), strict=True)
        return torch.stack(votes), torch.stack(tied)

    def _count_at_once(self, sizes: Sequence[int]) -> list[Tensor] | None:
        """Votes of all sizes from one comparison, if no map has a tie (a constant map is nothing but a tie)."""
        votes = votes_without_ties(self._flat, self._thresholds(sizes), sizes)
        return None if votes is None else list(votes.unflatten(-1, self.maps.shape[1:]))

    def _count_one(self, size: int, ties: Ties) -> tuple[Tensor, Tensor]:
        masks, tied = self._select(size, ties)
        few = len(masks) < 2**15  # int16 is several times faster on a CPU
        return masks.sum(0, dtype=torch.int16 if few else torch.int32), tied

    @cached_property
    def _no_ties(self) -> Tensor:
        return torch.zeros((), dtype=torch.int64, device=self.maps.device)

    def votes(self, size: int, ties: Ties = "index") -> Tensor:
        """How many maps select each pixel, integer ``[H, W]``."""
        return self.count([size], ties)[0][0]

    def tied(self, size: int, ties: Ties = "index") -> Tensor:
        """Pixels that tie across the threshold of their map, summed over the maps, scalar."""
        return self.count([size], ties)[1][0]

    def level_masks(self, kind: MapKind, size: int, saturation: int = 1) -> Tensor:
        """Pixels where the map of this kind is above the level of its sample, boolean ``[b, H, W]``.

        The expectation of a mask over the level is the map. A constant map selects nothing. A ranked map decreases
        linearly with the rank, from 1 at the largest pixel to 0 after the ``size`` largest (ties by index), so its mask
        holds the top 1 to ``size`` pixels, depending on the level.

        Args:
            kind: ``"ranked"``, ``"relaxed"``, ``"scaled"`` or ``"quadratic"``.
            size: Number of pixels that stay non-zero in a ranked or relaxed map.
            saturation: Number of pixels of a relaxed map that saturate at 1, at most ``size``.

        Raises:
            InputError: If the block has no levels.
        """
        if self.levels is None:
            raise InputError(f"{kind} maps need random levels: pass MapBlock(maps, levels=uniform_levels(...))")
        if kind == "ranked":
            sizes = onto(torch.ceil(size * (1 - self.levels.double())).long(), self.maps)[:, None]
            threshold = self._ranking.largest_of_each(sizes)
            ranked = break_ties(self._flat, threshold, sizes)[0] & ~self._constant[:, None]
            return ranked.view(self.maps.shape)
        maps = self._flat.view(self.maps.shape)
        if kind == "relaxed":
            values = relaxed_top_k(maps, size, saturation)
        else:
            values = scaled_map(maps) if kind == "scaled" else quadratic_map(maps)
        levels = onto(self.levels, values).view(-1, 1, 1)
        return (values.float() > levels) & ~self._constant.view(-1, 1, 1)
