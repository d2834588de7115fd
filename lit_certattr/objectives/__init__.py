"""Training objectives: one class a published loss."""

from lit_certattr.objectives.adversarial import MART, TRADES, AdversarialTraining, RobustTraining
from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.consistency import Consistency
from lit_certattr.objectives.cross_entropy import CrossEntropy
from lit_certattr.objectives.directions import SoftVote
from lit_certattr.objectives.noise_augmentation import NoiseAugmentation
from lit_certattr.objectives.noise_consistency import NoiseConsistency
from lit_certattr.objectives.robust_losses import AdversarialLoss, CleanLoss, MartLoss, RobustLoss, TradesLoss
from lit_certattr.objectives.schedule import Schedule

__all__ = [
    "MART",
    "TRADES",
    "AdversarialLoss",
    "AdversarialTraining",
    "CleanLoss",
    "Consistency",
    "CrossEntropy",
    "MartLoss",
    "NoiseAugmentation",
    "NoiseConsistency",
    "Objective",
    "RobustLoss",
    "RobustTraining",
    "Schedule",
    "SoftVote",
    "TradesLoss",
    "accuracy",
]
