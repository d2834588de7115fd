"""The numbers of a run as a flat table: one row per image, certificate and level."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from lit_certattr.certificates import Result
from lit_certattr.certificates.columns import AT_RADII, AVERAGED, column_at, common_columns
from lit_certattr.certificates.guarded import own_columns, presentation_of
from lit_certattr.certification import NOISY_MAJORITY
from lit_certattr.data import NO_LABEL
from lit_certattr.errors import InputError
from lit_certattr.metrics.naming import PREFIX, column_word, metric_name, prefix_of
from lit_certattr.records.table_rows import PIECE, Columns

RADII = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Radii of the table's columns, in pixel l2 units."""


def check_radii(radii: Sequence[float]) -> None:
    """Refuse radii that cannot be columns, before any sampling.

    Args:
        radii: Radii in pixel l2 units.

    Raises:
        InputError: If one is NaN, infinite or negative, or two agree in six digits and so have the same column.

    Example:
        >>> check_radii([0.1, 0.25])
    """
    columns: dict[str, float] = {}
    for radius in radii:
        if not 0 <= radius < math.inf:
            raise InputError(f"radii must be finite numbers, at least 0, got {radius}")
        if (name := column_at("", radius)) in columns:
            raise InputError(
                f"radii must differ in their first six digits, which name the columns, "
                f"got {columns[name]!r} and {radius!r}"
            )
        columns[name] = radius


def schema(radii: Sequence[float] = RADII, own: Mapping[str, type] = MappingProxyType({})) -> pa.Schema:
    """Columns and types of ``results.parquet``.

    - ``one`` (certified important), ``zero`` (certified unimportant), ``abstain``: shares of all pixels.
    - ``one_share`` (which may exceed 1), ``overlap``: shares of K.
    - ``null_*``: the same numbers for maps of pure noise.
    - ``cosine``: certified cosines; ``cosine90_radius``: the largest radius with a certified cosine of 0.9.
    - ``samples_saved``: share of the samples that an image did not need, if sampling may stop early.
    - ``noisy_accuracy``: share of ``num_predictions`` noisy copies that are predicted as the explained class;
      ``num_extra_passes`` of these passed the network for that alone. Null in runs of older versions.

    Columns that belong to other kinds of certificate are null. All radii are l2 lengths, except ``lp_half_radius``:
    the radius with half of the overlap, in the norm ``radius_norm`` of its row. Where ``radius_norm`` is no norm but
    the name of another budget, all radii of the row are lengths of that budget.

    Args:
        radii: Radii of the columns, in pixel l2 units.
        own: Columns of kinds from outside this package, with the type of their values, see
            :func:`~lit_certattr.certificates.guarded.own_columns`; they are the last columns.
    """
    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    columns = common_columns(radii) | dict(own)
    return pa.schema([(name, types[kind]) for name, kind in columns.items()])


def rows(
    image_id: str,
    results: dict[str, Result],
    facts: dict[str, Any],
    radii: Sequence[float] = RADII,
) -> Iterator[dict[str, Any]]:
    """Rows of one image.

    Args:
        image_id: Id of the image.
        results: Results of the image by name.
        facts: ``label`` and ``prediction`` of the image.
        radii: Radii of the columns, in pixel l2 units.
    """
    own = own_columns(results.values(), radii)
    for name, result in results.items():
        common = {
            "id": image_id,
            "certificate": name,
            "kind": result.kind,
            "target": result.sampling.get("target"),
            "prediction": facts.get("prediction"),
            "label": facts.get("label"),
            "alpha": result.alpha,
            "sigma": result.sigma,
            "num_samples": result.num_samples,
            "samples_saved": 1 - result.num_samples / result.sampling.get("num_samples", result.num_samples),
            "noisy_accuracy": result.noisy_accuracy,
            "num_predictions": result.num_predictions or None,
            "num_extra_passes": result.num_extra_passes if result.num_predictions else None,
            "noise": result.noise,
            "radius_norm": result.change_budget.name,
            "attribution": result.sampling.get("attribution"),
            "target_rule": result.sampling.get("target_rule"),
            "flags": "; ".join(result.flags),
        }
        for row in presentation_of(result).rows(radii):
            typed = {key: own[key](row[key]) for key in own if row.get(key) is not None}
            yield common | row | typed


