"""What a training objective is."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Objective(ABC):
    """A loss that a network is trained on; it may look at the network as often, and wherever, it likes.

    A subclass implements ``__call__``. It may call the model on other images than it was given and
    differentiate it twice (``torch.autograd.grad(..., create_graph=True)``). It never calls ``.backward()``,
    never touches ``.grad``, and leaves the model's mode and flags as it found them: the Trainer does the rest.
    """

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"

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
