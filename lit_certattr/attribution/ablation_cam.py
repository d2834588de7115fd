"""Ablation-CAM."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import graph_mode, ordinary
from lit_certattr.attribution.batching import check_max_batch
from lit_certattr.attribution.layers import ActivationMap, LayerPasses
from lit_certattr.attribution.scores import ScoreKind, check_score, class_scores, perturbed_scores


class AblationCAM(ActivationMap):
    r"""Ablation-weighted class activation map (Desai, Ramaswamy, 2020): :math:`\mathrm{ReLU}\big(\sum_k w_k A_k\big)`.

    .. math:: w_k = \frac{y - y_k}{|y|}, \qquad y = f_c, \quad y_k = f_c \text{ with } A_k \text{ set to zero}

    No gradient. The paper divides by y, which under noise may be negative and would then invert the map;
    if y is positive, this is the published weight. If no :math:`y_k` differs from y by more than rounding (four
    units in the last place of the largest logit, see :func:`~lit_certattr.attribution.scores.rounding`) the map is 0.

    Model evaluations per image: one, and one of the head per channel at ``"final"`` of the known families; elsewhere
    one whole forward pass per channel, 513 for a ResNet-18.

    Args:
        layer: ``"input"``, ``"final"`` (the last feature map) or the name of a module.
        relu: Keep only evidence for the class, as the authors do.
        upsample: Resize the map to the image, bilinearly; ``False`` keeps the layer's resolution.
        score: ``"logit"`` as published, or ``"softmax"``.
        max_batch: Most images evaluated at once; ``None`` finds the largest number that fits.

    Raises:
        InputError: If ``score`` or ``max_batch`` is out of range.

    Example:
        >>> from lit_certattr.models import CifarResNet
        >>> net, images = CifarResNet(8).eval(), torch.rand(2, 3, 32, 32)
        >>> AblationCAM()(net, images, torch.tensor([3, 5])).shape
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
            whole = class_scores(passes.whole.logits, targets, self.score)
            features = passes.features
            places = torch.arange(features.shape[1], device=images.device)

            def ablate(rows: slice, channels: slice) -> Tensor:
                kept = places != places[channels, None]
                return torch.where(kept[:, None, :, None, None], features[rows], 0)

            scores = perturbed_scores(
                model,
                images,
                targets,
                ablate,
                len(places),
                score=self.score,
                max_batch=self.max_batch,
                create_graph=create_graph,
                head=passes.head,
                whole=passes.whole.logits,
            )
            size = torch.where(whole == 0, 1, whole.abs())
            weights = ((whole - scores.values) / size).T
            return scores.map_or_constant(self.combine(weights[:, :, None, None], features, images))
