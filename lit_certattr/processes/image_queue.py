"""Which process takes which image: whoever is free takes the next."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from itertools import chain

from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.utils.data import Sampler

from lit_certattr.processes.team import Team

_NEXT = "next image"
_PATIENCE = timedelta(minutes=5)  # to connect; a number is given at once


class ImageQueue(Sampler[int]):
    """Positions of the images that this process works on.

    All processes count in one store of ``torch.distributed``, which the first process keeps: the process that is free
    takes the next number. So no process is idle while another has two images before it, however long each image takes
    and however fast each device is.

    A process alone takes all images in their order. With a ``batch_size`` a process takes that many images at once,
    always those that a process alone would have in one batch of a ``BatchSampler``.

    Args:
        ids: Ids of all images, in their order.
        team: The processes; called when the first image is asked for, at the same point in every process.
        skipped: Ids of the images that are done already, the same in every process; called after ``team``.
        address: Name of the machine of the first process.
        batch_size: Number of images that are taken at once; they are skipped if all of them are done.

    Example:
        >>> list(ImageQueue(["a", "b", "c"], Team, lambda: {"b"}))
        [0, 2]
        >>> list(ImageQueue(["a", "b", "c"], Team, lambda: {"b", "c"}, batch_size=2))
        [0, 1]
    """

    def __init__(
        self,
        ids: Sequence[str],
        team: Callable[[], Team],
        skipped: Callable[[], Collection[str]],
        address: str = "localhost",
        batch_size: int = 1,
    ) -> None:
        self._ids, self._team, self._skipped, self._address = list(ids), team, skipped, address
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Number of all images: as many as this process takes if the others take none."""
        return len(self._ids)

    def __iter__(self) -> Iterator[int]:
        team, done = self._team(), frozenset(self._skipped())
        places = range(len(self._ids))
        batches = (places[first : first + self._batch_size] for first in places[:: self._batch_size])
        left = [batch for batch in batches if not done.issuperset(self._ids[place] for place in batch)]
        if team.world == 1:
            yield from chain.from_iterable(left)
            return
        store = _shared_store(team, self._address)
        while (turn := store.add(_NEXT, 1) - 1) < len(left):
            yield from left[turn]
        team.wait()  # the first process keeps the store until all have asked for the last time


def _shared_store(team: Team, address: str) -> TCPStore:
    """A store that the first process keeps, at a port that is free there."""

    def opened(port: int, first: bool) -> TCPStore:
        return TCPStore(address, port, is_master=first, wait_for_workers=False, timeout=_PATIENCE)

    own: list[TCPStore] = []

    def port() -> int:
        own.append(opened(0, first=True))
        return int(own[0].port)

    chosen = team.from_first(port)
    return own[0] if own else opened(chosen, first=False)
