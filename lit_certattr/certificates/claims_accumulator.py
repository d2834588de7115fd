"""What counts the noisy maps of one image for claims: the numbers of the samples, in their order."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.base import Accumulator
from lit_certattr.certificates.claim import Claim
from lit_certattr.certificates.claims_certificate import ClaimsCertificate
from lit_certattr.certificates.claims_result import ClaimsResult
from lit_certattr.devices import values_are_free
from lit_certattr.errors import InputError
from lit_certattr.smoothing import MapBlock, peaks

R = TypeVar("R", bound=ClaimsResult, covariant=True)


class ClaimsAccumulator(Accumulator[R]):
    """The numbers of the samples; a subclass says what a map without a number counts."""

    certificate: ClaimsCertificate

    below: list[Tensor]
    above: list[Tensor]
    total: Tensor

    @property
    def claims(self) -> Sequence[Claim]:
        """The claims."""
        return self.certificate._claims

    @abstractmethod
    def numbers(self, index: int, block: MapBlock) -> tuple[Tensor, Tensor]:
        """Numbers of a claim for the bounds from below and from above, float64 ``[b]`` each."""

    @abstractmethod
    def refusal(self, index: int) -> InputError:
        """What is said of a claim whose number takes a value that it must not take."""

    def checked(self, index: int, values: Tensor, wrong: Tensor) -> Tensor:
        """Values of a claim, refused if some are wrong; on an accelerator, which would wait, marked and refused later.

        Args:
            index: Position of the claim.
            values: Numbers ``[b]``, not NaN.
            wrong: Which of them must not be, bool ``[b]``.

        Raises:
            InputError: If one is wrong, and the values can be read without waiting.
        """
        if not values_are_free(values):
            return torch.where(wrong, torch.nan, values)
        if bool(wrong.any()):
            raise self.refusal(index)
        return values

    @override
    def allocate(self) -> None:
        if self.num_pixels == 1:
            raise InputError(
                "the maps have one value only, and a constant map has no number that can be certified: divide the "
                "image into at least 2 regions"
            )
        for claim in self.claims:
            try:
                claim.number.check(self.map_shape)
            except InputError as error:
                raise InputError(f"claim {claim.name!r}: {error}") from None
        for state in ("below", "above"):
            self.add_state(state, [], dist_reduce_fx="cat")
        self.add_state("total", torch.zeros(self.map_shape, dtype=torch.float64), dist_reduce_fx="sum")

    @override
    def count(self, block: MapBlock) -> None:
        below, above = zip(*(self.numbers(index, block) for index in range(len(self.claims))), strict=True)
        self.below.append(torch.stack(below, 1))
        self.above.append(torch.stack(above, 1))
        sizes = block.sizes
        self.total += (sizes / peaks(sizes)).sum(0, dtype=torch.float64)

    def gathered(self, share: float) -> dict[str, Any]:
        """Fields that every result of claims has.

        Args:
            share: Share of alpha that the result may err with.

        Raises:
            InputError: If a number took a value that it must not take.
        """
        record = self.record(share)
        below, above = (
            (torch.cat(values) if isinstance(values, list) else values).cpu().T.contiguous()
            for values in (self.below, self.above)
        )
        for index in torch.isnan(below).any(1).nonzero().flatten().tolist():
            raise self.refusal(index)
        return record | {
            "below": below,
            "above": above,
            "mean": (self.total / record["num_samples"]).cpu(),
            "masks": self.certificate.masks(self.map_shape),
        }
