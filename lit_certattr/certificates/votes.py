"""Base of the certificates that count how often each pixel is in the top K."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.base import Accumulator, Certificate, R
from lit_certattr.errors import InputError
from lit_certattr.smoothing import MapBlock
from lit_certattr.smoothing.sparsify import Ties


def check_votes(votes: Tensor, size: int, ties: Ties, samples: int, num_constant: int, num_invalid: int = 0) -> None:
    """Refuse votes that no masks of ``size`` pixels can have given.

    Args:
        votes: Votes ``[H, W]`` of one level.
        size: Number of pixels of each mask.
        ties: Tie rule of the masks; with ``"positive"`` a mask may hold fewer pixels.
        samples: Number of masks.
        num_constant: Number of masks that are empty, since their map was constant.
        num_invalid: Number of the empty masks whose sample was invalid.

    Raises:
        InputError: If a pixel has more votes than there are masks, or the votes do not add up.
    """
    if not 0 <= num_invalid <= num_constant:
        raise InputError(f"{num_invalid} invalid samples, but {num_constant} without a vote")
    voting = samples - num_constant
    low, high, total = int(votes.min()), int(votes.max()), int(votes.sum(dtype=torch.int64))
    if not 0 <= low <= high <= voting <= samples:
        raise InputError(f"votes of {low} to {high} are impossible for {voting} masks")
    if total > voting * size or (ties == "index" and total < voting * size):
        raise InputError(f"the votes add up to {total}, but {voting} masks of {size} pixels give {voting * size}")


def check_tied(tied: float, samples: int, num_pixels: int, num_constant: int) -> None:
    """Refuse a share of tied pixels that no maps can have given.

    Args:
        tied: Average share of the pixels that tie across the threshold of a map.
        samples: Number of maps.
        num_pixels: Number of pixels of a map.
        num_constant: Number of constant maps, all of whose pixels tie.

    Raises:
        InputError: If it is not a whole number of pixels, or less than the pixels of the constant maps.
    """
    total = samples * num_pixels
    count = round(tied * total) if 0 <= tied <= 1 else -1
    if not num_constant * num_pixels <= count <= total or count / total != tied:
        raise InputError(f"tied={tied} is no share of the pixels of {samples} maps with {num_constant} constant ones")


def vote_flags(samples: int, num_constant: int, tied: float, ties: Ties, num_invalid: int = 0) -> list[str]:
    """Flags about constant maps and ties.

    Args:
        samples: Number of maps.
        num_constant: Number of constant maps among them, including those that replace invalid maps.
        tied: Average share of the pixels that tie across the threshold of a map.
        ties: Tie rule.
        num_invalid: Number of maps that are constant because their sample was invalid; another flag reports them.
    """
    flags = []
    if constant := num_constant - num_invalid:
        flags.append(f"{constant} of {samples} noisy maps are constant; they vote for nothing")
    if tied >= 0.001:
        flags.append(f"{tied:.1%} of the pixels tie across the threshold of an average map (tie rule: {ties})")
    return flags


class VoteCertificate(Certificate):
    """Base of the certificates whose statistics are the votes of top-K masks.

    Args:
        alpha: Probability of any false statement about one image, over all pixels and levels.
        ties: Tie rule of the masks (:func:`~lit_certattr.smoothing.top_k_mask`).
        sync_on_compute: Add the states of all processes before a result is computed.

    Raises:
        InputError: If ``alpha`` is not in (0, 1).
    """

    def __init__(self, alpha: float, ties: Ties = "index", sync_on_compute: bool = False) -> None:
        super().__init__(alpha, sync_on_compute)
        self.ties: Ties = ties

    @abstractmethod
    def mask_sizes(self, num_pixels: int) -> tuple[int, ...]:
        """Sizes of the top-K masks that are counted.

        Args:
            num_pixels: Number of pixels of a map.

        Raises:
            InputError: If the settings do not fit maps of that size.
        """

    @override
    def conditions(self) -> dict[str, Any]:
        return {"ties": self.ties}


class VoteAccumulator(Accumulator[R]):
    """The votes of the top-K masks of each level, and the numbers of constant maps and of ties."""

    certificate: VoteCertificate
    num_constant: Tensor
    votes: Tensor
    tied: Tensor

    @override
    def allocate(self) -> None:
        self.sizes = self.certificate.mask_sizes(self.num_pixels)
        levels = len(self.sizes)
        self.add_state("num_constant", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("votes", torch.zeros(levels, *self.map_shape, dtype=torch.int32), dist_reduce_fx="sum")
        self.add_state("tied", torch.zeros(levels, dtype=torch.int64), dist_reduce_fx="sum")

    @override
    def count(self, block: MapBlock) -> None:
        votes, tied = block.count(self.sizes, self.certificate.ties)
        self.num_constant += block.num_constant
        self.votes += votes
        self.tied += tied

    @override
    def record(self, share: float) -> dict[str, Any]:
        record = super().record(share)
        samples, ties = record["num_samples"], self.certificate.ties
        worst = int(self.tied.max()) / (samples * self.num_pixels)
        record["flags"] += vote_flags(samples, int(self.num_constant), worst, ties, record["num_invalid"])
        return record
