"""How concentrated maps are."""

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lit_certattr.metrics.functional.concentration import sparseness
from lit_certattr.metrics.quality.base import Explained, MapQuality


class SparsenessQuality(MapQuality):
    """Gini index of the absolute values of a map, beside the image centre and independent normal values.

    See :func:`~lit_certattr.metrics.functional.sparseness`. A map of zeros has none.
    """

    name: ClassVar[str] = "sparseness"
    words: ClassVar[str] = "sparseness (Gini index)"
    beside: ClassVar[tuple[str, ...]] = ("centre", "chance")

    @override
    def values(self, explained: Explained) -> tuple[Tensor, ...]:
        return tuple(sparseness(explained.maps))
