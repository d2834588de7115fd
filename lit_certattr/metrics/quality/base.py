"""What a quality of maps is: a settings object that gives each image a number, and what to compare it with."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from lit_certattr.attribution import Attribution
from lit_certattr.errors import InputError
from lit_certattr.settings import Settings, instance, several


class Explained(NamedTuple):
    """Images with their maps.

    Attributes:
        model: Network in eval mode, with frozen parameters.
        attribution: The method.
        images: Images ``[B, C, H, W]`` in [0, 1].
        targets: Explained classes ``[B]``.
        maps: Maps ``[B, H, W]`` of these classes.
        ids: Ids of the images.
    """

    model: nn.Module
    attribution: Attribution
    images: Tensor
    targets: Tensor
    maps: Tensor
    ids: Sequence[str]


class MapQuality(Settings, ABC):
    """A number of the plain map of each image that says what the map is worth, never without its chance level.

    It needs no noise and certifies nothing. A subclass names its columns and implements :meth:`values`; it must be a
    fixed function of the network, one image and its id.
    """

    name: ClassVar[str]
    """Name of the number, in tables and metrics."""
    words: ClassVar[str]
    """What it is, for a table."""
    beside: ClassVar[tuple[str, ...]]
    """What stands beside it, as endings of the name; ``"chance"`` is one of them."""

    @property
    def of_image(self) -> bool:
        """Whether an image may have none although others have one, so that :meth:`check` must see each."""
        return False

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all numbers: the number itself, and those beside it.

        Example:
            >>> from lit_certattr.metrics import SparsenessQuality
            >>> SparsenessQuality().columns
            ('sparseness', 'sparseness_centre', 'sparseness_chance')
        """
        return (self.name, *(f"{self.name}_{one}" for one in self.beside))

    @abstractmethod
    def values(self, explained: Explained) -> tuple[Tensor, ...]:
        """The numbers of each image.

        Args:
            explained: Images with their maps.

        Returns:
            Floats ``[B]`` for each of :attr:`columns`; NaN where an image has none.
        """

    def check(self, image: Tensor, image_id: str, map_shape: Sequence[int]) -> None:
        """Refuse an image that has no such number, before the first one is measured.

        Args:
            image: Image ``[C, H, W]``.
            image_id: Its id.
            map_shape: Height and width of its map.

        Raises:
            InputError: If it has none; the message names the image.
        """


def check_qualities(qualities: Sequence[MapQuality]) -> tuple[MapQuality, ...]:
    """The qualities as a tuple.

    Args:
        qualities: What the user gave.

    Raises:
        InputError: If one is something else, or there are two of one name.
    """
    listed = several("qualities", qualities, "[SparsenessQuality()]")
    for quality in listed:
        instance("a quality", quality, MapQuality, "SparsenessQuality()")
    names = [quality.name for quality in listed]
    if len(set(names)) < len(names):
        raise InputError(f"qualities must differ, got {', '.join(names)}: leave out the second of a kind")
    return listed
