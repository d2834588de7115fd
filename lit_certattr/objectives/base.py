"""The base class of training objectives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from lit_certattr.settings import Settings


class Objective(Settings, ABC):
    """A training loss; it may evaluate the network as often, and at any images, as it needs.

    A subclass implements ``__call__``. It may call the model on other images than it was given and
    differentiate it twice (``torch.autograd.grad(..., create_graph=True)``). It never calls ``.backward()``,
    never touches ``.grad``, and leaves the model's mode and flags unchanged: the Trainer does the rest.
    Random numbers come from torch's global generator.

    Attributes:
        order: Highest derivative of the network that the gradient of the loss needs. From 2 on the Trainer's
            precision, ``torch.compile`` and attention kernels matter:
            :class:`~lit_certattr.modules.RobustClassifier` checks them before the first step.
        epoch: Progress of the training in epochs, for schedules: 3.5 in the middle of the fourth epoch.
            ``RobustClassifier`` sets it before every step; a loop of your own must do so too, or a warm-up never ends.
        ids: Ids of the images of the batch, for objectives with something of its own for each image, such as a mask;
            ``None`` if they are unknown, or if the training data change images at random, which a mask does not follow.
            ``RobustClassifier`` sets them before every step.
    """

    order: ClassVar[int] = 1
    epoch: float = 0.0
    ids: Sequence[str] | None = None

    def state_dict(self) -> dict[str, Any]:
        """State that the objective keeps between batches, for a checkpoint: tensors and plain values.

        Most objectives have no state.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state.

        Args:
            state: Result of :meth:`state_dict`, with tensors on any device.
        """

    @abstractmethod
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch.

        Args:
            model: Network in training mode, from images in [0, 1] to logits ``[B, num_classes]``.
            images: Images ``[B, C, H, W]`` in [0, 1].
            targets: Class indices ``[B]``.

        Returns:
            The loss, a scalar with its graph, and further values to log: detached scalars by name.
        """


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of images whose largest logit belongs to the target; a scalar in [0, 1].

    Args:
        logits: Logits ``[B, num_classes]``.
        targets: Class indices ``[B]``.

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1]))
        tensor(0.5000)
    """
    return (logits.detach().argmax(1) == targets).float().mean()
