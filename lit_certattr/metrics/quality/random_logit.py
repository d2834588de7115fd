"""How much maps depend on the class that they explain."""

from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lit_certattr.metrics.functional.other_class import random_logit
from lit_certattr.metrics.quality.base import Explained, MapQuality
from lit_certattr.settings import whole_number


class RandomLogitQuality(MapQuality):
    """Structural similarity of a map to that of a random other class of the same image; small is good.

    See :func:`~lit_certattr.metrics.functional.random_logit`. Beside it: the same when the pixels of the other map are
    in random order. Each image is explained three times. A constant map has no such number.

    Args:
        seed: Seed of the other classes and of the order of the pixels.

    Raises:
        InputError: If the seed is no whole number of at least 0; when called, if the network has one logit only.
    """

    name: ClassVar[str] = "random_logit"
    words: ClassVar[str] = "similarity to another class's map"
    beside: ClassVar[tuple[str, ...]] = ("chance",)

    def __init__(self, seed: int = 0) -> None:
        self.seed = whole_number("seed", seed, least=0)

    @override
    def values(self, explained: Explained) -> tuple[Tensor, ...]:
        model, attribution, images, targets, _, ids = explained
        found = random_logit(
            model, images, targets, attribution, max_batch=max(1, len(images)), seed=self.seed, ids=ids
        )
        return found.map, found.chance
