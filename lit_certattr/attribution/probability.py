"""The gradient of a class probability."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import Attribution, ChannelReduction, as_logits, input_gradient, own_copy
from lit_certattr.errors import InputError
from lit_certattr.smoothing.logits import note_logits


class ProbabilityGradient(Attribution):
    """Gradient of the softmax probability of the target class with respect to the pixels.

    The probability lies in [0, 1], so the gradient of its Gaussian average moves slowly for every network, which
    :class:`~lit_certattr.certificates.SmoothGradCertificate` certifies. If the network is confident, the
    probability is flat: a temperature above 1 divides the logits first.

    Args:
        channels: Channel reduction, see :class:`Attribution`; the default takes the l2 norm over the channels.
        temperature: Divisor of the logits, positive.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> images, method = torch.rand(3, 1, 2, 2), ProbabilityGradient()
        >>> method(net, images, torch.tensor([0, 1, 1])).shape, method.score(net, images, torch.tensor([0, 1, 1])).shape
        (torch.Size([3, 2, 2]), torch.Size([3]))
    """

    def __init__(self, channels: ChannelReduction = "l2", temperature: float = 1.0) -> None:
        super().__init__(channels)
        if not 0 < temperature < float("inf"):
            raise InputError(f"temperature must be a positive number, got {temperature}")
        self.temperature = float(temperature)

    def score(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Probabilities ``[B]`` of the targets, without a gradient; arguments as those of the map."""
        with torch.no_grad():
            return self._probabilities(model)(images).gather(1, targets.view(-1, 1)).squeeze(1)

    def _probabilities(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        def probabilities(images: Tensor) -> Tensor:
            logits = as_logits(model(own_copy(model, images)))
            note_logits(model, images, logits)
            wide = torch.promote_types(logits.dtype, torch.float32)
            return (logits.to(wide) / self.temperature).softmax(1)

        return probabilities

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        return self.reduce(input_gradient(self._probabilities(model), images, targets, create_graph)[1])
