"""The usual loss."""

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.objectives.base import Objective, accuracy


class CrossEntropy(Objective):
    """Cross-entropy on the clean images.

    Logs ``accuracy`` on the batch.

    Args:
        label_smoothing: Share of the target's probability that is spread over all classes, in [0, 1).

    Raises:
        InputError: If ``label_smoothing`` is out of range.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> loss, logs = CrossEntropy()(net, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]))
        >>> loss.shape, sorted(logs)
        (torch.Size([]), ['accuracy'])
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(images.clone())
        loss = functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        return loss, {"accuracy": accuracy(logits, targets)}
