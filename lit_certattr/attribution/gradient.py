"""Methods that need one gradient."""

from torch import Tensor, nn

from lit_certattr.attribution.base import Attribution, ChannelReduction, input_gradient


class Gradient(Attribution):
    """Gradient of the target logit with respect to the pixels (saliency; Simonyan et al., 2014).

    Args:
        channels: Channel reduction, see :class:`Attribution`. The default sums the absolute values; ``"sum"``
            gives the signed map.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> maps = Gradient()(net, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1]))
        >>> maps.shape, bool((maps[1] == maps[2]).all())
        (torch.Size([3, 2, 2]), True)
    """

    def __init__(self, channels: ChannelReduction = "sum_abs") -> None:
        super().__init__(channels)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """See :class:`Attribution`."""
        return self.reduce(input_gradient(model, images, targets, create_graph)[1])


class InputXGradient(Attribution):
    """Image times gradient of the target logit (Shrikumar et al., 2016).

    Images are those in [0, 1], before the network's own normalisation: black contributes nothing.

    Args:
        channels: Channel reduction, see :class:`Attribution`. The default is the absolute value of the sum
            over channels, as in Anani et al. (2025); ``"sum"`` gives the signed map.
    """

    def __init__(self, channels: ChannelReduction = "abs_sum") -> None:
        super().__init__(channels)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """See :class:`Attribution`."""
        images, gradient = input_gradient(model, images, targets, create_graph)
        scores = images * gradient
        return self.reduce(scores if create_graph else scores.detach())
