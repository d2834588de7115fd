"""Multiplication by fields: exposure, white balance, light that falls off, bias fields."""

import math
from collections.abc import Sequence

import attrs
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.budget import Axis, Split, check_pair
from lit_certattr.budgets.exposure_rest import length_for_majorities
from lit_certattr.budgets.modes import Group, Modes, stack
from lit_certattr.budgets.orbit import INSIDE, OrbitBudget, both_ways
from lit_certattr.budgets.votes import GaussianVotes
from lit_certattr.statistics.rounding import at_least, at_most, exact

_LN2 = math.log(2)
_MOST_STOPS = 1000.0  # that are written as a factor, so that it is a float
_LONGEST = 9.0  # exposures in standard deviations beyond which no vote is left
_ROUNDING = 1e-9  # relative: more than the amounts of a change can be off by, if it is one of the family


def multiplied(images: Tensor, fields: Tensor, amounts: Tensor) -> Tensor:
    r"""Images times :math:`2^{\sum_k a_k u_k}`; differentiable in the images.

    Args:
        images: Images ``[b, C, H, W]``.
        fields: The fields :math:`u_k`, ``[m, C, H, W]``, in the type and on the device of the images.
        amounts: Amounts in stops ``[b, m]``, in the same type and on the same device.
    """
    if _is_uniform(fields):
        factors = _exp2(amounts[:, 0])
        product: Tensor = images * factors[:, None, None, None]
        return product
    # Element by element: a matrix product would depend on the batch.
    stops = amounts[:, 0, None, None, None] * fields[0]
    for mode, field in enumerate(fields[1:], start=1):
        stops = torch.addcmul(stops, amounts[:, mode, None, None, None], field)
    field_product: Tensor = images * _exp2(stops)
    return field_product


def _exp2(stops: Tensor) -> Tensor:
    """Powers of 2 that depend on each number alone: those of ``torch.exp2`` also depend on its place in the batch."""
    return torch.exp(_LN2 * stops)


def _is_uniform(fields: Tensor) -> bool:
    return len(fields) == 1 and bool((fields == 1).all())


