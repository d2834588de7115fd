"""Certificates that count how often each pixel is among the top K."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from lit_certattr.certificates.base import Certificate
from lit_certattr.smoothing import MapBlock
from lit_certattr.smoothing.sparsify import Ties


class VoteCertificate(Certificate):
    """Base of the certificates whose statistics are the votes of top-K masks.

    Args:
        alpha: Probability of any false statement about one image, over all pixels and levels.
        ties: Tie rule of the masks, see :func:`~lit_certattr.smoothing.top_k_mask`.
        sync_on_compute: Add the states of all processes before computing.

    Raises:
        InputError: If ``alpha`` is not in (0, 1).
    """

    num_constant: Tensor
    votes: Tensor
    tied: Tensor

    def __init__(self, alpha: float, ties: Ties = "index", sync_on_compute: bool = False) -> None:
        super().__init__(alpha, sync_on_compute)
        self.ties: Ties = ties
        self.sizes: tuple[int, ...] = ()
        self.add_state("num_constant", torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def mask_sizes(self, num_pixels: int) -> tuple[int, ...]:
        """Sizes of the top-K masks that are counted, for maps of ``num_pixels``; checks the settings on the way."""

    def conditions(self) -> dict[str, Any]:
        """See :class:`Certificate`."""
        return {"ties": self.ties}

    def allocate(self) -> None:
        """See :class:`Certificate`."""
        self.sizes = self.mask_sizes(self.num_pixels)
        levels = len(self.sizes)
        self.add_state("votes", torch.zeros(levels, *self.map_shape, dtype=torch.int32), dist_reduce_fx="sum")
        self.add_state("tied", torch.zeros(levels, dtype=torch.int64), dist_reduce_fx="sum")

    def count(self, block: MapBlock) -> None:
        """See :class:`Certificate`."""
        self.num_constant += block.num_constant
        self.votes += torch.stack([block.votes(size, self.ties) for size in self.sizes])
        self.tied += torch.stack([block.tied(size, self.ties) for size in self.sizes])

    def _record(self) -> dict[str, Any]:
        record = super()._record()
        samples = record["num_samples"]
        if constant := int(self.num_constant):
            record["flags"].append(f"{constant} of {samples} noisy maps are constant; they vote for nothing")
        worst = int(self.tied.max()) / (samples * self.num_pixels)
        if worst >= 0.001:
            record["flags"].append(
                f"{worst:.1%} of the pixels tie across the threshold of an average map (tie rule: {self.ties})"
            )
        return record
