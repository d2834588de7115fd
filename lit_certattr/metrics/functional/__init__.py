"""Metrics as functions of one or several results."""

from lit_certattr.metrics.functional.certified import (
    certified_fraction,
    certified_one_share,
    certified_overlap,
    certified_overlap_curve,
    mean_certified_radius,
)
from lit_certattr.metrics.functional.certified_lens import (
    certified_lens_precision,
    certified_lens_recall,
    worst_lens_precision,
    worst_lens_recall,
)

__all__ = [
    "certified_fraction",
    "certified_lens_precision",
    "certified_lens_recall",
    "certified_one_share",
    "certified_overlap",
    "certified_overlap_curve",
    "mean_certified_radius",
    "worst_lens_precision",
    "worst_lens_recall",
]
