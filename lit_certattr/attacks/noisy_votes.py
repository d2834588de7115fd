"""Goal of attacks on the prediction of the smoothed network: votes of the noisy copies for a class."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attacks.misclassification import margin
from lit_certattr.attacks.smoothed import SmoothedObjective
from lit_certattr.attribution import Attribution, FunctionAttribution
from lit_certattr.attribution.base import as_logits, graph_mode, own_copy
from lit_certattr.smoothing import class_votes


class NoisyVotes(SmoothedObjective):
    """Pushes the share of the noisy copies that are predicted as a class, or as another one.

    It takes the logits of the noisy copies in place of their maps, as ``[draws, B, 1, num_classes]``.

    Args:
        target: The class.
        other: Take votes from the other classes, so that the class wins; by default take those of the class.

    Example:
        >>> logits = torch.tensor([[[[2.0, 1.0]]], [[[0.0, 3.0]]]])
        >>> NoisyVotes(0).value(logits).round(decimals=1), NoisyVotes(0, other=True).surrogate(logits)
        (tensor([0.5000]), tensor([-1.]))
    """

    order = 1

    def __init__(self, target: int, other: bool = False) -> None:
        self.target, self.other = target, other

    @override
    def method(self, attribution: Attribution) -> Attribution:
        return FunctionAttribution(logits_as_maps)

    @override
    def surrogate(self, maps: Tensor) -> Tensor:
        logits = maps.flatten(0, 2)
        margins = margin(logits, torch.full((len(logits),), self.target, device=logits.device))
        mean = margins.view(maps.shape[:2]).mean(0)
        return -mean if self.other else mean

    @override
    def value(self, maps: Tensor) -> Tensor:
        """Share of the copies that do not vote; the mean margin decides between equal shares."""
        votes = class_votes(maps.flatten(0, 2), self.target)[int(self.other)]
        lost = 1 - votes.view(maps.shape[:2]).float().mean(0)
        return lost + 1e-3 * self.surrogate(maps).nan_to_num().sigmoid()


def logits_as_maps(model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
    """The logits of images, in the shape of maps.

    Args:
        model: Network from images in [0, 1] to logits.
        images: Images ``[B, C, H, W]``.
        targets: Not used.
        create_graph: Keep the graph.

    Returns:
        Logits ``[B, 1, num_classes]``.
    """
    with graph_mode(create_graph):
        return as_logits(model(own_copy(model, images)))[:, None]
