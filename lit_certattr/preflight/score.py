"""Whether the score of a method is one fixed function of each image alone, with values in [0, 1]."""

from typing import Any

import torch
from torch import Tensor, nn

from lit_certattr.attribution.base import ImageScore
from lit_certattr.errors import InputError
from lit_certattr.preflight.network import failures

_TOLERANCE = 1e-2
"""Scores lie in [0, 1]; the arithmetic of an accelerator moves them by less than this, other images by more."""


def check_score_function(
    model: nn.Module, score: ImageScore, image: Tensor, noisy: Tensor, target: int, name: str, method: str
) -> None:
    """Check the score of a method on a clean image, alone and beside a noisy copy.

    The certificates that ask for the score bound it by [0, 1] and by nothing else, so a score that leaves [0, 1], or
    that depends on other images or on chance, would make them wrong.

    Args:
        model: The network, in eval mode, with frozen parameters.
        score: The hook, see :class:`~lit_certattr.attribution.Attribution`.
        image: Image ``[1, C, H, W]``.
        noisy: Noisy copies ``[b, C, H, W]``, b at least 1.
        target: Class to explain.
        name: Name of the image in messages.
        method: Name of the attribution method in messages.

    Raises:
        InputError: If a check fails; the message names the fault.
    """
    alone = _values(model, score, image, target, name, method)[0]
    beside = _values(model, score, torch.cat([noisy[:1], image]), target, name, method)[1]
    for value in (alone, beside):
        if not -_TOLERANCE <= value <= 1 + _TOLERANCE:
            raise InputError(f"the score of {method} must lie in [0, 1], got {value:.4g} for {name}")
    if abs(alone - beside) > _TOLERANCE:
        raise InputError(
            f"the score of {method} for {name} is {alone:.4g} alone and {beside:.4g} beside another image: it must "
            "depend on the image alone, not on other images or on chance"
        )


def _values(model: nn.Module, score: ImageScore, images: Tensor, target: int, name: str, method: str) -> list[float]:
    given = images.clone()
    with failures(f"{method}.score cannot score {name}", model, images), torch.no_grad():
        values: Any = score(model, given, torch.full((len(images),), target, device=images.device))
    if not torch.equal(given, images):
        raise InputError(f"{method}.score changes the images in place; let it work on a copy, images.clone()")
    if not isinstance(values, Tensor) or values.shape != (len(images),) or not values.is_floating_point():
        got = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"{method}.score must return one real number for each image, [B], got {got}")
    return [float(value) for value in values]
