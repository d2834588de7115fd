"""Attacks on predictions through noise."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.misclassification import margin
from lit_certattr.attacks.through_noise import attack_through_noise, check_counts, noise_generator
from lit_certattr.attribution.base import as_logits
from lit_certattr.smoothing import Noise


def attack_noisy_prediction(
    model: nn.Module,
    noise: Noise,
    images: Tensor,
    labels: Tensor,
    config: AttackConfig,
    *,
    eps: Tensor | None = None,
    draws: int = 8,
    judge_draws: int = 64,
    batch_size: int = 64,
    on_images: Callable[[int], None] | None = None,
) -> Tensor:
    r"""Search the ball around each image for the perturbation whose *noisy copies* are furthest from its label.

    Raises the mean of :func:`margin` over noisy copies, fresh at every step and again when a point is judged.
    (Salman et al., 2019, attack the mean softmax output, whose slope vanishes where the network is sure.)

    An attack on a smoothed explanation in disguise: what changes the mind of the network changes what it looks at. Its
    gradient is one of first order, and a few draws show it. That of a smoothed *map* is one of second order, and in a
    hundred thousand dimensions a few draws of it are little but noise.

    Args:
        model: Network from images in [0, 1] to logits. Its mode, flags and gradients are left as found.
        noise: Noise law.
        images: Clean images ``[B, C, H, W]`` in the box of the configuration.
        labels: Classes ``[B]`` to get away from.
        config: Settings of the search. ``smooth_beta`` is of no use here.
        eps: Budget of each image, ``[B]``, in place of ``config.eps``.
        draws: Noisy copies a step.
        judge_draws: Noisy copies that judge a point.
        batch_size: Most noisy images that are evaluated at once while judging.
        on_images: Called with the number of noisy images of each evaluation, for a progress bar.

    Returns:
        Perturbed images, detached, in ball and box as measured in float64; on the grid of the noise where it has one.

    Raises:
        InputError: If a number is out of range, or the noise cannot be added to an image.

    Reference: Salman et al., "Provably robust deep learning via adversarially trained smoothed classifiers",
    NeurIPS 2019.

    Example:
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> images = torch.rand(3, 1, 2, 2)
        >>> labels = net(images).argmax(1)
        >>> found = attack_noisy_prediction(net, GaussianNoise(0.1), images, labels, AttackConfig(eps=2.0, steps=10))
        >>> bool((margin(net(found), labels) > margin(net(images), labels)).all())
        True
    """
    check_counts(draws, judge_draws, batch_size)
    generator = noise_generator(config, images)

    def mean_margin(points: Tensor, copies: int, together: int) -> Tensor:
        margins = []
        for first in range(0, copies, together):
            count = min(together, copies - first)
            offsets = torch.stack([noise.sample_like(points, generator) for _ in range(count)])
            logits = as_logits(model((points + offsets).flatten(0, 1)))
            margins.append(margin(logits, labels.repeat(count)).unflatten(0, (count, len(points))))
            if on_images is not None:
                on_images(count * len(points))
        return torch.cat(margins).mean(0)

    def score(points: Tensor) -> Tensor:
        return mean_margin(points, draws, draws)

    def criterion(points: Tensor) -> Tensor:
        return mean_margin(points, judge_draws, max(1, batch_size // len(points)))

    return attack_through_noise(model, noise, images, config, score, criterion, eps=eps, keep_label=False)
