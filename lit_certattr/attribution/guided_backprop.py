"""Guided backpropagation."""

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from typing_extensions import override

from lit_certattr.attribution.base import ChannelReduction
from lit_certattr.attribution.layers import LayerAttribution, layer_gradient
from lit_certattr.attribution.places import is_scripted
from lit_certattr.attribution.relu import ReluCalls
from lit_certattr.errors import InputError


class GuidedBackprop(LayerAttribution):
    """Guided backpropagation (Springenberg et al., 2015): a gradient in which ReLUs pass back positive values only.

    On its way back the gradient passes a ReLU only where both it and the ReLU's input are positive. Modules and
    functions, in place or not, and ReLU6 are all guided; other activations (SiLU, GELU, hard swish) pass their
    gradient as it is. The network is not changed.

    Args:
        channels: Channel reduction, see :class:`~lit_certattr.attribution.Attribution`. The default sums the absolute
            values.
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module.
        upsample: Resize the map to the image, bilinearly; ``False`` keeps the layer's resolution.

    Example:
        >>> import torch
        >>> from lit_certattr.models import SmallCNN
        >>> GuidedBackprop()(SmallCNN(), torch.rand(2, 1, 28, 28), torch.tensor([3, 5])).shape
        torch.Size([2, 28, 28])
    """

    needs_layers = True  # it changes what ReLUs pass back

    def __init__(self, channels: ChannelReduction = "sum_abs", layer: str = "input", upsample: bool = True) -> None:
        super().__init__(layer, upsample, channels)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """Guided gradients, reduced to maps ``[B, H, W]``.

        Raises:
            InputError: If no ReLU runs after the layer: the map would be the plain gradient. Also if the network or a
                part of it is scripted, whose ReLUs nobody sees.
        """
        if is_scripted(model):
            raise InputError(
                f"GuidedBackprop cannot reach the ReLUs of {type(model).__name__}, since it is scripted: use the "
                "network from before torch.jit"
            )
        hooks: list[RemovableHandle] = []
        guided: list[bool] = []

        def cut(gradient: Tensor) -> Tensor:
            guided.append(True)
            return gradient.clamp(min=0)

        def guide(result: Tensor) -> Tensor:
            if result.requires_grad:
                hooks.append(result.register_hook(cut))
            return result

        with ReluCalls(guide):
            at, gradient = layer_gradient(model, self.layer, images, targets, create_graph)
        for hook in hooks:  # a second derivative goes through the same ReLUs, and is not guided
            hook.remove()
        self.refuse_affine_head(at)
        if not guided:
            raise InputError(
                f"GuidedBackprop needs a ReLU above layer {self.layer!r}, and {type(model).__name__} has none there: "
                "the map would be the plain gradient; use Gradient"
            )
        return self.resize(self.reduce(gradient), images)
