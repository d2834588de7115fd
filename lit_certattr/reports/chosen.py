"""Which images the page of a large run shows: the worst, the best, and some at random."""

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

from lit_certattr.certificates.columns import AT_RADII, AVERAGED, common_columns
from lit_certattr.records.run_directory import EDGE
from lit_certattr.records.table_rows import PIECE, Columns, rows_where

LARGE = 1000
"""Number of images up to which a page shows a row for each of them, and panels of the first."""
_LEADING = ("one_share", "overlap", "mean_radius", "half_radius", "cosine90_radius", "lp_half_radius", "claim_radius")


_CURVES = 2000
_ROWS = 600
_PICTURES = 3_200_000
"""Characters that the pictures of all panels of a large run may take."""


def is_large(ids: Sequence[str]) -> bool:
    """Whether a page shows only some of these images.

    Args:
        ids: Ids of all images of a run.
    """
    return len(ids) > LARGE


class Excerpt(NamedTuple):
    """The images of a large run that its page shows.

    Attributes:
        by: The number by which images are the worst or the best, in words.
        panels: Images with a panel, each with the way in which it was chosen: ``"worst"``, ``"best"`` or ``"random"``.
        rows: Images with a row in the tables.
        num_images: Number of all images.
    """

    by: str
    panels: dict[str, str]
    rows: dict[str, str]
    num_images: int

    @classmethod
    def of(cls, table: Columns, ids: Sequence[str], max_panels: int) -> Self:
        """Choose the images.

        Args:
            table: Content of ``results.parquet``, or its columns that have values.
            ids: Ids of all images, in the order of the table.
            max_panels: Number of images with a panel.
        """
        by, order = ranking(table, ids)
        panels = _some_of(order, max_panels)
        return cls(by, panels, _some_of(order, _ROWS) | panels, len(ids))

    @property
    def curves(self) -> int:
        """Number of images whose curves are averaged."""
        return min(self.num_images, _CURVES)

    def rows_of(self, table: Columns) -> pa.Table:
        """The rows of the chosen images.

        Args:
            table: The table of all images.
        """
        return rows_where(table, "id", self.rows)

    def panels_that_fit(self, pictures: Mapping[str, str]) -> list[str]:
        """The images whose panels fit on a page of bounded size; of each kind about as many.

        Args:
            pictures: Pictures by file name, as text: ``<id>.png``, and further ones of an image behind its id.
        """
        size: dict[str, int] = {}
        for name, text in pictures.items():
            image_id = name.removesuffix(".png").split(EDGE)[0]
            size[image_id] = size.get(image_id, 0) + len(text)
        kinds = [[one for one, kind in self.panels.items() if kind == chosen] for chosen in ("worst", "best", "random")]
        in_turn = [one for turn in zip_longest(*kinds) for one in turn if one is not None]
        kept, total = set(), 0
        for image_id in in_turn:
            total += size[image_id]
            if total > _PICTURES:
                break
            kept.add(image_id)
        return [image_id for image_id in self.panels if image_id in kept]


def averaged(ids: Sequence[str]) -> Sequence[str]:
    """The images over whose curves a figure of the whole run averages: all of them, or many chosen at random.

    Args:
        ids: Ids of all images.
    """
    return at_random(ids, _CURVES) if is_large(ids) else ids


def _some_of(order: Sequence[str], count: int) -> dict[str, str]:
    """Some images: a third of them the worst, a third the best, and the others at random among the rest."""
    count = max(0, min(count, len(order)))
    ends = count // 3
    worst, best = order[:ends], order[len(order) - ends :]
    rest = at_random(order[ends : len(order) - ends], count - 2 * ends)
    kinds = {"worst": worst, "best": best[::-1], "random": rest}
    return {image_id: kind for kind, chosen in kinds.items() for image_id in chosen}


def at_random(ids: Sequence[str], count: int) -> list[str]:
    """Some images, in their order; a function of the ids, so that equal runs give equal pages.

    Args:
        ids: Ids of all images.
        count: Largest number of images.

    Example:
        >>> at_random(["a", "b", "c"], 5)
        ['a', 'b', 'c']
    """
    if count >= len(ids):
        return list(ids)
    chosen = set(heapq.nsmallest(count, ids, key=_drawn))
    return [image_id for image_id in ids if image_id in chosen]


def ranking(table: Columns, ids: Sequence[str]) -> tuple[str, list[str]]:
    """Order images from the worst to the best, by the leading number of their first certificate that has one.

    Args:
        table: Content of ``results.parquet``, or its columns that have values.
        ids: Ids of the images, in the order of the table; images with equal numbers keep it.

    Returns:
        The number in words, and the ids.
    """
    numbers = numbers_of(table.column_names, table.schema)
    certificates, held = _held(table, numbers)
    for name, column in ((name, column) for name in certificates for column in numbers if (name, column) in held):
        means = _means(table, name, column)
        words = f"the column {column} of the certificate {name} in results.parquet, as a mean over its levels"
        return words, sorted(ids, key=lambda image_id: _or_least(means.get(image_id)))
    return "their order in the data, since no certificate has a number", list(ids)


def _held(table: Columns, columns: Sequence[str]) -> tuple[list[str], set[tuple[str, str]]]:
    """Names of the certificates, in order, and which of these columns each has a number in."""
    certificates: dict[str, None] = {}
    held: set[tuple[str, str]] = set()
    for batch in table.select(["certificate", *columns]).to_batches(PIECE):
        names = batch.column("certificate")
        for name in pc.unique(names).to_pylist():
            own = batch.filter(pc.equal(names, name))
            certificates[name] = None
            held.update((name, column) for column in columns if own.column(column).null_count < own.num_rows)
    return list(certificates), held


def _means(table: Columns, certificate: str, column: str) -> dict[str, float]:
    """The mean of the numbers of each image that has some."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for batch in table.select(["id", "certificate", column]).to_batches(PIECE):
        own = batch.filter(pc.equal(batch.column("certificate"), certificate))
        for image_id, number in zip(own.column("id").to_pylist(), own.column(column).to_pylist(), strict=True):
            if number is not None:
                sums[image_id] = sums.get(image_id, 0.0) + number
                counts[image_id] = counts.get(image_id, 0) + 1
    return {image_id: total / counts[image_id] for image_id, total in sums.items()}


def numbers_of(names: Sequence[str], schema: pa.Schema) -> list[str]:
    """The columns that may order the images, the leading ones first.

    Args:
        names: Names of the columns of a table.
        schema: Its schema.
    """
    common, at_radius = common_columns(()), tuple(f"{name}_r" for name in AT_RADII)
    real = [name for name in names if pa.types.is_floating(schema.field(name).type)]
    further = [name for name in real if name not in common and not name.startswith(at_radius)]
    return [name for name in dict.fromkeys((*_LEADING, *AVERAGED, *further)) if name in names]


def _or_least(value: float | None) -> float:
    return float("-inf") if value is None or value != value else value


def _drawn(image_id: str) -> bytes:
    return hashlib.blake2b(image_id.encode(), digest_size=16).digest()
