"""The prediction of the clean image for its noisy copy."""

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.schedule import Schedule
from lit_certattr.smoothing import Noise


class Stability(Objective):
    r"""Cross-entropy of the image, and of its noisy copy with the image's prediction as target.

    .. math:: \ell(x, y) - \lambda \sum_c p_c(x) \log p_c(x + \delta)

    Logs ``accuracy`` and ``disagreement``, the second term. Cost: two forward and backward passes.

    Args:
        noise: Law of the noise, with the ``sigma`` of the certificate.
        weight: :math:`\lambda`, a number or a :class:`Schedule`.

    Reference: Li, Chen, Wang & Carin, "Certified adversarial robustness with additive noise", NeurIPS 2019.
    """

    def __init__(self, noise: Noise, weight: float | Schedule = 2.0) -> None:
        self.noise = noise
        self.weight = Schedule.of(weight)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(images.clone())
        loss = functional.cross_entropy(logits, targets)
        logs = {"accuracy": accuracy(logits, targets)}
        weight = self.weight.at(self.epoch)
        if weight:
            noisy = model(self.noise.draw(images)(images))
            disagreement = functional.cross_entropy(noisy, logits.softmax(1))
            loss = loss + weight * disagreement
            logs["disagreement"] = disagreement.detach()
        return loss, logs
