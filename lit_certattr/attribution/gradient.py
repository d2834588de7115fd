"""Methods that need one gradient."""

from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import ChannelReduction
from lit_certattr.attribution.layers import LayerAttribution, layer_gradient


class Gradient(LayerAttribution):
    """Gradient of the target logit with respect to the pixels (saliency; Simonyan et al., 2014), or to features.

    Args:
        channels: Channel reduction, see :class:`~lit_certattr.attribution.Attribution`. The default sums the absolute
            values; ``"sum"`` gives the signed map.
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module. A final
            layer behind which only pooling and a linear layer follow is refused: its gradient is the same for
            every image.
        upsample: Resize the map to the image, bilinearly; ``False`` keeps the layer's resolution.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> maps = Gradient()(net, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1]))
        >>> maps.shape, bool((maps[1] == maps[2]).all())
        (torch.Size([3, 2, 2]), True)
    """

    def __init__(self, channels: ChannelReduction = "sum_abs", layer: str = "input", upsample: bool = True) -> None:
        super().__init__(layer, upsample, channels)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        self.refuse_cancelling_channels(model, images)
        at, gradient = layer_gradient(model, self.layer, images, targets, create_graph)
        self.refuse_affine_head(at)
        return self.resize(self.reduce(gradient), images)


class InputXGradient(LayerAttribution):
    """Image times gradient of the target logit (Shrikumar et al., 2016), or features times their gradient.

    Images are those in [0, 1], before the network's own normalisation: black contributes nothing.

    Args:
        channels: Channel reduction, see :class:`~lit_certattr.attribution.Attribution`. The default is the absolute
            value of the sum over channels, as in Anani et al. (2025); ``"sum"`` gives the signed map.
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module. At ``"final"`` of a ViT the
            products add up to zero, and ``channels="sum_abs"`` is needed.
        upsample: Resize the map to the image, bilinearly; ``False`` keeps the layer's resolution.
    """

    def __init__(self, channels: ChannelReduction = "abs_sum", layer: str = "input", upsample: bool = True) -> None:
        super().__init__(layer, upsample, channels)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        self.refuse_cancelling_channels(model, images)
        at, gradient = layer_gradient(model, self.layer, images, targets, create_graph)
        return self.resize(self.reduce(at.features * gradient), images)
