"""The gradient of the largest logit, whichever class it belongs to."""

from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import Attribution, ChannelReduction, input_gradient, own_copy
from lit_certattr.smoothing.logits import note_logits


class MaxLogitGradient(Attribution):
    """Gradient of the largest logit of each image: the class is chosen separately per image (Levine et al., 2019).

    Under noise each draw then explains the class predicted for *its* noisy image. That is one fixed function, so
    certificates hold, but what they certify is a map that mixes classes if the prediction changes with the noise;
    results say so. ``targets`` is ignored. :class:`Gradient` explains one class at all draws.

    Args:
        channels: Channel reduction, see :class:`Attribution`.

    Example:
        >>> import torch
        >>> from lit_certattr.attribution import Gradient
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> images = torch.rand(3, 1, 2, 2)
        >>> predicted = Gradient()(net, images, net(images).argmax(1))
        >>> bool((MaxLogitGradient()(net, images, torch.zeros(3)) == predicted).all())
        True
    """

    class_rule = "predicted at each draw"

    def __init__(self, channels: ChannelReduction = "sum_abs") -> None:
        super().__init__(channels)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        def largest(images: Tensor) -> Tensor:
            logits: Tensor = model(own_copy(model, images))
            note_logits(model, images, logits)
            return logits.max(1, keepdim=True).values if logits.ndim == 2 else logits  # refused below

        first = targets.new_zeros(len(images)).long()
        return self.reduce(input_gradient(largest, images, first, create_graph)[1])
