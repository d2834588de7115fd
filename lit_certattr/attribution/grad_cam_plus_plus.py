"""Grad-CAM++."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.layers import ActivationMap, layer_gradient


class GradCAMPlusPlus(ActivationMap):
    r"""Grad-CAM++ (Chattopadhay et al., 2018).

    Grad-CAM with other weights, :math:`\mathrm{ReLU}\big(\sum_k w_k A_k\big)`. For the score
    :math:`Y = \exp(f_c)` and with :math:`g = \partial f_c / \partial A_k`, equation 19 of the paper gives

    .. math:: \alpha = \frac{g^2}{2 g^2 + g^3 \sum_{ab} A_{k,ab}}, \qquad
              w_k = \sum_{ij} \alpha_{ij} \, \mathrm{ReLU}\big(e^{f_c} g_{ij}\big).

    Two simplifications, neither of which changes the ranking of the pixels. The factor :math:`e^{f_c}`, one positive
    number per image, is left out: it overflows for logits above 88, and scales maps that are averaged over noise.
    And where the ReLU lets anything through, :math:`\alpha g = g / (2 + g \sum A)`, which has no powers that
    underflow. With features that may be negative (SiLU, tokens) the denominator can be zero; that term is left out.

    Args:
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module.
        relu: Keep only evidence for the class, as the authors do.
        upsample: Resize the map to the image, bilinearly; ``False`` keeps the layer's resolution.

    Example:
        >>> from lit_certattr.models import CifarResNet
        >>> net, images = CifarResNet(8).eval(), torch.rand(2, 3, 32, 32)
        >>> GradCAMPlusPlus()(net, images, torch.tensor([3, 5])).shape
        torch.Size([2, 32, 32])
    """

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        at, gradient = layer_gradient(model, self.layer, images, targets, create_graph)
        divisor = 2 + gradient * at.features.sum((2, 3), keepdim=True)
        counts = (gradient > 0) & (divisor != 0)
        # The divisor is made harmless where it does not count, so that no NaN enters a second derivative.
        terms = torch.where(counts, gradient / torch.where(counts, divisor, 1), 0)
        return self.combine(terms.sum((2, 3), keepdim=True), at.features, images)
