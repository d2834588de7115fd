"""Metrics as functions of results, of finished maps, or of a network and maps."""

from lit_certattr.metrics.functional.baselines import centre_map, random_maps, removal_ranks
from lit_certattr.metrics.functional.certified import (
    certified_fraction,
    certified_one_share,
    certified_overlap,
    certified_overlap_curve,
    mean_certified_radius,
)
from lit_certattr.metrics.functional.certified_deletion import certified_deletion
from lit_certattr.metrics.functional.certified_gridpg import CertifiedLocalisation, certified_gridpg
from lit_certattr.metrics.functional.certified_lens import (
    certified_lens_precision,
    certified_lens_recall,
    worst_lens_precision,
    worst_lens_recall,
)
from lit_certattr.metrics.functional.deletion import Areas, RemovalCurves, deletion, insertion
from lit_certattr.metrics.functional.fill import Fill, fill_images
from lit_certattr.metrics.functional.infidelity import GaussianOffset, Infidelities, SquareRemoval, infidelity
from lit_certattr.metrics.functional.localisation import (
    Localisation,
    box_masks,
    cell_masks,
    energy_in_mask,
    gridpg,
    pointing_game,
)
from lit_certattr.metrics.functional.sensitivity import max_sensitivity

__all__ = [
    "Areas",
    "CertifiedLocalisation",
    "Fill",
    "GaussianOffset",
    "Infidelities",
    "Localisation",
    "RemovalCurves",
    "SquareRemoval",
    "box_masks",
    "cell_masks",
    "centre_map",
    "certified_deletion",
    "certified_fraction",
    "certified_gridpg",
    "certified_lens_precision",
    "certified_lens_recall",
    "certified_one_share",
    "certified_overlap",
    "certified_overlap_curve",
    "deletion",
    "energy_in_mask",
    "fill_images",
    "gridpg",
    "infidelity",
    "insertion",
    "max_sensitivity",
    "mean_certified_radius",
    "pointing_game",
    "random_maps",
    "removal_ranks",
    "worst_lens_precision",
    "worst_lens_recall",
]
