"""Cross-entropy plus a penalty on how the network bends at the image."""

from abc import abstractmethod

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.contexts import explaining
from lit_certattr.objectives.schedule import Schedule


class PenaltyObjective(Objective):
    """Cross-entropy of the images, and a weighted penalty on the network in the neighbourhood of each image.

    A subclass implements ``penalty``, one number per image. It is called with the network in eval mode, and not at all
    while the weight is zero. Logs ``accuracy``, and ``penalty`` before it is weighted.

    Args:
        weight: Weight of the penalty, a number or a :class:`Schedule`.
        smooth_beta: Sharpness of the softplus that replaces ReLU while the penalty is computed; ``None`` keeps
            ReLU.
    """

    order = 2

    def __init__(self, weight: float | Schedule, smooth_beta: float | None = None) -> None:
        self.weight = Schedule.of(weight)
        self.smooth_beta = smooth_beta

    @abstractmethod
    def penalty(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """The penalty of each image, ``[B]``, with its graph.

        Args:
            model: Network, prepared as in :func:`~.contexts.explaining`.
            images: Images ``[B, C, H, W]``.
            targets: Class indices ``[B]``.
        """

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(images.clone())
        loss = functional.cross_entropy(logits, targets)
        logs = {"accuracy": accuracy(logits, targets)}
        weight = self.weight.at(self.epoch)
        if weight:
            with explaining(model, self.smooth_beta, graph=self.order > 1):
                penalty = self.penalty(model, images, targets).mean()
            loss = loss + weight * penalty
            logs["penalty"] = penalty.detach()
        return loss, logs
