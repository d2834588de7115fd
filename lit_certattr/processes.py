"""One image on several processes: who draws which samples."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import distributed

from lit_certattr.certificates import Certificate
from lit_certattr.errors import InputError


class Share(NamedTuple):
    """The part of the samples of an image that this process draws.

    Certificates with ``sync_on_compute`` add the counts of all processes. Were every process to draw all samples, the
    same ones would be counted several times, and no bound would hold. So sample ``i`` is drawn by one process alone.

    Attributes:
        rank: This process.
        world: How many there are; 1 where counts are not added.

    Example:
        >>> [Share(rank, 3).of(100, 200) for rank in range(3)]
        [(100, 133), (133, 166), (166, 200)]
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def of_this_process(cls, certificates: Mapping[str, Certificate]) -> "Share":
        """What falls to this process.

        Args:
            certificates: All that are fed by the samples.

        Raises:
            InputError: If some add up over the processes and others do not.
        """
        if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
            return cls()
        added = {name for name, certificate in certificates.items() if certificate.sync_on_compute}
        if not added:
            return cls()
        if alone := sorted(set(certificates) - added):
            raise InputError(
                f"{sorted(added)[0]} adds the samples of all processes and {alone[0]} does not: set sync_on_compute "
                "for all certificates, or for none"
            )
        return cls(distributed.get_rank(), distributed.get_world_size())

    def of(self, start: int, end: int) -> tuple[int, int]:
        """The samples of ``start .. end - 1`` that this process draws, as a start and an end."""
        first, last = ((end - start) * rank // self.world for rank in (self.rank, self.rank + 1))
        return start + first, start + last

    def decided_by_first(self, decision: bool) -> bool:
        """The decision of the first process, for all: a rule with a clock or a coin may disagree with itself."""
        if self.world == 1:
            return decision
        decisions = [decision]
        distributed.broadcast_object_list(decisions)
        return decisions[0]

    def check_same(self, image: Mapping[str, Any]) -> None:
        """Refuse to add the counts of different images.

        Args:
            image: What must be the same on all processes, plain values.

        Raises:
            InputError: Naming what differs.
        """
        everywhere: list[Any] = [None] * self.world
        distributed.all_gather_object(everywhere, dict(image))
        for key, value in image.items():
            values = [one[key] for one in everywhere]
            if any(one != value for one in values):
                raise InputError(
                    f"sync_on_compute adds the samples of all processes, but they have different values of {key}: "
                    + ", ".join(map(str, values))
                )
