"""Training objectives: one class per published loss."""

from lit_certattr.objectives.adversarial import MART, TRADES, AdversarialTraining, RobustTraining
from lit_certattr.objectives.art import ART
from lit_certattr.objectives.attributional import AttributionObjective
from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.cacr import CACR
from lit_certattr.objectives.claim_hinge import ClaimHinge
from lit_certattr.objectives.consistency import Consistency
from lit_certattr.objectives.cross_entropy import CrossEntropy
from lit_certattr.objectives.curvature import CURE, SSR, HessianNorm
from lit_certattr.objectives.directions import SoftVote
from lit_certattr.objectives.free import FreeAdversarialTraining
from lit_certattr.objectives.gradient_norm import GradientNorm, GradientNormByDifferences
from lit_certattr.objectives.integrated import IGR, IGNorm, IGSumNorm
from lit_certattr.objectives.macer import MACER
from lit_certattr.objectives.maps import AnyMap, GradientMap, NeighbourPath, PathMap, TrainingMap
from lit_certattr.objectives.noise_augmentation import NoiseAugmentation
from lit_certattr.objectives.noise_consistency import NoiseConsistency
from lit_certattr.objectives.norm_regularised import NormRegularised
from lit_certattr.objectives.pair import Neighbour, PairObjective
from lit_certattr.objectives.penalty import PenaltyObjective
from lit_certattr.objectives.r2et import R2ET
from lit_certattr.objectives.robust_losses import AdversarialLoss, CleanLoss, MartLoss, RobustLoss, TradesLoss
from lit_certattr.objectives.saliency import FAR, SaliencyConsistency
from lit_certattr.objectives.saliency_guided import SaliencyGuided
from lit_certattr.objectives.schedule import Schedule
from lit_certattr.objectives.smoothed import SmoothAdv, SmoothMix
from lit_certattr.objectives.stability import Stability

__all__ = [
    "ART",
    "CACR",
    "CURE",
    "FAR",
    "IGR",
    "MACER",
    "MART",
    "R2ET",
    "SSR",
    "TRADES",
    "AdversarialLoss",
    "AdversarialTraining",
    "AnyMap",
    "AttributionObjective",
    "ClaimHinge",
    "CleanLoss",
    "Consistency",
    "CrossEntropy",
    "FreeAdversarialTraining",
    "GradientMap",
    "GradientNorm",
    "GradientNormByDifferences",
    "HessianNorm",
    "IGNorm",
    "IGSumNorm",
    "MartLoss",
    "Neighbour",
    "NeighbourPath",
    "NoiseAugmentation",
    "NoiseConsistency",
    "NormRegularised",
    "Objective",
    "PairObjective",
    "PathMap",
    "PenaltyObjective",
    "RobustLoss",
    "RobustTraining",
    "SaliencyConsistency",
    "SaliencyGuided",
    "Schedule",
    "SmoothAdv",
    "SmoothMix",
    "SoftVote",
    "Stability",
    "TradesLoss",
    "TrainingMap",
    "accuracy",
]
