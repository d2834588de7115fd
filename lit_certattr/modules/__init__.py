"""The LightningModules: some train a network; the others work on one image for minutes, as a predict step."""

from lit_certattr.modules.attack import AttackModule
from lit_certattr.modules.certification import CertificationModule, Targets
from lit_certattr.modules.denoiser import DenoiserTraining
from lit_certattr.modules.evaluation import EvaluationModule
from lit_certattr.modules.image import ImageModule
from lit_certattr.modules.robust_classifier import RobustClassifier
from lit_certattr.modules.training import TrainingModule

__all__ = [
    "AttackModule",
    "CertificationModule",
    "DenoiserTraining",
    "EvaluationModule",
    "ImageModule",
    "RobustClassifier",
    "Targets",
    "TrainingModule",
]
