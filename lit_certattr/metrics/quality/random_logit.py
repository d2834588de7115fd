"""How much maps depend on the class that they explain."""

from typing import ClassVar, Literal, get_args

from torch import Tensor
from typing_extensions import override

from lit_certattr.attribution import RegionMap
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.agreement import ssim
from lit_certattr.metrics.functional.correlation import spearman
from lit_certattr.metrics.functional.other_class import random_logit
from lit_certattr.metrics.quality.base import Explained, MapQuality
from lit_certattr.settings import whole_number

Similarity = Literal["ssim", "spearman"]
"""Of two maps: structural similarity of their pictures, or rank correlation of their values."""
_FUNCTIONS = {"ssim": ssim, "spearman": spearman}


class RandomLogitQuality(MapQuality):
    """Similarity of a map to that of a random other class of the same image; small is good.

    See :func:`~lit_certattr.metrics.functional.random_logit`. Beside it: the same when the pixels of the other map are
    in random order. Each image is explained three times. A constant map has no such number.

    Args:
        seed: Seed of the other classes and of the order of the pixels.
        similarity: ``"ssim"`` of the absolute values as pictures, or ``"spearman"``, rank correlation, which is for
            maps of regions too.

    Raises:
        InputError: If a setting is out of range; when called, if the network has one logit only, or the maps are no
            pictures of at least 6 x 6 pixels for ``"ssim"``.
    """

    name: ClassVar[str] = "random_logit"
    words: ClassVar[str] = "similarity to another class's map"
    beside: ClassVar[tuple[str, ...]] = ("chance",)

    def __init__(self, seed: int = 0, similarity: Similarity = "ssim") -> None:
        if similarity not in get_args(Similarity):
            raise InputError(f"similarity must be one of {', '.join(get_args(Similarity))}, got {similarity!r:.80}")
        self.seed, self.similarity = whole_number("seed", seed, least=0), similarity

    @override
    def values(self, explained: Explained) -> tuple[Tensor, ...]:
        model, attribution, images, targets, _, ids = explained
        if self.similarity == "ssim" and isinstance(attribution, RegionMap):
            raise InputError("maps of regions are no pictures: use RandomLogitQuality(similarity='spearman')")
        found = random_logit(
            model,
            images,
            targets,
            attribution,
            similarity=_FUNCTIONS[self.similarity],
            max_batch=max(1, len(images)),
            seed=self.seed,
            ids=ids,
        )
        return found.map, found.chance
