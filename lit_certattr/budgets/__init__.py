"""What a certificate allows: kinds of changes of an image, their lengths, and how far they can move a vote."""

from lit_certattr.budgets.budget import Axis, Budget
from lit_certattr.budgets.ellipsoid import EllipsoidBudget
from lit_certattr.budgets.lp import LpBudget
from lit_certattr.budgets.votes import GaussianVotes, VoteBounds

__all__ = ["Axis", "Budget", "EllipsoidBudget", "GaussianVotes", "LpBudget", "VoteBounds"]
