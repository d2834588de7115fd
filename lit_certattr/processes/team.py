"""What the processes of a command tell each other, however long one of them is busy."""

import atexit
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from torch import distributed

from lit_certattr.errors import InputError, single_line

T = TypeVar("T")

_PATIENCE = timedelta(days=30)  # an image may take hours; a process that has died is seen by its closed connection


def leave() -> None:
    """Leave all groups of ``torch.distributed``, as the last thing that a process does.

    The interpreter does not: it may end while threads of a group still run, which aborts a process that has done all of
    its work, so that a launcher takes it for failed.
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


class Team:
    """The processes of the default group of ``torch.distributed``; one process alone without such a group.

    Messages go over a gloo group of its own: on accelerators the default group gives up after minutes, while a process
    may work on one image for hours. A process that dies closes its connections, which ends the waiting of the others
    at once.

    Every process of the default group must make its team at the same point of the program, as for
    ``torch.distributed.new_group``.

    Attributes:
        rank: Rank of this process.
        world: Number of processes.

    Example:
        >>> team = Team()
        >>> team.rank, team.world, team.gathered("a"), team.from_first(lambda: "b")
        (0, 1, ['a'], 'b')
    """

    def __init__(self) -> None:
        self.rank, self.world = 0, 1
        if distributed.is_available() and distributed.is_initialized():
            self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self._group: Any = None
        if self.world > 1:
            self._group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
            atexit.unregister(leave)  # once, however many teams there are
            atexit.register(leave)

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, by rank.

        Args:
            value: The value of this process.
        """
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value, group=self._group)
        return values

    def from_first(self, work: Callable[[], T]) -> T:
        """What the first process finds, for all.

        Args:
            work: Called in the first process.

        Raises:
            InputError: In the first process, if its work does; the others then end without a word, with status 2.
        """
        found: list[Any] = [None, None]
        if self.rank == 0:
            try:
                found = [work(), None]
            except InputError as error:
                self._broadcast([None, single_line(error)])
                raise
        result, failed = self._broadcast(found)
        if failed is not None:
            raise SystemExit(2)  # the first process says why
        return result  # type: ignore[no-any-return]

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.gathered(None)

    def _broadcast(self, values: list[Any]) -> list[Any]:
        if self._group is not None:
            distributed.broadcast_object_list(values, src=0, group=self._group)
        return values
