"""What a certificate allows: kinds of changes of an image, their lengths, and how far they can move a vote."""

from lit_certattr.budgets.affine import AffineBudget
from lit_certattr.budgets.affine_votes import AffineVotes
from lit_certattr.budgets.blur import BlurBudget, BlurVotes
from lit_certattr.budgets.budget import LARGEST, OUTSIDE, REST, Axis, Budget, Edge, Split
from lit_certattr.budgets.ellipsoid import EllipsoidBudget
from lit_certattr.budgets.fields import FieldBudget
from lit_certattr.budgets.gamma import GammaBudget
from lit_certattr.budgets.lp import LpBudget
from lit_certattr.budgets.masks import MaskBudget, PatchVotes
from lit_certattr.budgets.orbit import OrbitBudget
from lit_certattr.budgets.patches import PatchBudget
from lit_certattr.budgets.regions import RegionBudget
from lit_certattr.budgets.votes import GaussianVotes, VoteBounds

__all__ = [
    "LARGEST",
    "OUTSIDE",
    "REST",
    "AffineBudget",
    "AffineVotes",
    "Axis",
    "BlurBudget",
    "BlurVotes",
    "Budget",
    "Edge",
    "EllipsoidBudget",
    "FieldBudget",
    "GammaBudget",
    "GaussianVotes",
    "LpBudget",
    "MaskBudget",
    "OrbitBudget",
    "PatchBudget",
    "PatchVotes",
    "RegionBudget",
    "Split",
    "VoteBounds",
]
