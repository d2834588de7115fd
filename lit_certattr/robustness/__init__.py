"""The evaluation of the literature, and the sandwich: certified from below, attacked from above, and the gap."""

from lit_certattr.robustness.evaluation import Evaluation, evaluate
from lit_certattr.robustness.protocol import RobustnessProtocol, column_names
from lit_certattr.robustness.quantities import CosineQuantity, OverlapQuantity, PixelQuantity, Quantity, quantities
from lit_certattr.robustness.sandwich import Candidate, ImageSandwich, SandwichAttack

__all__ = [
    "Candidate",
    "CosineQuantity",
    "Evaluation",
    "ImageSandwich",
    "OverlapQuantity",
    "PixelQuantity",
    "Quantity",
    "RobustnessProtocol",
    "SandwichAttack",
    "column_names",
    "evaluate",
    "quantities",
]
