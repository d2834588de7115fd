"""Larger certified radii of predictions, without an attack."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.objectives.base import Objective
from lit_certattr.objectives.gaussian_law import gaussian_spread
from lit_certattr.objectives.gradient_norm import positive
from lit_certattr.objectives.losses import log_mean_softmax
from lit_certattr.objectives.schedule import Schedule
from lit_certattr.smoothing import Noise


class MACER(Objective):
    r"""Cross-entropy of the smoothed prediction, and a hinge on its certified radius.

    .. math:: -\log \bar p_y
              + \lambda\, \frac{\sigma}{2} \left[\gamma + \Phi^{-1}(\bar p_2) - \Phi^{-1}(\bar p_1)\right]_+

    with :math:`\bar p` the mean softmax of ``draws`` noisy copies; in the hinge, which acts on images that are
    classified correctly, the logits are multiplied by ``beta`` first, and :math:`\bar p_1, \bar p_2` are the two
    largest entries. Images whose :math:`\Phi^{-1}` is not finite are left out of it. Logs ``accuracy`` (of the smoothed
    prediction) and ``hinge``. Cost: ``draws`` forward and backward passes.

    Args:
        noise: Law of the noise of the certificate: Gaussian noise, or another one of
            :data:`~lit_certattr.smoothing.GAUSSIAN_LAWS`; :math:`\sigma` is then the standard deviation along the first
            axis of its budget.
        draws: Noisy copies of each image, at least 1.
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        beta: Inverse temperature of the hinge; positive.
        margin: :math:`\gamma`, the radius in units of :math:`\sigma / 2` above which the hinge is zero; positive.

    Raises:
        InputError: If a number is out of range.

    Reference: Zhai et al., "MACER: attack-free and scalable robust training via maximizing certified radius",
    ICLR 2020.
    """

    def __init__(
        self,
        noise: Noise,
        draws: int = 16,
        weight: float | Schedule = 12.0,
        beta: float = 16.0,
        margin: float = 8.0,
    ) -> None:
        if draws < 1:
            raise InputError(f"draws must be at least 1, got {draws}")
        self.noise = noise
        self._spread = gaussian_spread(noise)
        self.draws = draws
        self.weight = Schedule.of(weight)
        self.beta = positive(beta, "beta")
        self.margin = positive(margin, "margin")

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        copies = images.repeat(self.draws, 1, 1, 1)
        logits = model(self.noise.draw(copies)(copies)).unflatten(0, (self.draws, -1))
        smoothed = log_mean_softmax(logits)
        loss = -smoothed.gather(1, targets.view(-1, 1)).mean()
        logs = {"accuracy": (smoothed.detach().argmax(1) == targets).float().mean()}
        weight = self.weight.at(self.epoch)
        if weight:
            hinge = self._hinge(logits, targets).mean()
            loss = loss + weight * self._spread / 2 * hinge
            logs["hinge"] = hinge.detach()
        return loss, logs

    def _hinge(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Hinge of each image ``[B]`` from logits ``[m, B, num_classes]``; zero where it does not act."""
        probabilities = log_mean_softmax(self.beta * logits).exp()
        probabilities = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
        top, classes = probabilities.topk(2, dim=1)
        inside = ((top > 0) & (top < 1)).all(1) & (classes[:, 0] == targets)
        quantiles = torch.special.ndtri(torch.where(inside.unsqueeze(1), top, 0.5))  # finite, and so is its slope
        return torch.where(inside, (self.margin + quantiles[:, 1] - quantiles[:, 0]).clamp_min(0), 0)
