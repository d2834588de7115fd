"""LayerCAM."""

from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.layers import ActivationMap, layer_gradient


class LayerCAM(ActivationMap):
    r"""LayerCAM (Jiang et al., 2021).

    .. math:: \mathrm{ReLU}\Big(\sum_k \mathrm{ReLU}(g_k) \odot A_k\Big), \qquad
              g_k = \frac{\partial f_c}{\partial A_k}

    Every location has weights of its own, so the map is sharp at
    shallow layers too; behind global average pooling they are equal.

    Args:
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module.
        relu: Keep only evidence for the class, as the authors do.
        upsample: Resize the map to the image, bilinearly; ``False`` keeps the layer's resolution.

    Example:
        >>> import torch
        >>> from lit_certattr.models import SmallCNN
        >>> net, images = SmallCNN().eval(), torch.rand(2, 1, 28, 28)
        >>> LayerCAM(layer="features.1", upsample=False)(net, images, torch.tensor([3, 5])).shape
        torch.Size([2, 14, 14])
    """

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        at, gradient = layer_gradient(model, self.layer, images, targets, create_graph)
        return self.combine(gradient.relu(), at.features, images)
