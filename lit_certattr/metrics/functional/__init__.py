"""Metrics as functions of one or several results."""

from lit_certattr.metrics.functional.certified import (
    certified_fraction,
    certified_one_share,
    certified_overlap,
    certified_overlap_curve,
    mean_certified_radius,
)

__all__ = [
    "certified_fraction",
    "certified_one_share",
    "certified_overlap",
    "certified_overlap_curve",
    "mean_certified_radius",
]
