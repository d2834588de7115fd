"""Numbers of many images, gathered image by image: eight bytes each, and nothing else of an image is kept."""

import math
from array import array
from collections.abc import Iterator, Mapping
from typing import TypeVar

from lit_certattr.comparison.measures import Measure
from lit_certattr.statistics.exact_mean import ExactMean

Image = tuple[str, str]
"""Id of an image, and the digest of its pixels: numbers are paired where both agree."""
Key = TypeVar("Key")


class Column(Mapping[Image, float]):
    """One number of each image that has it.

    Args:
        places: The images with their places, in order; it may grow while the column is filled.
    """

    __slots__ = ("_numbers", "_places")

    def __init__(self, places: Mapping[Image, int]) -> None:
        self._places = places
        self._numbers = array("d")  # NaN where an image has none

    def fill(self, place: int, number: float) -> None:
        """Note the number of an image.

        Args:
            place: Place of the image, not before any that is filled.
            number: A finite number.
        """
        self._numbers.extend([math.nan] * (place + 1 - len(self._numbers)))
        self._numbers[place] = number

    def __getitem__(self, image: Image) -> float:
        place = self._places[image]
        number = self._numbers[place] if place < len(self._numbers) else math.nan
        if math.isnan(number):
            raise KeyError(image)
        return number

    def __iter__(self) -> Iterator[Image]:
        return (image for image, number in zip(self._places, self._numbers, strict=False) if not math.isnan(number))

    def __len__(self) -> int:
        return sum(not math.isnan(number) for number in self._numbers)


class Gathered:
    """Numbers by measure and image, with their means; measures are in the order in which they appear."""

    def __init__(self) -> None:
        self.places: dict[Image, int] = {}
        self.columns: dict[Measure, Column] = {}
        self.means: dict[Measure, ExactMean] = {}
        self.nulls: dict[Measure, ExactMean] = {}

    def add(self, image: Image, measure: Measure, number: float, null: float, keep: bool = True) -> None:
        """Add a number of an image; what is not finite, in a file that somebody altered, is left out.

        Args:
            image: The image; images come one after the other.
            measure: What the number is.
            number: The number.
            null: The same number of maps of pure noise, or chance; NaN where it is unknown.
            keep: Whether the number of each image is kept, not only the mean.
        """
        place = self.places.setdefault(image, len(self.places))
        if math.isfinite(number):
            _mean(self.means, measure).add(number)
            if keep:
                if measure not in self.columns:
                    self.columns[measure] = Column(self.places)
                self.columns[measure].fill(place, number)
        if math.isfinite(null):
            _mean(self.nulls, measure).add(null)


def means_of(means: Mapping[Key, ExactMean]) -> dict[Key, float]:
    """The means of numbers.

    Args:
        means: The means by what they are of.
    """
    return {key: mean.value for key, mean in means.items()}


def _mean(means: dict[Measure, ExactMean], measure: Measure) -> ExactMean:
    if measure not in means:
        means[measure] = ExactMean()
    return means[measure]
