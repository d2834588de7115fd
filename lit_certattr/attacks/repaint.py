"""Search with gradients for the patches to repaint, and what to paint."""

import torch
from torch import Tensor

from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.loop import Score, gradient_of
from lit_certattr.budgets import PatchBudget
from lit_certattr.budgets.patches import cells_of


def repaint(budget: PatchBudget, images: Tensor, lengths: Tensor, config: AttackConfig, score: Score) -> list[Tensor]:
    """Images with repainted patches: those of the largest gain by the gradient, painted with the ends of the box.

    The first step takes the gradient at the image, each further one at the last repainted image; all other patches are
    the image's.

    Args:
        budget: Patches of a grid.
        images: Clean images ``[B, C, H, W]``.
        lengths: Number of patches that each image's change does not reach, ``[B]``.
        config: Its number of steps and its box are used; without a box that of [0, 1].
        score: Score ``[B]`` of changed images, differentiable.

    Returns:
        The points of all steps, ``[B, C, H, W]`` each.
    """
    low, high = config.clamp or (0.0, 1.0)
    cell = cells_of(images.shape[2], images.shape[3], budget.cells).to(images.device)
    number = torch.tensor([budget.whole(float(length)) for length in lengths], device=images.device)
    points, current = [], images
    for step in range(config.steps):
        gradient = gradient_of(score, current, config.beta(step))[1]
        painted = torch.where(gradient > 0, high, torch.where(gradient < 0, low, images))
        gain = (gradient * (painted - images)).sum(1).flatten(1)
        totals = torch.zeros(len(images), budget.cells**2, dtype=gain.dtype, device=gain.device)
        totals.index_add_(1, cell.flatten(), gain)
        rank = totals.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        chosen = (rank < number[:, None])[:, cell][:, None]
        current = torch.where(chosen, painted, images)
        points.append(current)
    return points
