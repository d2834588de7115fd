"""A block of noisy maps, ranked once for every certificate."""

from functools import cached_property

import torch
from torch import Tensor

from lit_certattr.smoothing.sparsify import Ties, flatten_maps, rank, select


class MapBlock:
    """A block of noisy maps of one image, shared by all certificates: one sort serves every K.

    Nothing is computed before it is asked for, and nothing twice. A constant map ranks nothing: it selects no
    pixel, and it is counted, so that a certificate can give it a vote for neither label.

    Args:
        maps: Maps ``[b, H, W]`` of fresh samples.

    Example:
        >>> block = MapBlock(torch.tensor([[[3.0, 1.0]], [[0.0, 0.0]]]))
        >>> block.votes(1).tolist(), int(block.num_constant)
        ([[1, 0]], 1)
    """

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps
        self._masks: dict[tuple[int, Ties], tuple[Tensor, Tensor]] = {}
        self._votes: dict[tuple[int, Ties], Tensor] = {}

    def __len__(self) -> int:
        return len(self.maps)

    @cached_property
    def _flat(self) -> Tensor:
        return flatten_maps(self.maps)

    @cached_property
    def _ranked(self) -> Tensor:
        return rank(self._flat)

    @cached_property
    def _constant(self) -> Tensor:
        return self._ranked[:, 0] == self._ranked[:, -1]

    @cached_property
    def num_constant(self) -> Tensor:
        """Number of constant maps, scalar."""
        return self._constant.sum()

    @cached_property
    def num_invalid(self) -> Tensor:
        """Number of maps that hold NaN or infinity, scalar; NaN ranks last."""
        low, high = self._ranked[:, 0], self._ranked[:, -1]
        return (~(torch.isfinite(low) & torch.isfinite(high))).sum()

    def _select(self, size: int, ties: Ties) -> tuple[Tensor, Tensor]:
        if (size, ties) not in self._masks:
            mask, tied = select(self._flat, self._ranked, size, ties)
            self._masks[size, ties] = (mask & ~self._constant[:, None]).view(self.maps.shape), tied.sum()
        return self._masks[size, ties]

    def masks(self, size: int, ties: Ties = "index") -> Tensor:
        """Top-``size`` mask of each map, boolean ``[b, H, W]``; see :func:`~lit_certattr.smoothing.top_k_mask`."""
        return self._select(size, ties)[0]

    def tied(self, size: int, ties: Ties = "index") -> Tensor:
        """Pixels that tie across the threshold of their map, summed over the maps, scalar."""
        return self._select(size, ties)[1]

    def votes(self, size: int, ties: Ties = "index") -> Tensor:
        """How many maps select each pixel, integer ``[H, W]``."""
        if (size, ties) not in self._votes:
            narrow = torch.int16 if len(self.maps) < 2**15 else torch.int32  # ten times faster than int64
            self._votes[size, ties] = self.masks(size, ties).sum(0, dtype=narrow)
        return self._votes[size, ties]
