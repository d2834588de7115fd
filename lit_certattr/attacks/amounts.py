"""Search with gradients in the amounts of a change: which mixture of exposure, white balance and shading is worst."""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional

from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.loop import Score
from lit_certattr.budgets.fields import FieldBudget, multiplied
from lit_certattr.budgets.orbit import INSIDE
from lit_certattr.models import SmoothActivations

_MEAN_STEP = 2.5  # times the radius over the number of steps: it reaches the boundary from anywhere


def climb(
    budget: FieldBudget,
    images: Tensor,
    lengths: Tensor,
    config: AttackConfig,
    score: Score,
    generator: torch.Generator | None,
) -> list[Tensor]:
    """Changed images on the way of a gradient ascent in the amounts, from a random mixture of each restart.

    Args:
        budget: Multiplications by several fields.
        images: Clean images ``[B, C, H, W]``.
        lengths: Length of each image's budget, ``[B]``.
        config: Its number of steps and restarts are used.
        score: Score ``[B]`` of changed images, differentiable.
        generator: Random generator on the CPU; ``None`` for torch's global one.

    Returns:
        The points of all steps, ``[B, C, H, W]`` each, below the lengths.
    """
    modes = budget.modes(images[0])
    fields = modes.fields.to(images)
    radii = lengths.cpu().double()[:, None] * INSIDE / budget.typical
    points = []
    for _ in range(config.restarts):
        start = torch.randn(len(images), len(modes.tau), generator=generator, dtype=torch.float64)
        amounts = functional.normalize(start) * radii  # in standard deviations
        for step in range(config.steps):
            beta = config.beta(step)
            with torch.enable_grad():
                amounts = amounts.detach().requires_grad_(True)
                changed = multiplied(images, fields, (amounts * modes.tau).to(images))
            points.append(changed.detach())
            with torch.enable_grad(), nullcontext() if beta is None else SmoothActivations(beta):
                (gradient,) = torch.autograd.grad(score(changed).sum(), amounts)
            with torch.no_grad():
                step_length = _MEAN_STEP * radii / config.steps * 2 * (1 - step / config.steps)  # ever shorter
                amounts = amounts + step_length * functional.normalize(gradient.nan_to_num())
                amounts = amounts * (radii / amounts.norm(dim=1, keepdim=True).clamp_min(1e-30)).clamp(max=1)
        points.append(multiplied(images, fields, (amounts.detach() * modes.tau).to(images)))
    return points
