"""Losses of predictions at an image and at a second one near it: the bases of adversarial training."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attacks.loop import Score
from lit_certattr.errors import InputError
from lit_certattr.objectives.base import accuracy
from lit_certattr.objectives.losses import cross_entropy, kl_divergence, margin_cross_entropy
from lit_certattr.settings import Settings


class RobustLoss(Settings, ABC):
    """The loss that is minimised at an image and its neighbour, and the score that the neighbour maximises.

    Attributes:
        uses_neighbour: Whether the loss depends on the neighbour at all.
        flat_at_image: Whether the score has no slope at the image itself, so that a search must begin elsewhere.
    """

    uses_neighbour: ClassVar[bool] = True
    flat_at_image: ClassVar[bool] = False

    def score(self, model: nn.Module, images: Tensor, targets: Tensor) -> Score:
        """The score that the neighbour of each image maximises: cross-entropy, unless a loss defines another.

        Args:
            model: Network, prepared as in :func:`~.contexts.attacking`.
            images: Clean images ``[B, C, H, W]``.
            targets: Class indices ``[B]``.
        """
        return lambda others: cross_entropy(model(others.clone()), targets)

    @abstractmethod
    def losses(
        self, model: nn.Module, images: Tensor, neighbours: Tensor, targets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each image, ``[B]``, and what to log; arguments as of ``score``, model in training mode."""


class CleanLoss(RobustLoss):
    """Cross-entropy of the image itself."""

    uses_neighbour = False

    @override
    def losses(
        self, model: nn.Module, images: Tensor, neighbours: Tensor, targets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(images.clone())
        return cross_entropy(logits, targets), {"accuracy": accuracy(logits, targets)}


class AdversarialLoss(RobustLoss):
    """Cross-entropy of the neighbour (Madry et al., 2018)."""

    @override
    def losses(
        self, model: nn.Module, images: Tensor, neighbours: Tensor, targets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(neighbours.clone())
        return cross_entropy(logits, targets), {"adversarial_accuracy": accuracy(logits, targets)}


class TradesLoss(RobustLoss):
    r"""Cross-entropy of the image, and how far the neighbour's prediction is from it (Zhang et al., 2019).

    .. math:: \ell(x, y) + \beta\, \mathrm{KL}(p(x) \,\|\, p(\tilde x))

    The neighbour maximises the divergence. Its search needs a random start: at the image the gradient is zero.

    Args:
        beta: Weight of the divergence, 0 or more.
    """

    flat_at_image = True

    def __init__(self, beta: float = 6.0) -> None:
        self.beta = _weight(beta)

    @override
    def score(self, model: nn.Module, images: Tensor, targets: Tensor) -> Score:
        """The divergence from the prediction of the clean image, which is computed once."""
        logits = model(images.clone()).detach()
        return lambda others: kl_divergence(logits, model(others.clone()))

    @override
    def losses(
        self, model: nn.Module, images: Tensor, neighbours: Tensor, targets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits, others = model(images.clone()), model(neighbours.clone())
        loss = cross_entropy(logits, targets) + self.beta * kl_divergence(logits, others)
        return loss, _both_accuracies(logits, others, targets)


class MartLoss(RobustLoss):
    r"""TRADES that attends to misclassified images (Wang et al., 2020, "MART").

    .. math:: -\log p_y(\tilde x) - \log(1 - \max_{k \ne y} p_k(\tilde x))
              + \beta\, \mathrm{KL}(p(x) \,\|\, p(\tilde x))\,(1 - p_y(x))

    Args:
        beta: Weight of the divergence, 0 or more.
    """

    def __init__(self, beta: float = 5.0) -> None:
        self.beta = _weight(beta)

    @override
    def losses(
        self, model: nn.Module, images: Tensor, neighbours: Tensor, targets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits, others = model(images.clone()), model(neighbours.clone())
        doubt = 1 - logits.softmax(1).gather(1, targets.view(-1, 1)).squeeze(1)
        loss = margin_cross_entropy(others, targets) + self.beta * doubt * kl_divergence(logits, others)
        return loss, _both_accuracies(logits, others, targets)


def _both_accuracies(logits: Tensor, others: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {"accuracy": accuracy(logits, targets), "adversarial_accuracy": accuracy(others, targets)}


def _weight(beta: float) -> float:
    if not 0 <= beta < float("inf"):
        raise InputError(f"beta must be a number of at least 0, got {beta}")
    return float(beta)
