"""Training objectives: one class a published loss."""

from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.cross_entropy import CrossEntropy
from lit_certattr.objectives.noise_augmentation import NoiseAugmentation

__all__ = ["CrossEntropy", "NoiseAugmentation", "Objective", "accuracy"]
