"""Class activation maps."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import kernels
from lit_certattr.attribution.layers import ActivationMap, LayerPass, layer_pass
from lit_certattr.errors import InputError


class CAM(ActivationMap):
    r"""Class activation map (Zhou et al., 2016).

    .. math:: \mathrm{ReLU}\Big(\sum_k w_k^c A_k\Big)

    A are the features of the layer, and :math:`w^c` the weights of class c in the linear layer that follows global
    average pooling: without the ReLU, the mean of the map and the bias add up to the logit. One forward pass, no
    gradient.

    At ``layer="final"`` of the known families, this structure is known. Elsewhere it is checked on the values of
    every batch, which makes an accelerator wait once per call.

    Args:
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module.
        relu: Keep only evidence for the class; the authors show the signed map, ``False``.
        upsample: Resize the map to the image, bilinearly; ``False`` keeps the layer's resolution.

    Example:
        >>> from lit_certattr.models import CifarResNet
        >>> net, images = CifarResNet(8).eval(), torch.rand(2, 3, 32, 32)
        >>> CAM(upsample=False)(net, images, torch.tensor([3, 5])).shape
        torch.Size([2, 8, 8])
    """

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """Class activation maps ``[B, H, W]``.

        Raises:
            InputError: If anything but global average pooling and one linear layer follows the layer.
        """
        with torch.inference_mode(False), torch.set_grad_enabled(create_graph), kernels(create_graph):
            at = layer_pass(model, self.layer, images, "full" if create_graph else "none")
            known = at.final is not None and at.final.head is not None
            linear = at.final.pooled if at.final is not None and known else _means_to_logits(model, at)
            if linear is None:
                raise InputError(
                    f"CAM needs global average pooling and one linear layer after layer {self.layer!r}, "
                    f"and {type(model).__name__} has other layers there: use GradCAM"
                )
            weights = linear.weight[targets.clone() if targets.is_inference() else targets]
            return self.combine(weights[:, :, None, None], at.features, images)


def _means_to_logits(model: nn.Module, at: LayerPass) -> nn.Linear | None:
    """The linear layer that makes the logits from the features' means, if there is one."""
    shape = (at.logits.shape[1], at.features.shape[1])
    with torch.no_grad():
        means = at.features.mean((2, 3))
        scale = at.logits.abs().amax() * torch.finfo(at.logits.dtype).eps ** 0.5
        for linear in model.modules():
            if isinstance(linear, nn.Linear) and linear.weight.shape == shape:
                error = (linear(means) - at.logits).abs().amax()
                if bool(error <= scale):
                    return linear
    return None
