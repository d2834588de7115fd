"""Integrated gradients."""

from typing import cast

import torch
from torch import Tensor, nn

from lit_certattr.attribution.base import ChannelReduction, input_gradient
from lit_certattr.attribution.layers import LayerAttribution, layer_pass
from lit_certattr.errors import InputError
from lit_certattr.models.final_layer import Head


class IntegratedGradients(LayerAttribution):
    r"""Integrated gradients (Sundararajan et al., 2017).

    .. math:: (x - b) \odot \frac{1}{m} \sum_{k=1}^{m} \nabla f_c\left(b + \tfrac{k - 1/2}{m} (x - b)\right)

    The midpoint rule makes the attributions add up to :math:`f_c(x) - f_c(b)` with an error of order
    :math:`1/m^2`. Path points are evaluated in groups, so memory does not grow with ``steps``.

    At another layer, x are its features, b features that all have the value ``baseline``, and f the rest of the
    network. With the default of 0 and an affine head that is ``InputXGradient`` there.

    Args:
        steps: Number of path points ``m``.
        baseline: Grey level of the baseline image ``b`` in [0, 1].
        max_batch: Most images evaluated at once; ``None`` puts all steps of the batch into one.
        channels: Channel reduction, see :class:`~lit_certattr.attribution.Attribution`.
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module. At
            ``"final"`` of the known families a step costs the head alone, elsewhere a whole forward pass too.
        upsample: Resize the map to the image, bilinearly; ``False`` leaves it at the layer's resolution.

    Raises:
        InputError: If ``steps`` or ``max_batch`` is below 1.
    """

    def __init__(
        self,
        steps: int = 20,
        baseline: float = 0.0,
        max_batch: int | None = 64,
        channels: ChannelReduction = "abs_sum",
        layer: str = "input",
        upsample: bool = True,
    ) -> None:
        super().__init__(layer, upsample, channels)
        if steps < 1 or (max_batch is not None and max_batch < 1):
            raise InputError(f"steps and max_batch must be at least 1, got steps={steps}, max_batch={max_batch}")
        self.steps, self.baseline, self.max_batch = steps, baseline, max_batch

    def scores(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """Signed attributions of every channel, ``[B, C, h, w]`` of the layer, before the channels are reduced."""
        with torch.inference_mode(False), torch.enable_grad():
            features, head = images.clone() if images.is_inference() else images, cast(Head, model)
            if self.layer != "input":
                at = layer_pass(model, self.layer, images, "full" if create_graph else "none")
                features, head = at.features, at.head
            path = features - self.baseline
            group = self.steps if self.max_batch is None else max(1, self.max_batch // len(images))
            total = torch.zeros_like(path)
            for first in range(0, self.steps, group):
                count = min(group, self.steps - first)
                share = (torch.arange(first, first + count, device=path.device, dtype=path.dtype) + 0.5) / self.steps
                points = (self.baseline + share.view(-1, 1, 1, 1, 1) * path).flatten(0, 1)
                _, gradients = input_gradient(head, points, targets.repeat(count), create_graph)
                total = total + gradients.unflatten(0, (count, -1)).sum(0)
            scores = path * total / self.steps
        return scores if create_graph else scores.detach()

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """See :class:`Attribution`."""
        if self.baseline == 0:  # the path to other baselines changes more than the scale
            self.refuse_cancelling_channels(model)
        return self.resize(self.reduce(self.scores(model, images, targets, create_graph)), images)
