"""The evaluation of the literature, and the sandwich: certified lower bounds beside attacked upper bounds."""

from lit_certattr.certificates.quantity import Evaluation, Quantity
from lit_certattr.robustness.evaluation import evaluate_candidates
from lit_certattr.robustness.presets import PRESETS, AttackEffort, Preset
from lit_certattr.robustness.protocol import RobustnessProtocol, column_names
from lit_certattr.robustness.quantities import quantities
from lit_certattr.robustness.sandwich import Candidate, ImageSandwich, SandwichAttack

__all__ = [
    "PRESETS",
    "AttackEffort",
    "Candidate",
    "Evaluation",
    "ImageSandwich",
    "Preset",
    "Quantity",
    "RobustnessProtocol",
    "SandwichAttack",
    "column_names",
    "evaluate_candidates",
    "quantities",
]
