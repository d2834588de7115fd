"""What a call of :func:`~lit_certattr.certify` returns: results that show themselves."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, overload

import attrs
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates import Result, joint_statement
from lit_certattr.certificates.guarded import in_order
from lit_certattr.certificates.showing import facts, image_tag, short_method, table_tag, text_tag
from lit_certattr.models.names import suggestion
from lit_certattr.settings.extras import extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_MOST_ROWS = 50
"""Largest number of images in the table of a notebook."""


@attrs.frozen(eq=False, repr=False)
class CertifiedImage(Mapping[str, Result]):
    """The results of one image: a mapping from the names of the certificates to their results.

    A notebook shows it as a table with a figure.

    Attributes:
        name: What tables and figures call the image.
        image: The image, float ``[C, H, W]`` in [0, 1], on the CPU.
        clean_map: Attribution map without noise, ``[H, W]``.
        target: The explained class.
        prediction: The class that the network predicts for the clean image.
        class_name: Name of the explained class; empty if unknown.
        results: The results by name.
    """

    name: str
    image: Tensor
    clean_map: Tensor
    target: int
    prediction: int
    class_name: str
    results: Mapping[str, Result]

    def __getitem__(self, name: str) -> Result:
        try:
            return self.results[name]
        except KeyError:
            raise KeyError(f"there is no certificate {name!r}; {suggestion(str(name), self.results)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    @property
    def explained(self) -> str:
        """The explained class in words."""
        return f"{self.class_name} ({self.target})" if self.class_name else f"class {self.target}"

    def statement(self, radius: float | None = None) -> str:
        """What the certificates say, one paragraph for each, and together where that is a sentence.

        Args:
            radius: Budget in pixel units; ``None`` for the default radius of each kind.

        Raises:
            InputError: If the radius is negative or not a finite number.
        """
        said = [result.statement(radius) for result in self.results.values()]
        joint = joint_statement(self.results, radius or None, self.explained)
        return "\n\n".join([*said, *([joint] if joint else [])])

    def plot(self) -> "Figure":
        """Everything about the image: image, map, certified pixels and radii, curves; and whether nothing is certified.

        Returns:
            A figure that belongs to no window; save it with ``savefig``.
        """
        from lit_certattr.reports.figures import image_panel

        clean_map = self.clean_map.float()
        return image_panel(self.image.float(), self.results, f"{self.name}: {self.explained}", clean_map)

    def to_frame(self) -> "DataFrame":
        """The numbers as a table, one row for each certificate and level, as in ``results.parquet`` of a run."""
        return CertifiedImages([self]).to_frame()

    def summaries(self) -> dict[str, str]:
        """What each certificate found, in a line."""
        return {name: one.nothing() or one.summary() for name, one in in_order(self.results).items()}

    def __repr__(self) -> str:
        lines = [f"  {name}: {summary}" for name, summary in self.summaries().items()]
        return "\n".join([f"CertifiedImage({self.name!r}, {self.explained}; {_settings(self)})", *lines])

    def _repr_html_(self) -> str:
        first = next(iter(self.results.values()))
        rows = {"image": self.name, "explained": self.explained} | facts(first) | self.summaries()
        statements = "".join(text_tag(one.statement()) for one in self.results.values())
        return (
            f"{table_tag(rows.items())}{image_tag(self.plot(), f'certificates of {self.name}')}"
            f"<details><summary>What is certified, in words</summary>{statements}</details>"
        )


class CertifiedImages(Sequence[CertifiedImage]):
    """The results of several images, in the order in which they were given.

    A notebook shows it as a table.

    Args:
        images: The results of each image.

    Example:
        >>> len(CertifiedImages([]))
        0
    """

    def __init__(self, images: Sequence[CertifiedImage]) -> None:
        self._images = tuple(images)

    @overload
    def __getitem__(self, index: int) -> CertifiedImage: ...
    @overload
    def __getitem__(self, index: slice) -> "CertifiedImages": ...
    @override
    def __getitem__(self, index: int | slice) -> "CertifiedImage | CertifiedImages":
        return CertifiedImages(self._images[index]) if isinstance(index, slice) else self._images[index]

    def __len__(self) -> int:
        return len(self._images)

    def plot(self) -> "Figure":
        """Means over the images against the radius; a band marks the middle half of the images.

        Returns:
            A figure that belongs to no window; save it with ``savefig``.
        """
        from lit_certattr.reports.figures import dataset_figure

        return dataset_figure(one.results for one in self._images)

    def to_frame(self) -> "DataFrame":
        """The numbers as a table, one row per image, certificate and level, as in ``results.parquet`` of a run.

        Columns that none of the certificates fills are left out.

        Raises:
            InputError: If pandas is missing.
        """
        with extra("reports", "to_frame"):
            import pandas as pd

        from lit_certattr.records.table import RADII, rows

        every = [
            row
            for one in self._images
            for row in rows(one.name, dict(one.results), {"prediction": one.prediction}, RADII)
        ]
        return pd.DataFrame(every).dropna(axis="columns", how="all")

    def __repr__(self) -> str:
        count = f"{len(self)} image{'s' * (len(self) != 1)}"
        if not self._images:
            return f"CertifiedImages({count})"
        lines = [f"  {one.name}, {one.explained}: {'; '.join(one.summaries().values())}" for one in self._images[:10]]
        more = [f"  ... and {len(self) - 10} more"] if len(self) > 10 else []
        return "\n".join([f"CertifiedImages({count}; {_settings(self._images[0])})", *lines, *more])

    def _repr_html_(self) -> str:
        if not self._images:
            return text_tag(repr(self))
        head = ["image", "explained", "noisy accuracy", *self._images[0]]
        rows = [
            [one.name, one.explained, facts(next(iter(one.values())))["noisy accuracy"], *one.summaries().values()]
            for one in self._images[:_MOST_ROWS]
        ]
        more = f"{len(self)} images, of which {len(rows)} are shown; " if len(self) > len(rows) else ""
        return f"{table_tag(rows, head)}{text_tag(f'{more}{_settings(self._images[0])}')}"


def _settings(one: CertifiedImage) -> str:
    """Method, noise and number of samples in a line."""
    result = next(iter(one.values()))
    return f"{short_method(result)}, {result.law_in_words()}, {result.num_samples} samples"
