"""What a training objective is."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from lit_certattr.settings import Settings


class Objective(Settings, ABC):
    """A loss that a network is trained on; it may look at the network as often, and wherever, it likes.

    A subclass implements ``__call__``. It may call the model on other images than it was given and
    differentiate it twice (``torch.autograd.grad(..., create_graph=True)``). It never calls ``.backward()``,
    never touches ``.grad``, and leaves the model's mode and flags as it found them: the Trainer does the rest.
    Randomness comes from torch's global generator.

    Attributes:
        order: Highest derivative of the network that the gradient of the loss needs. From 2 on the Trainer's
            precision, ``torch.compile`` and attention kernels matter:
            :class:`~lit_certattr.modules.RobustClassifier` checks them before the first step.
        epoch: Where the training is, for schedules: 3.5 in the middle of the fourth epoch. ``RobustClassifier``
            sets it before every step; a loop of your own must too, or a warm-up never ends.
    """

    order: ClassVar[int] = 1
    epoch: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What the objective remembers from batch to batch: tensors and plain values, for a checkpoint.

        Most objectives remember nothing.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that :meth:`state_dict` has given, with tensors on any device."""

    @abstractmethod
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch.

        Args:
            model: Network in training mode, from images in [0, 1] to logits ``[B, num_classes]``.
            images: Images ``[B, C, H, W]`` in [0, 1].
            targets: Class indices ``[B]``.

        Returns:
            The loss, a scalar with its graph, and what to log beside it: detached scalars by name.
        """


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of logits ``[B, num_classes]`` whose largest one is the target's; a scalar in [0, 1].

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1]))
        tensor(0.5000)
    """
    return (logits.detach().argmax(1) == targets).float().mean()
