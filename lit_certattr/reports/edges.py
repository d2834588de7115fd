"""The image at the edge of its budget: as different as the certificates still allow it to be."""

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import CountsPixels
from lit_certattr.certificates.guarded import in_order
from lit_certattr.certificates.reach import length_that_keeps
from lit_certattr.records.run_directory import EDGE, Record

_LARGEST = 320  # pixels of a shown image in each direction


class Reach(NamedTuple):
    """How far changes of an image may go.

    Attributes:
        holds: What holds for all shorter changes, in words.
        radius: Length of changes.
        majorities: Whether it is about majorities of the noisy copies.
    """

    holds: str
    radius: float
    majorities: bool


class Picture(NamedTuple):
    """A picture of the page.

    Attributes:
        name: File name.
        words: What it shows.
        image: The image ``[C, H, W]``.
    """

    name: str
    words: str
    image: Tensor

    @property
    def png(self) -> bytes:
        """Content of the file."""
        return as_png(self.image)


class Edges(NamedTuple):
    """The image at the edge of its budget.

    Attributes:
        reach: Where the edge is; ``None`` if no picture is shown.
        words: The same in a sentence.
        pictures: The image first, then one changed image for each kind of change, in both directions.
    """

    reach: Reach | None
    words: str
    pictures: list[Picture]


def reaches(results: Mapping[str, Result]) -> Iterator[Reach]:
    """How far changes of an image may go until half of a certificate is lost, and until all of it is.

    Args:
        results: Results of one image by name; those that count nothing, or never lose it, are left out.
    """
    for name in in_order(results):
        result = results[name]
        if isinstance(result, CountsPixels) and (number := result.certified_count(0.0)[0]):
            for needed in (-(-number // 2), 1):
                if (radius := length_that_keeps(result, needed, result.scale)) is not None:
                    kept = result.certified_count(radius * (1 - 1e-12))[0]
                    yield Reach(f"{kept} of {number} statements that {name} certifies hold", radius, result.majorities)


def edges_of(record: Record) -> Edges:
    """The image, and the image at the edge of its budget; no pictures for the ball of a norm, or without certificates.

    Args:
        record: One image of a run.
    """
    budget = next(iter(record.results.values())).change_budget
    if budget.definition:
        for reach in reaches(record.results):
            if edges := budget.edges(record.image, reach.radius, reach.majorities):
                shown = [("the image as it is", record.image), *edges]
                names = [f"{record.id}{EDGE}{number}.png" for number in range(len(shown))]
                words = f"Certified up to here: {reach.holds} after any change with {budget.below(reach.radius)}."
                pictures = [Picture(name, *pair) for name, pair in zip(names, shown, strict=True)]
                return Edges(reach, words, pictures)
    return Edges(None, "", [])


def strays(names: Iterable[str], drawn: Mapping[str, bytes]) -> list[str]:
    """Files of pictures of edges that belong to no image of a page.

    Args:
        names: Names of files in ``figures/``.
        drawn: The pictures of the page.
    """
    return sorted(name for name in names if re.search(rf"{re.escape(EDGE)}\d+\.png$", name) and name not in drawn)


def as_png(image: Tensor) -> bytes:
    """An image as the content of a PNG file of at most 320 x 320 pixels, clipped to [0, 1] and rounded to 8 bits.

    Args:
        image: Image ``[C, H, W]``; of an image that has no three channels, the first is shown.
    """
    levels = (image.detach().cpu().double().clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    picture = Image.fromarray(levels.transpose(1, 2, 0) if len(levels) == 3 else levels[0])
    picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
