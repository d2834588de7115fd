"""Perturbations in whole grey levels, for certificates that cover 8-bit images alone."""

import torch
from torch import Tensor

from lit_certattr.attacks.config import Norm
from lit_certattr.devices import exact_dtype

_BELOW = 1 - 1e-6
"""Share of a budget that is used: the stored float of a grey level may lie a little off it."""


def to_grid(images: Tensor, centres: Tensor, eps: Tensor, norm: Norm, levels: int) -> Tensor:
    """Move perturbed images to the grid of grey levels, without leaving the ball.

    Every value is first moved towards the centre, to a whole step. In l2, some values then move to the next whole step
    outwards instead, the most effective for their length first, as far as the budget allows: a perturbation of less
    than half a grey level everywhere becomes one of a whole level at its largest values.

    Args:
        images: Perturbed images ``[B, C, H, W]``.
        centres: Clean images, on the grid.
        eps: Budgets ``[B]``, in pixel units.
        norm: ``"l2"`` or ``"linf"``.
        levels: Steps between 0 and 1, 255 for 8-bit images.

    Returns:
        Images on the grid.

    Example:
        >>> clean, eps = torch.zeros(1, 1, 1, 3), torch.tensor([1 / 255])
        >>> (to_grid(torch.tensor([[[[0.001, 0.003, 0.002]]]]), clean, eps * 1.01, "l2", 255) * 255).round().tolist()
        [[[[0.0, 1.0, 0.0]]]]
    """
    wide = exact_dtype(images.device)
    here = (centres.to(wide) * levels).round()
    wanted = (images.to(wide) * levels - here).flatten(1)
    whole = wanted.abs().trunc()
    rest = wanted.abs() - whole
    if norm == "l2":
        cost = 2 * whole + 1  # of one more step, in squared length
        order = (rest / cost).argsort(dim=1, descending=True)
        room = (eps.to(wide) * _BELOW * levels).square() - whole.square().sum(1)
        taken = (cost.gather(1, order).cumsum(1) <= room[:, None]) & (rest.gather(1, order) > 0)
        whole = whole + torch.zeros_like(whole).scatter(1, order, taken.to(wide))
    return ((here + (wanted.sign() * whole).view_as(here)) / levels).to(images.dtype)
