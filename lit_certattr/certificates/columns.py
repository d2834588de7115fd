"""Columns of the table of a run (``results.parquet``) that the kinds of this package fill."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

HEAD = ("id", "certificate", "kind", "level", "top_k", "size", "num_pixels", "target", "prediction", "label")
"""The first columns, in order."""
_TEXT: tuple[str, ...] = ("id", "certificate", "kind", "noise", "radius_norm", "attribution", "target_rule", "flags")
_TEXT += ("claim", "claim_verdict")
_WHOLE: tuple[str, ...] = ("level", "size", "num_pixels", "target", "prediction", "label", "num_samples", "threshold")
_WHOLE += ("num_constant", "num_predictions", "num_extra_passes")
_REAL: tuple[str, ...] = ("top_k", "alpha", "sigma", "tau", "tied", "mean_radius", "max_radius", "half_radius")
_REAL += ("one", "zero", "certified", "abstain", "one_share", "null_one", "null_zero", "overlap")
_REAL += ("norm", "cosine90_radius", "samples_saved", "lp_half_radius")
_REAL += ("claim_at_least", "claim_at_most", "claim_lower", "claim_upper", "claim_radius", "claim_covered")
_REAL += ("noisy_accuracy",)
AT_RADII = ("one_share", "certified", "overlap", "cosine", "claim_lower", "claim_upper")
"""Quantities that have a column for each radius."""
AVERAGED: tuple[str, ...] = ("one_share", "one", "zero", "certified", "mean_radius", "overlap", "half_radius")
AVERAGED += ("norm", "cosine90_radius", "lp_half_radius")
"""Columns without a radius whose means over the images are logged."""


@lru_cache(maxsize=4096)  # the same few names for each image
def column_at(name: str, radius: float) -> str:
    """Name of a column at a radius, without dots, which some metric and file tools do not accept.

    Args:
        name: Name of the quantity.
        radius: Radius.

    Example:
        >>> column_at("one", 0.1)
        'one_r0_1'
    """
    return f"{name}_r{radius + 0.0:g}".replace(".", "_").replace("-", "m").replace("+", "")


def common_columns(radii: Iterable[float]) -> dict[str, type]:
    """Columns that every table has, in order, each with the type of its values.

    Args:
        radii: Radii of the columns, in pixel l2 units.
    """
    return dict(_common_columns(tuple(radii)))


@lru_cache(maxsize=64)
def _common_columns(radii: tuple[float, ...]) -> dict[str, type]:
    real = (*_REAL, *(column_at(name, radius) for name in AT_RADII for radius in radii))
    types: Mapping[str, type] = dict.fromkeys(_TEXT, str) | dict.fromkeys(_WHOLE, int) | dict.fromkeys(real, float)
    names = (*HEAD, *(name for name in (*real, *_WHOLE, *_TEXT) if name not in HEAD))
    return {name: types[name] for name in names}
