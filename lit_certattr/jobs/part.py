"""A part of the images of a run, for runs side by side that are merged afterwards."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from lit_certattr.data import SampleSet
from lit_certattr.errors import InputError

_FORM = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,8})")


class Part(NamedTuple):
    """One of several parts of the images: part 2 of 8 holds the 2nd, 10th, 18th, ... image.

    So every part has its share of each class of a sorted data set, and the sizes of the parts differ by one image.

    Attributes:
        number: Number of the part, from 1 to ``of``.
        of: Number of parts.
    """

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> Self:
        """The part that a text names.

        Args:
            text: Number and number of parts, e.g. ``2/8``.

        Raises:
            InputError: If the text names none.

        Example:
            >>> Part.read("2/8")
            Part(number=2, of=8)
        """
        form = _FORM.fullmatch(str(text))
        if form is None or int(form[1]) > int(form[2]):
            raise InputError(f"part must be like 2/8, the second of eight parts, got {text!r:.60}")
        return cls(int(form[1]), int(form[2]))

    def places(self, count: int) -> range:
        """Places of the images of this part among all.

        Args:
            count: Number of all images.

        Example:
            >>> [list(Part(number, 3).places(7)) for number in (1, 2, 3)]
            [[0, 3, 6], [1, 4], [2, 5]]
        """
        return range(self.number - 1, count, self.of)

    def select(self, samples: SampleSet) -> SampleSet:
        """The images of this part.

        Args:
            samples: All images.

        Raises:
            InputError: If there are none.
        """
        places = self.places(len(samples))
        if not places:
            raise InputError(f"part {self.number}/{self.of} is empty: there are {len(samples)} images")
        return samples.subset(list(places))

    def record(self, ids: Sequence[str]) -> dict[str, Any]:
        """What ``provenance.json`` holds of it.

        Args:
            ids: Ids of all images, in their order.
        """
        return {"number": self.number, "of": self.of, "images": len(ids), "ids": ids_digest(ids)}


def ids_digest(ids: Sequence[str]) -> str:
    """SHA-256 of ids in their order.

    Args:
        ids: The ids.
    """
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
