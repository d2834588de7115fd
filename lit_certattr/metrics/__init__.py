"""Torchmetrics of certified results and of attribution maps."""

from lit_certattr.metrics.cosine import CertifiedCosine
from lit_certattr.metrics.deletion import CertifiedDeletion, Deletion, Insertion, RemovalMetric
from lit_certattr.metrics.faithfulness import Infidelity, MaxSensitivity
from lit_certattr.metrics.fixed_point_mean import FixedPointMean
from lit_certattr.metrics.image_mean import ImageMean
from lit_certattr.metrics.lens import CertifiedLENSPrecision, CertifiedLENSRecall
from lit_certattr.metrics.localisation import CertifiedGridPG, EnergyInMask, GridPG, LocalisationMetric, PointingGame
from lit_certattr.metrics.named_means import NamedMeans
from lit_certattr.metrics.naming import certified_metrics, cosine_metrics, metric_name, metrics_for, overlap_metrics
from lit_certattr.metrics.overlap import CertifiedOverlap, CertifiedOverlapCurve
from lit_certattr.metrics.pixel import CertifiedFraction, CertifiedOneShare, MeanCertifiedRadius

__all__ = [
    "CertifiedCosine",
    "CertifiedDeletion",
    "CertifiedFraction",
    "CertifiedGridPG",
    "CertifiedLENSPrecision",
    "CertifiedLENSRecall",
    "CertifiedOneShare",
    "CertifiedOverlap",
    "CertifiedOverlapCurve",
    "Deletion",
    "EnergyInMask",
    "FixedPointMean",
    "GridPG",
    "ImageMean",
    "Infidelity",
    "Insertion",
    "LocalisationMetric",
    "MaxSensitivity",
    "MeanCertifiedRadius",
    "NamedMeans",
    "PointingGame",
    "RemovalMetric",
    "certified_metrics",
    "cosine_metrics",
    "metric_name",
    "metrics_for",
    "overlap_metrics",
]
