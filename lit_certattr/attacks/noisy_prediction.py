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

    Increases the mean of :func:`margin` over noisy copies, with new noise at every step and again when a point is
    evaluated.
    (Salman et al., 2019, attack the mean softmax output, whose gradient vanishes if the network is confident.)

    It is also an attack on smoothed explanations: a change of the prediction changes the explanation. It needs
    first-order gradients, which a few draws estimate well. The gradient of a smoothed *map* is of second order, and in
    a hundred thousand dimensions an estimate from a few draws is mostly noise.

    Args:
        model: Network from images in [0, 1] to logits. Its mode, flags and gradients stay unchanged.
        noise: Noise law.
        images: Clean images ``[B, C, H, W]`` in the box of the configuration.
        labels: Classes ``[B]`` that the predictions should leave.
        config: Settings of the search. ``smooth_beta`` is not needed here.
        eps: Budget of each image, ``[B]``, in place of ``config.eps``.
        draws: Noisy copies per step, at least 1.
        judge_draws: Noisy copies with which a point is evaluated, at least 1.
        batch_size: Most noisy images evaluated at once when a point is evaluated.
        on_images: Called with the number of noisy images of each evaluation, for a progress bar.

    Returns:
        Perturbed images, detached, in ball and box as measured in float64; on the grid of the noise if it has one.

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
            noisy = torch.cat([noise.draw(points, generator)(points) for _ in range(count)])
            logits = as_logits(model(noisy))
            margins.append(margin(logits, labels.repeat(count)).unflatten(0, (count, len(points))))
            if on_images is not None:
                on_images(count * len(points))
        return torch.cat(margins).mean(0)

    def score(points: Tensor) -> Tensor:
        return mean_margin(points, draws, draws)

    def criterion(points: Tensor) -> Tensor:
        return mean_margin(points, judge_draws, max(1, batch_size // len(points)))

    return attack_through_noise(model, noise, images, config, score, criterion, eps=eps, keep_label=False)
