"""One row an image, certificate and level: the numbers of a run as a flat table."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from lit_certattr.certificates import CosineResult, OverlapResult, PixelResult, Result
from lit_certattr.errors import InputError

RADII = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Radii of the table's columns, in pixel l2 units."""


def at(name: str, radius: float) -> str:
    """Name of a column at a radius; no dots, which metric and file tools trip over.

    Example:
        >>> at("one", 0.1)
        'one_r0_1'
    """
    return f"{name}_r{radius + 0.0:g}".replace(".", "_").replace("-", "m").replace("+", "")


def check_radii(radii: Sequence[float]) -> None:
    """Refuse radii that cannot be columns, before anything is sampled for them.

    Raises:
        InputError: If one is NaN, infinite or negative, or two have the same column: they agree in six digits.

    Example:
        >>> check_radii([0.1, 0.25])
    """
    columns: dict[str, float] = {}
    for radius in radii:
        if not 0 <= radius < math.inf:
            raise InputError(f"radii must be finite numbers, none negative, got {radius}")
        if (name := at("", radius)) in columns:
            raise InputError(
                f"radii must be different numbers in their first six digits, which name the columns, "
                f"got {columns[name]!r} and {radius!r}"
            )
        columns[name] = radius


def schema(radii: Sequence[float] = RADII) -> pa.Schema:
    """Columns and types of ``results.parquet``.

    ``one`` (certified important), ``zero`` (certified unimportant) and ``abstain`` are shares of all pixels,
    ``one_share`` (which may exceed 1) and ``overlap`` shares of K, ``null_*`` what pure noise would reach, ``cosine``
    certified cosines and ``cosine90_radius`` the largest radius of a cosine of 0.9, ``samples_saved`` the share of the
    samples that an image did not need, where sampling may stop early. Columns of the other kinds of certificate are
    null.

    All radii are l2 lengths but ``lp_half_radius``, that of half the overlap in the norm ``radius_norm`` of its row.
    """
    text: tuple[str, ...] = ("id", "certificate", "kind", "noise", "radius_norm", "attribution", "target_rule", "flags")
    whole = (
        "level",
        "size",
        "num_pixels",
        "target",
        "prediction",
        "label",
        "num_samples",
        "threshold",
        "num_constant",
    )
    real: tuple[str, ...] = ("top_k", "alpha", "sigma", "tau", "tied", "mean_radius", "max_radius", "half_radius")
    real += ("one", "zero", "certified", "abstain", "one_share", "null_one", "null_zero", "overlap")
    real += ("norm", "cosine90_radius", "samples_saved", "lp_half_radius")
    real += tuple(at(name, radius) for name in ("one_share", "certified", "overlap", "cosine") for radius in radii)
    order = ("id", "certificate", "kind", "level", "top_k", "size", "num_pixels", "target", "prediction", "label")
    types = dict.fromkeys(text, pa.string()) | dict.fromkeys(whole, pa.int64()) | dict.fromkeys(real, pa.float64())
    names = order + tuple(name for name in (*real, *whole, *text) if name not in order)
    return pa.schema([(name, types[name]) for name in names])


def rows(
    image_id: str,
    results: dict[str, Result],
    facts: dict[str, Any],
    radii: Sequence[float] = RADII,
) -> Iterator[dict[str, Any]]:
    """Rows of one image.

    Args:
        image_id: Id of the image.
        results: Its results by name.
        facts: ``label`` and ``prediction`` of the image.
        radii: Radii of the columns.
    """
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
            "noise": result.noise,
            "radius_norm": result.radius_norm,
            "attribution": result.sampling.get("attribution"),
            "target_rule": result.sampling.get("target_rule"),
            "flags": "; ".join(result.flags),
        }
        if isinstance(result, PixelResult):
            yield from (common | row for row in _pixel_rows(result, radii))
        elif isinstance(result, OverlapResult):
            yield common | _overlap_row(result, radii)
        elif isinstance(result, CosineResult):
            yield common | _cosine_row(result, radii)
        else:
            yield common


def _pixel_rows(result: PixelResult, radii: Sequence[float]) -> Iterator[dict[str, Any]]:
    shares, null, one = result.shares(), result.null_shares(), result.one_share()
    later = [(radius, result.shares(radius)["certified"], result.one_share(radius)) for radius in radii]
    for level, top_k in enumerate(result.top_k):
        certified = result.radius[level][result.labels[level] >= 0].double()
        row = {
            "level": level,
            "top_k": float(top_k),
            "size": result.sizes[level],
            "num_pixels": result.num_pixels,
            "tau": result.tau,
            "threshold": result.threshold,
            "num_constant": result.num_constant,
            "tied": result.tied[level],
            "mean_radius": float(result.radius[level].double().mean()),  # over all pixels: 0 where it abstains
            "max_radius": float(certified.max()) if certified.numel() else 0.0,
            "one_share": float(one[level]),
            "null_one": float(null["one"][level]),
            "null_zero": float(null["zero"][level]),
        }
        row |= {key: float(value[level]) for key, value in shares.items()}
        for radius, share, important in later:
            row[at("certified", radius)] = float(share[level])
            row[at("one_share", radius)] = float(important[level])
        yield row


def _overlap_row(result: OverlapResult, radii: Sequence[float]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "level": 0,
        "top_k": float(result.top_k),
        "size": result.size,
        "num_pixels": result.inside.numel(),
        "overlap": result.overlap(0) / result.size,
    }
    if result.radius_norm != "l2":  # no column of l2 radii may hold another length
        return row | {"lp_half_radius": result.max_radius(0.5)}
    row["half_radius"] = result.max_radius(0.5)
    return row | {at("overlap", radius): float(value) for radius, value in zip(radii, result.curve(radii), strict=True)}


def _cosine_row(result: CosineResult, radii: Sequence[float]) -> dict[str, Any]:
    return {
        "level": 0,
        "num_pixels": result.mean.numel(),
        "norm": result.norm,
        "cosine90_radius": result.max_radius(0.9),
    } | {at("cosine", radius): value for radius, value in zip(radii, result.curve(radii).tolist(), strict=True)}


def means(table: pa.Table) -> dict[str, float]:
    """Means over the images of a table: ``certified/<certificate>/<level>/<column>``.

    Levels are named by their size in pixels, since names of metrics must not hold a dot; a certificate without
    levels has none in its names.
    """
    numbers: tuple[str, ...] = ("one_share", "one", "zero", "certified", "mean_radius", "overlap", "half_radius")
    numbers += ("norm", "cosine90_radius", "lp_half_radius")
    at_radius = re.compile(r"(one_share|certified|overlap|cosine)_r\d[\dem_]*")
    wanted = [name for name in table.column_names if name in numbers or at_radius.fullmatch(name)]
    collected: dict[str, list[float]] = {}
    for row in table.to_pylist():
        level = "" if row["size"] is None else f"k{row['size']}/"
        for name in wanted:
            if row[name] is not None:
                own = name.replace("lp_", f"{row['radius_norm']}_")
                collected.setdefault(f"certified/{row['certificate']}/{level}{own}", []).append(row[name])
    return {name: sum(values) / len(values) for name, values in collected.items()}
