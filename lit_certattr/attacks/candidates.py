"""Search among the changed images that a budget itself names, for budgets that are no balls."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lit_certattr.attacks.amounts import climb
from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.loop import Accept, Score
from lit_certattr.attacks.repaint import repaint
from lit_certattr.budgets import Budget, FieldBudget, MaskBudget


def search_candidates(
    budget: Budget,
    images: Tensor,
    lengths: Tensor,
    config: AttackConfig,
    criterion: Score,
    accept: Accept | None = None,
    score: Score | None = None,
) -> Tensor:
    """The worst of the changed images that a budget names, as many for each image as a gradient search tries points.

    For a budget of one amount (exposure, gamma, blur) these are a grid over the whole range, ends included. Between two
    points of it lies at most half their distance to one of them: with :class:`~lit_certattr.budgets.VoteBounds` that
    says how much worse anything between them can be. For contrast and brightness the grid is on the edge of the budget
    and on its axis. For several fields a gradient ascent in their amounts is made; for patches and regions
    gradients choose which ones are painted and how, and random ones are tried besides.

    Nothing is clipped to the box of the configuration, since a clipped image is no change of such a budget any more.

    Args:
        budget: The budget.
        images: Clean images ``[B, C, H, W]``.
        lengths: Length of each image's budget, ``[B]``.
        config: Its number of points and its seed are used.
        criterion: Value ``[B]`` of changed images by which the worst is chosen.
        accept: Which changed images count, as for :func:`~lit_certattr.attacks.attack`; ``None`` for all.
        score: Score ``[B]`` of changed images, differentiable, for the gradient ascent; ``None`` for random mixtures.

    Returns:
        The worst images found, ``[B, C, H, W]``; the image itself where none is worse than it.
    """
    generator = None if config.seed is None else torch.Generator().manual_seed(config.seed)
    best = images.clone()
    with torch.no_grad():
        value = criterion(images.clone())
        for points in _points(budget, images, lengths, config, score, generator):
            found = criterion(points.clone())
            better = found > value  # false for NaN
            if accept is not None:
                better &= accept(points.clone())
            best = torch.where(better.view(-1, 1, 1, 1), points, best)
            value = torch.where(better, found, value)
    return best


def _points(
    budget: Budget,
    images: Tensor,
    lengths: Tensor,
    config: AttackConfig,
    score: Score | None,
    generator: torch.Generator | None,
) -> Iterator[Tensor]:
    """The points to try, a changed image of each image at once."""
    if score is not None and config.steps and len(images):
        if isinstance(budget, FieldBudget) and len(budget.modes(images[0]).tau) > 1:
            yield from climb(budget, images, lengths, config, score, generator)
            return
        if isinstance(budget, MaskBudget):
            yield from repaint(budget, images, lengths, config, score)
    named = [
        list(budget.candidates(image, float(length), config.num_points, generator))
        for image, length in zip(images, lengths, strict=True)
    ]
    for number in range(max(map(len, named), default=0)):
        yield torch.stack([own[number] if number < len(own) else one for own, one in zip(named, images, strict=True)])
