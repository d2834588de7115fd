"""Integrated gradients."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import ChannelReduction, graph_mode, input_gradient, ordinary
from lit_certattr.attribution.batching import check_max_batch, tiled
from lit_certattr.attribution.layers import LayerAttribution, LayerPasses
from lit_certattr.errors import InputError


class IntegratedGradients(LayerAttribution):
    r"""Integrated gradients (Sundararajan et al., 2017).

    .. math:: (x - b) \odot \frac{1}{m} \sum_{k=1}^{m} \nabla f_c\left(b + \tfrac{k - 1/2}{m} (x - b)\right)

    Convention: the path is cut into m equal parts, and the gradient taken in the middle of each (midpoint rule), so the
    attributions add up to :math:`f_c(x) - f_c(b)` with an error of order :math:`1/m^2` on smooth networks. Captum's
    default is the Gauss-Legendre rule, whose points and weights differ: maps agree as ``steps`` grow (with ReLU, whose
    gradient jumps, neither rule is of a high order), and exactly with its ``method="riemann_middle"``. Passes per
    image: ``steps`` gradients.

    At another layer, x are its features, b features that all have the value ``baseline``, and f the rest of the
    network. With the default of 0 and an affine head that is ``InputXGradient`` there.

    Args:
        steps: Number of path points ``m``.
        baseline: Grey level of the baseline image ``b`` in [0, 1].
        max_batch: Most images evaluated at once; ``None`` finds the largest number that fits.
        channels: Channel reduction, see :class:`~lit_certattr.attribution.Attribution`.
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module. At
            ``"final"`` of the known families a step costs the head alone, elsewhere a whole forward pass too.
        upsample: Resize the map to the image, bilinearly; ``False`` keeps the layer's resolution.

    Raises:
        InputError: If ``steps`` or ``max_batch`` is below 1.
    """

    def __init__(
        self,
        steps: int = 20,
        baseline: float = 0.0,
        max_batch: int | None = None,
        channels: ChannelReduction = "abs_sum",
        layer: str = "input",
        upsample: bool = True,
    ) -> None:
        super().__init__(layer, upsample, channels)
        if steps < 1:
            raise InputError(f"steps must be at least 1, got {steps}")
        check_max_batch(max_batch)
        self.steps, self.baseline, self.max_batch = steps, baseline, max_batch

    def scores(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """Signed attributions of every channel, ``[B, C, h, w]`` of the layer, before the channels are reduced."""
        with graph_mode(create_graph):
            images, targets = ordinary(images), ordinary(targets)
            passes = LayerPasses(model, self.layer, images, "full" if create_graph else "none")
            path = passes.features - self.baseline
            shares = (torch.arange(self.steps, device=path.device, dtype=path.dtype) + 0.5) / self.steps
            total = torch.zeros_like(path)

            def add(rows: slice, steps: slice) -> None:
                points = self.baseline + shares[steps].view(-1, 1, 1, 1, 1) * path[rows]
                labels = targets[rows].repeat(len(points))
                _, gradients = input_gradient(passes.head(rows), points.flatten(0, 1), labels, create_graph)
                total[rows] += gradients.view_as(points).sum(0)

            tiled(add, len(images), self.steps, model=model, images=images, max_batch=self.max_batch)
            return path * total / self.steps

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        if self.baseline == 0:  # the path to other baselines changes more than the scale
            self.refuse_cancelling_channels(model, images)
        return self.resize(self.reduce(self.scores(model, images, targets, create_graph)), images)
