"""What plain maps are worth, beside chance: numbers that ``certify.py evaluate`` and training can report."""

from lit_certattr.metrics.quality.base import Explained, MapQuality
from lit_certattr.metrics.quality.means import QualityMeans
from lit_certattr.metrics.quality.random_logit import RandomLogitQuality
from lit_certattr.metrics.quality.rank_accuracy import RankAccuracyQuality
from lit_certattr.metrics.quality.sparseness import SparsenessQuality

__all__ = ["Explained", "MapQuality", "QualityMeans", "RandomLogitQuality", "RankAccuracyQuality", "SparsenessQuality"]
