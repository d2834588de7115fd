"""One image on several processes: who draws which samples."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import distributed

from lit_certattr.certificates import Certificate
from lit_certattr.errors import InputError, SharedError


class Share(NamedTuple):
    """The part of the samples of an image that this process draws.

    Certificates with ``sync_on_compute`` add the counts of all processes. If every process drew all samples, the same
    sample would be counted several times, and no bound would hold. So exactly one process draws sample ``i``.

    Attributes:
        rank: Rank of this process.
        world: Number of processes; 1 if counts are not added.

    Example:
        >>> [Share(rank, 3).of(100, 200) for rank in range(3)]
        [(100, 133), (133, 166), (166, 200)]
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def of_this_process(cls, certificates: Mapping[str, Certificate]) -> "Share":
        """The share of this process.

        Args:
            certificates: All certificates that are computed from the samples.

        Raises:
            InputError: If some certificates add the samples of all processes and others do not.
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

    @classmethod
    def of_group(cls) -> "Share":
        """The share of this process, whatever the certificates add."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    def of(self, start: int, end: int) -> tuple[int, int]:
        """First index, and last index plus one, of the samples among ``start .. end - 1`` that this process draws."""
        first, last = ((end - start) * rank // self.world for rank in (self.rank, self.rank + 1))
        return start + first, start + last

    def decided_by_first(self, decision: bool) -> bool:
        """The decision of the first process, for all: rules that use a clock or randomness may decide differently."""
        if self.world == 1:
            return decision
        decisions = [decision]
        distributed.broadcast_object_list(decisions)
        return decisions[0]

    def in_step(self) -> "Step":
        """Context for work that may fail on some processes, before all processes compare what they hold."""
        return Step(self.world)


class Step:
    """Work that every process does for itself before all compare what they hold.

    If one process stopped alone, the others would wait for it for ever. So a process that fails inside ``with`` before
    :meth:`agree` tells the others, and all of them stop.

    Args:
        world: Number of processes that take part; with 1 nothing is compared.

    Example:
        >>> with Share().in_step() as step:
        ...     step.agree(lambda: {"seed": 0})
    """

    def __init__(self, world: int) -> None:
        self._alone = world == 1
        self._world = world

    def __enter__(self) -> "Step":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Exception) and not self._alone:
            self._meet({}, " ".join(f"{'' if isinstance(error, InputError) else f'{kind.__name__}: '}{error}".split()))
            if isinstance(error, InputError):
                raise SharedError(str(error)) from error

    def agree(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Refuse to add the counts of processes that hold different values.

        Args:
            facts: Gives what must be equal on all processes: plain values, by their names in the message.

        Raises:
            InputError: On all processes, if a value differs or one process has failed; the message says which.
        """
        if self._alone:
            return
        own = dict(facts())
        everywhere = self._meet(own, None)
        self._alone = True  # what happens from here on concerns each process alone
        for rank, (_, failed) in enumerate(everywhere):
            if failed is not None:
                raise SharedError(f"process {rank} of {self._world} has stopped: {failed}")
        for key in dict.fromkeys(key for held, _ in everywhere for key in held):
            values = [held.get(key) for held, _ in everywhere]
            if any(value != values[0] for value in values):
                raise SharedError(
                    f"all processes add their samples of the same image, but they have different values of {key}: "
                    + ", ".join(map(_short, values))
                )

    def _meet(self, held: dict[str, Any], failed: str | None) -> list[tuple[dict[str, Any], str | None]]:
        everywhere: list[Any] = [None] * self._world
        distributed.all_gather_object(everywhere, (held, failed))
        return everywhere


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
