"""Metrics as functions of results, of finished maps, of pairs of them, or of a network and maps."""

from lit_certattr.metrics.functional.agreement import centre_shift, l2_distance, ssim
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
from lit_certattr.metrics.functional.class_overlap import ClassOverlap, class_overlap
from lit_certattr.metrics.functional.concentration import Sparseness, sparseness
from lit_certattr.metrics.functional.correlation import cosine_similarity, pearson, spearman
from lit_certattr.metrics.functional.deletion import Areas, RemovalCurves, deletion, insertion
from lit_certattr.metrics.functional.diverse import diverse_top_k
from lit_certattr.metrics.functional.fill import Fill, fill_images
from lit_certattr.metrics.functional.infidelity import GaussianOffset, Infidelities, SquareRemoval, infidelity
from lit_certattr.metrics.functional.kendall_tau import kendall
from lit_certattr.metrics.functional.lens import (
    LENSScores,
    diverse_top_k_intersection,
    lens_chance,
    lens_precision,
    lens_recall,
    lens_scores,
    top_k_intersection,
)
from lit_certattr.metrics.functional.lens_correlation import lens_kendall, lens_spearman, smoothed_maps
from lit_certattr.metrics.functional.lens_curves import (
    LENSCurves,
    lens_curves,
    lens_dissimilarity,
    mean_lens_dissimilarity,
    mean_set_difference,
)
from lit_certattr.metrics.functional.localisation import (
    Localisation,
    box_masks,
    cell_masks,
    energy_in_mask,
    gridpg,
    pointing_game,
    relevance_rank_accuracy,
)
from lit_certattr.metrics.functional.other_class import RandomLogits, random_logit
from lit_certattr.metrics.functional.randomisation import RandomisationResult, parameter_randomisation
from lit_certattr.metrics.functional.sensitivity import max_sensitivity
from lit_certattr.metrics.functional.soft_stability import SoftStabilities, soft_stability, top_features
from lit_certattr.metrics.functional.windows import neighbourhood

__all__ = [
    "Areas",
    "CertifiedLocalisation",
    "ClassOverlap",
    "Fill",
    "GaussianOffset",
    "Infidelities",
    "LENSCurves",
    "LENSScores",
    "Localisation",
    "RandomLogits",
    "RandomisationResult",
    "RemovalCurves",
    "SoftStabilities",
    "Sparseness",
    "SquareRemoval",
    "box_masks",
    "cell_masks",
    "centre_map",
    "centre_shift",
    "certified_deletion",
    "certified_fraction",
    "certified_gridpg",
    "certified_lens_precision",
    "certified_lens_recall",
    "certified_one_share",
    "certified_overlap",
    "certified_overlap_curve",
    "class_overlap",
    "cosine_similarity",
    "deletion",
    "diverse_top_k",
    "diverse_top_k_intersection",
    "energy_in_mask",
    "fill_images",
    "gridpg",
    "infidelity",
    "insertion",
    "kendall",
    "l2_distance",
    "lens_chance",
    "lens_curves",
    "lens_dissimilarity",
    "lens_kendall",
    "lens_precision",
    "lens_recall",
    "lens_scores",
    "lens_spearman",
    "max_sensitivity",
    "mean_certified_radius",
    "mean_lens_dissimilarity",
    "mean_set_difference",
    "neighbourhood",
    "parameter_randomisation",
    "pearson",
    "pointing_game",
    "random_logit",
    "random_maps",
    "relevance_rank_accuracy",
    "removal_ranks",
    "smoothed_maps",
    "soft_stability",
    "sparseness",
    "spearman",
    "ssim",
    "top_features",
    "top_k_intersection",
    "worst_lens_precision",
    "worst_lens_recall",
]