def means(table: Columns) -> dict[str, float]:
    """Means over the images of what has no radius, under the names of the metrics that training logs.

    For example ``certified/mean_radius_k25``, ``certified/half_radius_k20``, ``certified/noisy_accuracy``, and
    ``certified/coarse_mean_radius_k25`` for a certificate that the user has called "coarse"
    (:mod:`lit_certattr.metrics.naming`).

    Args:
        table: Table of a run, see :func:`schema`.
    """
    known = common_columns(())
    at_radius = re.compile(rf"({'|'.join(AT_RADII)})_r\d[\dem_]*")
    own = [
        field.name
        for field in table.schema
        if pa.types.is_floating(field.type) and field.name not in known and not at_radius.fullmatch(field.name)
    ]
    sums: dict[str, list[float]] = {}  # sum and count
    averaged = [*(name for name in AVERAGED if name in table.column_names), *own]
    places = [name for name in ("certificate", "kind", "radius_norm", "top_k") if name in table.column_names]
    for batch in table.select([*places, *averaged]).to_batches(PIECE):
        for row in batch.to_pylist():
            for column in averaged:
                if row[column] is not None:
                    name = metric_name(column_word(column, row["kind"], row["radius_norm"]), top_k=row.get("top_k"))
                    total = sums.setdefault(f"{prefix_of(row['certificate'], row['kind'])}{name}", [0.0, 0.0])
                    total[0] += row[column]
                    total[1] += 1
    accuracies = [accuracy for accuracy in noisy_accuracies(table) if accuracy is not None]
    if accuracies:
        sums[f"{PREFIX}noisy_accuracy"] = [sum(accuracies), len(accuracies)]
    return {name: total / count for name, (total, count) in sums.items()}


def num_moved(table: Columns) -> int:
    """Number of images whose class, the majority of noisy predictions, is not the prediction for the clean image.

    Args:
        table: Table of a run, see :func:`schema`.
    """
    names = ("target_rule", "target", "prediction")
    images = _by_image(table, names)
    return sum(rule == NOISY_MAJORITY and target != clean for rule, target, clean in images.values())


def noisy_accuracies(table: Columns) -> list[float | None]:
    """Noisy accuracy of each image of a table, in order; ``None`` where it is unknown.

    Args:
        table: Table of a run, see :func:`schema`; that of an older version may lack the column.
    """
    if "noisy_accuracy" not in table.column_names:
        return []
    return [accuracy for (accuracy,) in _by_image(table, ("noisy_accuracy",)).values()]


def num_right(table: Columns) -> tuple[int, int]:
    """How many predictions for clean images are right, and of how many images this is known.

    Args:
        table: Table of a run, see :func:`schema`.
    """
    images = _by_image(table, ("label", "prediction")).values()
    known = [label == clean for label, clean in images if label not in (None, NO_LABEL) and clean is not None]
    return sum(known), len(known)


def _by_image(table: Columns, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """What the last row of each image holds; the rows are read piece by piece. A column that is not there is empty."""
    found: dict[str, tuple[Any, ...]] = {}
    held = [name for name in names if name in table.column_names]
    for batch in table.select(["id", *held]).to_batches(PIECE):
        columns = {name: batch.column(name).to_pylist() for name in held}
        empty = [None] * batch.num_rows
        found.update(
            zip(
                batch.column("id").to_pylist(),
                zip(*(columns.get(name, empty) for name in names), strict=True),
                strict=True,
            )
        )
    return found
