"""The same prediction for all noisy copies of an image."""

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.losses import prediction_spread
from lit_certattr.objectives.schedule import Schedule
from lit_certattr.smoothing import Noise


class Consistency(Objective):
    r"""Noise augmentation whose noisy copies are to be predicted alike.

    .. math:: \frac1m \sum_i \ell(x_i, y) + \lambda\, \frac1m \sum_i \mathrm{KL}(\bar p \,\|\, p_i)
              + \eta\, H(\bar p), \qquad x_i = x + \delta_i,\ \bar p = \frac1m \sum_i p_i

    The effective batch is ``draws`` times the batch size. (The authors' program splits a batch into ``draws`` parts
    and takes a step with each: their batch of 256 with two draws is 128 images here.) Logs ``accuracy`` on the
    noisy copies, and ``consistency``, the mean divergence. Cost: ``draws`` forward and backward passes.

    Args:
        noise: Law of the noise, with the ``sigma`` of the certificate.
        draws: Noisy copies of each image, at least 2.
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        entropy: :math:`\eta`, weight of the entropy of the mean prediction, a number or a :class:`Schedule`.

    Raises:
        InputError: If ``draws`` is below 2 or a weight is negative.

    Reference: Jeong & Shin, "Consistency regularization for certified robustness of smoothed classifiers",
    NeurIPS 2020.
    """

    def __init__(
        self, noise: Noise, draws: int = 2, weight: float | Schedule = 10.0, entropy: float | Schedule = 0.5
    ) -> None:
        if draws < 2:
            raise InputError(f"draws must be at least 2 to be compared, got {draws}")
        self.noise = noise
        self.draws = draws
        self.weight = Schedule.of(weight)
        self.entropy = Schedule.of(entropy)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        copies = images.repeat(self.draws, 1, 1, 1)
        logits = model(self.noise.draw(copies)(copies))
        targets = targets.repeat(self.draws)
        spread, entropy = prediction_spread(logits.unflatten(0, (self.draws, -1)))
        loss = functional.cross_entropy(logits, targets)
        loss = loss + self.weight.at(self.epoch) * spread.mean() + self.entropy.at(self.epoch) * entropy.mean()
        return loss, {"accuracy": accuracy(logits, targets), "consistency": spread.detach().mean()}
