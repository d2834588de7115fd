"""Grad-CAM."""

from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.layers import ActivationMap, layer_gradient


class GradCAM(ActivationMap):
    r"""Gradient-weighted class activation map (Selvaraju et al., 2017).

    .. math:: \mathrm{ReLU}\Big(\sum_k w_k A_k\Big), \qquad
              w_k = \frac{1}{hw} \sum_{ij} \frac{\partial f_c}{\partial A_{k,ij}}

    A are the features of the layer; the weight of a channel is the mean gradient of the target logit. One forward
    pass, and a backward pass through the layers above the feature map alone.

    Args:
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module.
        relu: Keep only evidence for the class, as the authors do.
        upsample: Resize the map to the image, bilinearly; ``False`` keeps the layer's resolution.

    Example:
        >>> import torch
        >>> from lit_certattr.models import CifarResNet
        >>> net, images = CifarResNet(8).eval(), torch.rand(2, 3, 32, 32)
        >>> GradCAM()(net, images, torch.tensor([3, 5])).shape
        torch.Size([2, 32, 32])
    """

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        at, gradient = layer_gradient(model, self.layer, images, targets, create_graph)
        return self.combine(gradient.mean((2, 3), keepdim=True), at.features, images)