@attrs.frozen
class FieldBudget(OrbitBudget):
    r"""Multiplications :math:`x \to x\, 2^{\sum_k a_k u_k}` with amounts :math:`a_k` in stops.

    The length of a change is :math:`\tau_1 (\sum_k (a_k / \tau_k)^2)^{1/2}` for the cheapest amounts: how many stops of
    the first kind are as long.

    Attributes:
        groups: The fields, with standard deviations in stops.
        sigma: Standard deviation of the pixel noise.
    """

    name = "multiplication"
    groups: tuple[Group, ...]
    sigma: float = 0.0

    @property
    @override
    def typical(self) -> float:
        return self.groups[0].tau

    @property
    @override
    def votes(self) -> GaussianVotes:
        return GaussianVotes(self.typical)

    @property
    @override
    def measure(self) -> str:
        return "length in stops"

    @property
    @override
    def unit(self) -> str:
        return f"length ({self.groups[0].name}: stops)"

    @property
    @override
    def definition(self) -> str:
        only = (
            f"Only multiplications of the image are covered ({', '.join(group.name for group in self.groups)}), before "
            "anything is clipped or rounded."
        )
        if len(self.groups) == 1:
            several = "the root of the sum of squares of its amounts" if self.groups[0].several else "its amount"
            return f"{only} The length of a change is {several} in stops: one stop more is twice the light."
        first = exact(self.typical)
        amounts = " + ".join(
            f"{group.name}^2" if group.tau == self.typical else f"({first} {group.name} / {exact(group.tau)})^2"
            for group in self.groups
        )
        return f"{only} Their length is the square root of {amounts}, all in stops: one stop more is twice the light."

    @override
    def axes(self, radius: float, channels: int = 3) -> list[Axis]:
        found = []
        for group in self.groups:
            amount = radius * group.tau / self.typical
            words = f"{group.name} within +-{at_least(amount)} stops"
            if group.several:  # several fields together can have larger factors
                words += ", as the root of the sum of squares of its amounts"
            else:
                factor = 2.0 ** min(amount, _MOST_STOPS)
                words += f" (factors from {at_most(1 / factor)} to {at_least(factor)})"
            found.append(Axis(group.name, -amount, amount, "stops", words))
        return found

    def modes(self, image: Tensor) -> Modes:
        """The fields for the shape of an image.

        Args:
            image: Image ``[C, H, W]``.
        """
        return stack(self.groups, tuple(image.shape))

    @override
    def change(self, image: Tensor, amounts: Tensor) -> Tensor:
        fields = self.modes(image).fields
        changed: Tensor = multiplied(image[None].double().cpu(), fields, amounts[None].cpu())[0]
        return changed.to(image.device, image.dtype)

    @override
    def amounts_of(self, image: Tensor, changed: Tensor) -> Tensor:
        modes = self.modes(image)
        seen = (image != 0) & (changed / image > 0)
        stops = torch.where(seen, torch.log2(changed / image), 0.0).flatten()
        # Each value by its size, since a rounded value says the less of the factor the smaller it is; the shortest of
        # all solutions, since fields may be equal on the values that are not zero.
        weight = torch.where(seen, image.abs(), 0.0).flatten()
        rows = (modes.fields.flatten(1) * modes.tau[:, None] * weight).T
        found = torch.linalg.lstsq(rows, (stops * weight)[:, None], driver="gelsd").solution[:, 0]
        amounts: Tensor = found * modes.tau
        return amounts

    @override
    def length_of(self, image: Tensor, amounts: Tensor) -> float:
        return float((self.typical * amounts / self.modes(image).tau).norm()) * (1 + _ROUNDING)

    @override
    def majority_length(self, image: Tensor, changed: Tensor) -> float:
        """Length of a change for majorities; one exposure and a rest are covered together, if there is pixel noise.

        Args:
            image: The certified image ``[C, H, W]``.
            changed: The changed image ``[C, H, W]``.
        """
        length = self.length(image, changed)
        if not self.sigma or length < math.inf or not _is_uniform(self.modes(image).fields):
            return length
        clean, other = check_pair(image, changed)

        def rest(stops: float) -> float:
            return float((other - clean * 2.0**stops).norm()) / self.sigma * (1 + _ROUNDING)

        longest = _LONGEST * self.typical
        best = minimize_scalar(
            lambda stops: rest(stops) ** 2 + (stops / self.typical) ** 2, bounds=(-longest, longest), method="bounded"
        )
        return length_for_majorities(self.typical, float(best.x), rest(float(best.x)))

    @override
    def named(self, image: Tensor, amounts: Tensor) -> Split:
        names, found = self.modes(image).names, Split()
        for group in self.groups:
            own = amounts[torch.tensor([name == group.name for name in names], dtype=torch.bool)]
            found[f"{group.name} in stops"] = float(own[0] if own.numel() == 1 else own.norm())
        return found

    @override
    def extremes(self, image: Tensor, radius: float) -> list[tuple[str, Sequence[float]]]:
        found: list[tuple[str, Sequence[float]]] = []
        names = self.modes(image).names
        for group in self.groups:
            if group.name not in names:  # an image of one pixel has no smooth fields
                continue
            amount = radius * INSIDE * group.tau / self.typical
            example = ", an example" if group.several else ""
            for sign, said in (("-", -amount), ("+", amount)):
                amounts = [0.0] * len(names)
                amounts[names.index(group.name)] = said
                found.append((f"{group.name} {sign}{at_least(amount, 3)} stops{example}", amounts))
        return found

    @override
    def search(self, image: Tensor, radius: float, count: int, generator: torch.Generator | None = None) -> Tensor:
        tau, longest = self.modes(image).tau, radius * INSIDE
        if len(tau) == 1:
            return both_ways(longest, count)
        shares = torch.cat([torch.eye(len(tau)), -torch.eye(len(tau))]).double()
        more = torch.randn(max(0, count - len(shares)), len(tau), generator=generator, dtype=torch.float64)
        directions = torch.cat([shares, torch.nn.functional.normalize(more)])[:count]
        return directions * longest * tau / self.typical
