"""An ellipsoid: amounts of a few nuisances together with an l2 rest."""

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.budget import LARGEST, REST, Axis, Budget, Edge, Split, check_pair
from lit_certattr.budgets.modes import Group, Modes, stack
from lit_certattr.budgets.votes import GaussianVotes
from lit_certattr.statistics.rounding import at_least, exact

_INSIDE = 1 - 1e-9  # share of a radius: a certificate is about lengths below it
_ROUNDING = 1e-12  # relative: more than the sums of a million float64 values are off by


@attrs.frozen
class EllipsoidBudget(Budget):
    r"""Amounts :math:`a_k` of the modes :math:`u_k` together with any l2 rest, for noise with these modes.

    The length of a change is, in units of the noise's sigma,

    .. math:: \|\delta\|^2 = \min_a \sum_k (\sigma a_k / \tau_k)^2 + \|\delta - \sum_k a_k u_k\|_2^2,

    which equals :math:`\sigma^2\, \delta^T \Sigma^{-1} \delta` for the covariance
    :math:`\Sigma = \sigma^2 I + \sum_k \tau_k^2 u_k u_k^T` of the noise (Woodbury). It is computed from one such split,
    so rounding of the amounts can only make it larger.

    Attributes:
        scale: Standard deviation sigma of the part of the noise that is independent for each value.
        groups: The modes.
    """

    name = "ellipsoid"

    scale: float
    groups: tuple[Group, ...]

    @property
    @override
    def typical(self) -> float:
        return self.scale

    @property
    @override
    def votes(self) -> GaussianVotes:
        return GaussianVotes(self.scale)

    @property
    @override
    def unit(self) -> str:
        return "length (l2 alone: pixel units)"

    @property
    @override
    def definition(self) -> str:
        amounts = " + ".join(f"({exact(self.scale)} {group.name} / {exact(group.tau)})^2" for group in self.groups)
        return (
            f"The length of a change is the square root of rest^2 + {amounts}, for the best split of the change into "
            f"{' and '.join(f'an amount of {group.name}' for group in self.groups)} and a rest in l2 norm."
        )

    @override
    def axes(self, radius: float, channels: int = 3) -> list[Axis]:
        found = [Axis("l2", 0.0, radius, "pixel units", f"any change with l2 norm below {at_least(radius)}")]
        for group in self.groups:
            amount = radius * group.tau / self.scale
            grey = at_least(255 * amount, 3)
            words = f"{group.name} within +-{at_least(amount)} ({grey} of 255 grey levels)"
            words += ", as the root of the sum of squares of its amounts" if group.several else ""
            found.append(Axis(group.name, -amount, amount, "pixel units", words))
        return found

    @override
    def edges(self, image: Tensor, radius: float, majorities: bool = False) -> list[Edge]:
        """Less and more of each nuisance; of a group of several modes, of its first one."""
        clean, found = image.detach().cpu().double(), []
        for group in self.groups:
            field, amount = group.fields(tuple(image.shape))[:1], radius * _INSIDE * group.tau / self.scale
            example = ", an example" if group.several else ""
            for sign, said in (("-", -amount), ("+", amount)):
                words = f"{group.name} {sign}{at_least(amount, 3)} ({at_least(255 * amount, 3)} of 255){example}"
                found += [Edge(words, clean + said * one) for one in field]
        return found

    def modes(self, image: Tensor) -> Modes:
        """The modes for the shape of an image.

        Args:
            image: Image ``[C, H, W]``.
        """
        return stack(self.groups, tuple(image.shape))

    def amounts(self, image: Tensor, changed: Tensor) -> tuple[Modes, Tensor, Tensor]:
        """The cheapest split of a change.

        Args:
            image: The certified image ``[C, H, W]``.
            changed: The changed image ``[C, H, W]``.

        Returns:
            The modes, their amounts ``[m]``, and the rest ``[C, H, W]``, all float64.
        """
        clean, other = check_pair(image, changed)
        modes, delta = self.modes(image), other - clean
        fields = modes.fields.flatten(1)
        inner = torch.diag((self.scale / modes.tau).square()) + fields @ fields.T
        amounts = torch.linalg.solve(inner, fields @ delta.flatten())
        return modes, amounts, delta - (amounts @ fields).view_as(delta)

    @override
    def split(self, image: Tensor, changed: Tensor) -> Split:
        """The amount of each mode, or the length of a group of modes, and the rest."""
        modes, amounts, rest = self.amounts(image, changed)
        found = Split()
        for group in self.groups:
            own = torch.tensor([name == group.name for name in modes.names])
            found[group.name] = float(amounts[own][0] if int(own.sum()) == 1 else amounts[own].norm())
        found[REST], found[LARGEST] = float(rest.norm()), float(rest.abs().max())
        return found

    @override
    def length(self, image: Tensor, changed: Tensor) -> float:
        modes, amounts, rest = self.amounts(image, changed)
        square = (self.scale * amounts / modes.tau).square().sum() + rest.square().sum()
        return float(square.sqrt()) * (1 + _ROUNDING)
