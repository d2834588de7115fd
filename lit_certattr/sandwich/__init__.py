"""The sandwich: what is certified from below, what attacks reach from above, and the gap between."""

from lit_certattr.sandwich.attack import Candidate, ImageSandwich, SandwichAttack
from lit_certattr.sandwich.evaluate import Evaluation, evaluate
from lit_certattr.sandwich.quantities import CosineQuantity, OverlapQuantity, PixelQuantity, Quantity, quantities

__all__ = [
    "Candidate",
    "CosineQuantity",
    "Evaluation",
    "ImageSandwich",
    "OverlapQuantity",
    "PixelQuantity",
    "Quantity",
    "SandwichAttack",
    "evaluate",
    "quantities",
]
