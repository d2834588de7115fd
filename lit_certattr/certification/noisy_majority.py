"""The class that most noisy copies of an image are predicted as, from noise that no certificate counts."""

from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lit_certattr.certification.sampling import Sampler
from lit_certattr.errors import InputError
from lit_certattr.preflight import failures

NOISY_MAJORITY: Final[Literal["noisy_majority"]] = "noisy_majority"
"""Explain the class that most noisy copies of the image are predicted as."""
_STREAM = "\x00class"
"""What follows the id of an image in the key of the noise; no id of a file contains it."""


class Majority(NamedTuple):
    """The class that was chosen.

    Attributes:
        target: The class.
        votes: Number of noisy copies that are predicted as it.
    """

    target: int
    votes: int


def noisy_majority(
    model: nn.Module, sampler: Sampler, image: Tensor, image_id: str, num_samples: int, name: str
) -> Majority:
    """The class that most noisy copies of an image are predicted as.

    A certificate holds for a class that is fixed before its noise is drawn, so the class is chosen with noise of its
    own: a stream with another key than that of the samples, of a number of copies that is fixed beforehand. The noise
    is drawn on the CPU for every device, so that every machine finds the same class, up to the rounding of the network.

    Copies with infinite or NaN logits, or with a tie for the largest, vote for nothing. Of classes with as many votes
    the one with the smallest index is chosen.

    Args:
        model: The network that is certified, in eval mode, with frozen parameters.
        sampler: How noisy copies are drawn; its seed is that of the choice.
        image: Image ``[C, H, W]``.
        image_id: Id of the image.
        num_samples: Number of noisy copies.
        name: Name of the image in messages.

    Returns:
        The class and its votes.

    Raises:
        InputError: If the network fails on noisy copies, or no copy votes for a class.

    Reference: Cohen, Rosenfeld and Kolter, "Certified Adversarial Robustness via Randomized Smoothing" (2019),
    section 3.2.2: a class from ``n0`` samples, then a bound from other samples.
    """
    winners = []
    for block in sampler.noisy_images(image.cpu(), f"{image_id}{_STREAM}", 0, num_samples):
        copies = block.to(image.device)
        with failures(f"{type(model).__name__} cannot take noisy copies of {name}", model, copies):
            winners.append(_winners(sampler.predict(model, copies)).cpu())
    votes = torch.bincount(torch.cat(winners))
    if not len(votes):
        raise InputError(
            f"{name}: none of its {num_samples} noisy copies is predicted as one class (their logits tie, or are NaN "
            f"or infinite), so no class has the majority: use {sampler.noise.milder}, or explain the class that is "
            "predicted for the clean image (targets: predicted)"
        )
    target = int(votes.argmax())  # of equal numbers the first
    return Majority(target, int(votes[target]))


def _winners(logits: Tensor) -> Tensor:
    """The predicted class of each image that has one: all its logits are finite, and one is larger than the others."""
    single = (logits == logits.amax(1, keepdim=True)).sum(1) == 1
    return logits.argmax(1)[single & torch.isfinite(logits).all(1)]
