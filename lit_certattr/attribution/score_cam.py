"""Score-CAM."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from lit_certattr.attribution.base import graph_mode, ordinary
from lit_certattr.attribution.batching import check_max_batch
from lit_certattr.attribution.layers import ActivationMap, LayerPasses
from lit_certattr.attribution.scores import ScoreKind, check_score, perturbed_scores


class ScoreCAM(ActivationMap):
    r"""Score-weighted class activation map (Wang et al., 2020): :math:`\mathrm{ReLU}\big(\sum_k w_k A_k\big)`.

    .. math:: w = \mathrm{softmax}_k\, f_c\big(x \odot s(A_k)\big), \qquad s(A) = \frac{A - \min A}{\max A - \min A}

    with :math:`A_k` resized to the image. No gradient. The score of a black image, which the paper subtracts, drops
    out of the softmax; where a channel is constant, s is zero and the image black. What is hidden is black in pixel
    space, not the mean colour. Where no score, that of the whole image included, differs from another by more than
    rounding (four units in the last place of the largest logit, see
    :func:`~lit_certattr.attribution.scores.rounding`) the weights would not depend on the class: the map is 0.

    Model evaluations per image: one, and one per channel; 513 for a ResNet-18, 2,049 for a ResNet-50.

    Args:
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module.
        relu: Keep only evidence for the class, as the authors do.
        upsample: Resize the map to the image, bilinearly; ``False`` keeps the layer's resolution.
        score: ``"logit"`` as published, or ``"softmax"``, whose differences are at most one.
        max_batch: Most images evaluated at once; ``None`` finds the largest number that fits.

    Raises:
        InputError: If ``score`` or ``max_batch`` is out of range.

    Example:
        >>> from lit_certattr.models import CifarResNet
        >>> net, images = CifarResNet(8).eval(), torch.rand(2, 3, 32, 32)
        >>> ScoreCAM()(net, images, torch.tensor([3, 5])).shape
        torch.Size([2, 32, 32])
    """

    def __init__(
        self,
        layer: str = "final",
        relu: bool = True,
        upsample: bool = True,
        score: ScoreKind = "logit",
        max_batch: int | None = None,
    ) -> None:
        super().__init__(layer, relu, upsample)
        check_score(score)
        check_max_batch(max_batch)
        self.score, self.max_batch = score, max_batch

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        with graph_mode(create_graph):
            images, targets = ordinary(images), ordinary(targets)
            passes = LayerPasses(model, self.layer, images, "full" if create_graph else "none")
            features = passes.features

            def cover(rows: slice, channels: slice) -> Tensor:
                masks = F.interpolate(features[rows, channels], images.shape[-2:], mode="bilinear", align_corners=False)
                low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
                masks = (masks - low) / torch.where(high > low, high - low, 1)
                return images[rows] * masks.transpose(0, 1)[:, :, None]

            scores = perturbed_scores(
                model,
                images,
                targets,
                cover,
                features.shape[1],
                score=self.score,
                max_batch=self.max_batch,
                create_graph=create_graph,
                whole=passes.whole.logits,
            )
            weights = scores.values.softmax(0).T
            return scores.map_or_constant(self.combine(weights[:, :, None, None], features, images))
