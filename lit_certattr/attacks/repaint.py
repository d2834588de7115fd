"""Search with gradients for the patches or regions to repaint, and what to paint."""

import torch
from torch import Tensor

from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.loop import Score, gradient_of
from lit_certattr.budgets import MaskBudget


def repaint(budget: MaskBudget, images: Tensor, lengths: Tensor, config: AttackConfig, score: Score) -> list[Tensor]:
    """Images with repainted parts: those of the largest gain by the gradient, painted with the ends of the box.

    The first step takes the gradient at the image, each further one at the last repainted image; all other parts are
    the image's, and so are pixels in no part.

    Args:
        budget: Patches of a grid, or regions of an image.
        images: Clean images ``[B, C, H, W]``.
        lengths: Number of parts that each image's change does not reach, ``[B]``.
        config: Its number of steps and its box are used; without a box that of [0, 1].
        score: Score ``[B]`` of changed images, differentiable.

    Returns:
        The points of all steps, ``[B, C, H, W]`` each.
    """
    low, high = config.clamp or (0.0, 1.0)
    parts = budget.parts(images.shape[2], images.shape[3]).to(images.device)
    number = torch.tensor([budget.whole(float(length)) for length in lengths], device=images.device)
    points, current = [], images
    for step in range(config.steps):
        gradient = gradient_of(score, current, config.beta(step))[1]
        painted = torch.where(gradient > 0, high, torch.where(gradient < 0, low, images))
        gain = (gradient * (painted - images)).sum(1).flatten(1)
        totals = torch.zeros(len(images), budget.count, dtype=gain.dtype, device=gain.device)
        totals.index_add_(1, parts.clamp(min=0).flatten(), torch.where(parts.flatten() < 0, 0.0, gain))
        rank = totals.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        chosen = ((rank < number[:, None])[:, parts.clamp(min=0)] & (parts >= 0))[:, None]
        current = torch.where(chosen, painted, images)
        points.append(current)
    return points
