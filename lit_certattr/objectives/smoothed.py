"""Attacks on smoothed predictions: the objectives of Salman et al. (2019) and of Jeong et al. (2021)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lit_certattr.attacks import AttackConfig
from lit_certattr.attacks.loop import Score
from lit_certattr.devices import exact_dtype
from lit_certattr.errors import InputError
from lit_certattr.objectives.adversarial import neighbours_of
from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.contexts import attacking
from lit_certattr.objectives.losses import log_mean_softmax
from lit_certattr.objectives.schedule import Schedule
from lit_certattr.smoothing import Noise

Copies = Callable[[Tensor], Tensor]
"""Gives the noisy copies ``[m, B, C, H, W]`` of images ``[B, C, H, W]``, under the same noise at every call."""


def smoothed_score(model: nn.Module, copies: Copies, targets: Tensor) -> Score:
    r"""Cross-entropy of the smoothed prediction as a score of images z: :math:`-\log \frac1m \sum_i p_y(z + \delta_i)`.

    Args:
        model: Network, prepared as in :func:`~.contexts.attacking`.
        copies: Gives the noisy copies of images.
        targets: Class indices ``[B]``.
    """

    def score(images: Tensor) -> Tensor:
        noisy = copies(images)
        logits = model(noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2])
        return -log_mean_softmax(logits).gather(1, targets.view(-1, 1)).squeeze(1)

    return score


class _AttackedUnderNoise(Objective):
    """What the two objectives share: the noise of a step, and the neighbours that it is attacked with."""

    def __init__(self, noise: Noise, attack: AttackConfig, draws: int) -> None:
        if draws < 1:
            raise InputError(f"draws must be at least 1, got {draws}")
        self.noise = noise
        self.attack = attack
        self.draws = draws

    def _copies(self, images: Tensor) -> Copies:
        """Fresh noise for a batch of this shape."""
        noisy = self.noise.draw(images.repeat(self.draws, 1, 1, 1))
        return lambda points: noisy(points.repeat(self.draws, 1, 1, 1)).unflatten(0, (self.draws, -1))

    def _neighbours(
        self, model: nn.Module, images: Tensor, copies: Copies, targets: Tensor, eps: Tensor | None = None
    ) -> Tensor:
        with attacking(model, images):
            return neighbours_of(images, smoothed_score(model, copies, targets), self.attack, eps)


class SmoothAdv(_AttackedUnderNoise):
    r"""Adversarial training of the smoothed classifier.

    .. math:: \frac1m \sum_i \ell(\tilde x + \delta_i, y), \qquad
              \tilde x = \arg\max_{\|\tilde x - x\| \le \epsilon} -\log \frac1m \sum_i p_y(\tilde x + \delta_i)

    The same noise is used in the search and in the loss. The authors start the search at the image
    (``init="zero"``), with steps of ``2 * eps / steps``. Logs ``adversarial_accuracy`` on the attacked noisy
    copies. Cost: ``draws * (attack.steps + 1)`` forward and backward passes.

    Args:
        noise: Law of the noise, with the ``sigma`` of the certificate.
        attack: Norm, budget and steps; ``keep`` and ``seed`` are ignored.
        draws: Noisy copies of each image, at least 1.
        ramp_epochs: Number of epochs in which budget and step length increase from zero to their values.

    Raises:
        InputError: If a number is out of range.

    Reference: Salman et al., "Provably robust deep learning via adversarially trained smoothed classifiers",
    NeurIPS 2019.
    """

    def __init__(self, noise: Noise, attack: AttackConfig, draws: int = 2, ramp_epochs: float = 10.0) -> None:
        super().__init__(noise, attack, draws)
        self.eps = Schedule(attack.eps, ramp_epochs=ramp_epochs)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        noisy = self._copies(images)
        eps = torch.full(
            (len(images),), self.eps.at(self.epoch), dtype=exact_dtype(images.device), device=images.device
        )
        neighbours = self._neighbours(model, images, noisy, targets, eps)
        logits = model(noisy(neighbours).flatten(0, 1))
        targets = targets.repeat(self.draws)
        return functional.cross_entropy(logits, targets), {"adversarial_accuracy": accuracy(logits, targets)}


class SmoothMix(_AttackedUnderNoise):
    r"""Noise augmentation, and less confidence the nearer an image is to one that the smoothed classifier mistakes.

    .. math:: \frac1m \sum_i \ell(x + \delta_i, y) + \eta\, \frac1m \sum_i
              \mathrm{KL}\bigl((1 - t)\, \bar p(x) + t\, U \,\|\, p((1 - t)\, x + t\, \tilde x + \delta_i)\bigr)

    with :math:`t \sim U(0, 1/2)` of each image, U uniform over the classes, :math:`\bar p` the mean prediction of the
    noisy copies, and the second term only where it is right. The neighbour is searched with ``attack`` as in
    :class:`SmoothAdv`; the authors' search has no budget: ``eps`` of ``steps * step_size`` is one that never binds.
    Logs ``accuracy`` (of the noisy copies) and ``mixed``, the second term. Cost: ``draws * (attack.steps + 2)``
    forward and backward passes.

    Args:
        noise: Law of the noise, with the ``sigma`` of the certificate.
        attack: Steps of the search; ``keep`` and ``seed`` are ignored.
        draws: Noisy copies of each image, at least 1.
        weight: :math:`\eta`, a number or a :class:`Schedule`; the authors let it rise over 10 epochs.

    Raises:
        InputError: If a number is out of range.

    Reference: Jeong, Park, Kim, Lee, Kim & Shin, "SmoothMix: training confidence-calibrated smoothed classifiers for
    certified robustness", NeurIPS 2021.
    """

    def __init__(self, noise: Noise, attack: AttackConfig, draws: int = 2, weight: float | Schedule = 5.0) -> None:
        super().__init__(noise, attack, draws)
        self.weight = Schedule.of(weight)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        noisy = self._copies(images)
        logits = model(noisy(images).flatten(0, 1))
        labels = targets.repeat(self.draws)
        loss = functional.cross_entropy(logits, labels)
        logs = {"accuracy": accuracy(logits, labels)}
        weight = self.weight.at(self.epoch)
        if weight:
            neighbours = self._neighbours(model, images, noisy, targets)
            mean = log_mean_softmax(logits.unflatten(0, (self.draws, -1))).exp()
            mixed = self._mixed(model, images, neighbours, noisy, mean, targets)
            loss = loss + weight * mixed
            logs["mixed"] = mixed.detach()
        return loss, logs

    def _mixed(
        self, model: nn.Module, images: Tensor, neighbours: Tensor, noisy: Copies, mean: Tensor, targets: Tensor
    ) -> Tensor:
        share = torch.rand(len(images), 1, dtype=images.dtype, device=images.device) / 2
        wanted = (1 - share) * mean + share / mean.shape[1]
        between = torch.lerp(images, neighbours, share.view(-1, 1, 1, 1))
        found = model(noisy(between).flatten(0, 1)).log_softmax(1).unflatten(0, (self.draws, -1))
        divergence = functional.kl_div(found, wanted.expand_as(found), reduction="none").sum(2)
        right = mean.detach().argmax(1) == targets
        return (divergence * right).mean()
