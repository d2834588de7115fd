"""Torchmetrics of certified results, of attribution maps, and of pairs of clean and perturbed maps."""

from lit_certattr.metrics.agreement import (
    CentreShift,
    LENSKendall,
    LENSSpearman,
    MapCosine,
    MapKendall,
    MapL2Distance,
    MapPearson,
    MapSpearman,
    MapSSIM,
)
from lit_certattr.metrics.certified_lens import CertifiedLENSPrecision, CertifiedLENSRecall
from lit_certattr.metrics.claim import CertifiedClaim, CertifiedClaimCurve, VerdictCount
from lit_certattr.metrics.cosine import CertifiedCosine
from lit_certattr.metrics.deletion import CertifiedDeletion, Deletion, Insertion, RemovalMetric
from lit_certattr.metrics.faithfulness import Infidelity, MaxSensitivity
from lit_certattr.metrics.fixed_point_mean import FixedPointMean
from lit_certattr.metrics.image_mean import ImageMean
from lit_certattr.metrics.informativeness import SameClassOverlap
from lit_certattr.metrics.lens import LENS, DiverseTopKIntersection, LENSPrecision, LENSRecall, TopKIntersection
from lit_certattr.metrics.lens_curves import (
    LENSDissimilarity,
    LENSPrecisionCurve,
    LENSRecallCurve,
    MeanLENSDissimilarity,
    MeanSetDifference,
)
from lit_certattr.metrics.localisation import (
    CertifiedGridPG,
    EnergyInMask,
    GridPG,
    LocalisationMetric,
    PointingGame,
    RelevanceRankAccuracy,
)
from lit_certattr.metrics.map_pair_mean import MapPairMean, ScoreMean
from lit_certattr.metrics.named_means import NamedMeans
from lit_certattr.metrics.naming import (
    certified_metrics,
    claim_metrics,
    cosine_metrics,
    metric_name,
    metrics_for,
    overlap_metrics,
)
from lit_certattr.metrics.noisy_accuracy import NoisyAccuracy
from lit_certattr.metrics.number import CertifiedNumber
from lit_certattr.metrics.overlap import CertifiedOverlap, CertifiedOverlapCurve
from lit_certattr.metrics.pixel import CertifiedFraction, CertifiedOneShare, MeanCertifiedRadius
from lit_certattr.metrics.quality import MapQuality, RandomLogitQuality, RankAccuracyQuality, SparsenessQuality
from lit_certattr.metrics.random_logit import RandomLogit
from lit_certattr.metrics.soft_stability import SoftStability
from lit_certattr.metrics.sparseness import Sparseness

__all__ = [
    "LENS",
    "CentreShift",
    "CertifiedClaim",
    "CertifiedClaimCurve",
    "CertifiedCosine",
    "CertifiedDeletion",
    "CertifiedFraction",
    "CertifiedGridPG",
    "CertifiedLENSPrecision",
    "CertifiedLENSRecall",
    "CertifiedNumber",
    "CertifiedOneShare",
    "CertifiedOverlap",
    "CertifiedOverlapCurve",
    "Deletion",
    "DiverseTopKIntersection",
    "EnergyInMask",
    "FixedPointMean",
    "GridPG",
    "ImageMean",
    "Infidelity",
    "Insertion",
    "LENSDissimilarity",
    "LENSKendall",
    "LENSPrecision",
    "LENSPrecisionCurve",
    "LENSRecall",
    "LENSRecallCurve",
    "LENSSpearman",
    "LocalisationMetric",
    "MapCosine",
    "MapKendall",
    "MapL2Distance",
    "MapPairMean",
    "MapPearson",
    "MapQuality",
    "MapSSIM",
    "MapSpearman",
    "MaxSensitivity",
    "MeanCertifiedRadius",
    "MeanLENSDissimilarity",
    "MeanSetDifference",
    "NamedMeans",
    "NoisyAccuracy",
    "PointingGame",
    "RandomLogit",
    "RandomLogitQuality",
    "RankAccuracyQuality",
    "RelevanceRankAccuracy",
    "RemovalMetric",
    "SameClassOverlap",
    "ScoreMean",
    "SoftStability",
    "Sparseness",
    "SparsenessQuality",
    "TopKIntersection",
    "VerdictCount",
    "certified_metrics",
    "claim_metrics",
    "cosine_metrics",
    "metric_name",
    "metrics_for",
    "overlap_metrics",
]
