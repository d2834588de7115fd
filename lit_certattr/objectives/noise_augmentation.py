"""Training under the noise that will be certified against."""

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.smoothing import Noise


class NoiseAugmentation(Objective):
    """Mean cross-entropy of noisy copies of each image, with fresh noise at every step.

    The noise is not clamped to [0, 1]: it is the noise of the certificate, whose theorem is about unclamped
    noise. The effective batch is ``draws`` times the batch size. Logs ``accuracy`` on the noisy copies.

    Args:
        noise: Law of the noise, e.g. ``GaussianNoise`` or ``UniformBallNoise`` with the ``sigma`` of the
            certificate.
        draws: Noisy copies per image and step, at least 1.

    Raises:
        InputError: If ``draws`` is less than 1.

    Reference: Cohen et al., "Certified adversarial robustness via randomized smoothing", ICML 2019.

    Example:
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> NoiseAugmentation(GaussianNoise(sigma=0.25), draws=2)
        NoiseAugmentation(noise=GaussianNoise(sigma=0.25), draws=2)
    """

    def __init__(self, noise: Noise, draws: int = 1) -> None:
        if draws < 1:
            raise InputError(f"draws must be at least 1, got {draws}")
        self.noise = noise
        self.draws = draws

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        copies = images.repeat(self.draws, 1, 1, 1)  # one larger batch: one pass, whatever the draws
        logits = model(self.noise.draw(copies)(copies))
        targets = targets.repeat(self.draws)
        loss = functional.cross_entropy(logits, targets)
        return loss, {"accuracy": accuracy(logits, targets)}
