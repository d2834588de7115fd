"""Search without gradients: the changed images that a budget itself names."""

import torch
from torch import Tensor

from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.loop import Accept, Score
from lit_certattr.budgets import Budget


def search_candidates(
    budget: Budget,
    images: Tensor,
    lengths: Tensor,
    config: AttackConfig,
    criterion: Score,
    accept: Accept | None = None,
) -> Tensor:
    """The worst of the changed images that a budget names, as many for each image as a gradient search tries points.

    For a budget of one amount (exposure, gamma, blur) these are a grid over the whole range, ends included. Between two
    points of it lies at most half their distance to one of them: with :class:`~lit_certattr.budgets.VoteBounds` that
    says how much worse anything between them can be. For contrast and brightness the grid is on the edge of the budget
    and on its axis; for several fields, and for patches, the images are random ones of the largest length.

    Nothing is clipped to the box of the configuration, since a clipped image is no change of such a budget any more.

    Args:
        budget: The budget.
        images: Clean images ``[B, C, H, W]``.
        lengths: Length of each image's budget, ``[B]``.
        config: Its number of points and its seed are used.
        criterion: Value ``[B]`` of changed images by which the worst is chosen.
        accept: Which changed images count, as for :func:`~lit_certattr.attacks.attack`; ``None`` for all.

    Returns:
        The worst images found, ``[B, C, H, W]``; the image itself where none is worse than it.
    """
    generator = None if config.seed is None else torch.Generator().manual_seed(config.seed)
    named = [
        list(budget.candidates(image, float(length), config.num_points, generator))
        for image, length in zip(images, lengths, strict=True)
    ]
    best = images.clone()
    with torch.no_grad():
        value = criterion(images.clone())
        for number in range(max(map(len, named), default=0)):
            points = torch.stack(
                [own[number] if number < len(own) else image for own, image in zip(named, images, strict=True)]
            )
            found = criterion(points.clone())
            better = found > value  # false for NaN
            if accept is not None:
                better &= accept(points.clone())
            best = torch.where(better.view(-1, 1, 1, 1), points, best)
            value = torch.where(better, found, value)
    return best
