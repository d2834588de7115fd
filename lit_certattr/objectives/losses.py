"""Losses of logits, one number per image: what objectives are made of."""

import math

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each image, ``[B]``, of logits ``[B, num_classes]`` and class indices ``[B]``.

    Args:
        logits: Logits ``[B, num_classes]``.
        targets: Class indices ``[B]``.
    """
    return functional.cross_entropy(logits, targets, reduction="none")


def kl_divergence(logits: Tensor, others: Tensor) -> Tensor:
    """KL(p || q) of each image, ``[B]``, for p the softmax of ``logits`` and q that of ``others`` ``[B, num_classes]``.

    Args:
        logits: Logits ``[B, num_classes]``.
        others: Logits of the same shape.

    Example:
        >>> kl_divergence(torch.zeros(1, 2), torch.tensor([[0.0, 5.0]])).item() > 1
        True
    """
    log_p, log_q = logits.log_softmax(1), others.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def margin_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy plus ``-log(1 - p)`` of the most likely wrong class, ``[B]``: it grows with both errors.

    Computed from logits: with z the largest wrong one, ``1 - p`` is the softmax mass of all other classes.

    Args:
        logits: Logits ``[B, num_classes]``.
        targets: Class indices ``[B]``.

    Example:
        >>> margin_cross_entropy(torch.zeros(1, 2), torch.tensor([0])).item()  # 2 log 2
        1.386294...
    """
    target = functional.one_hot(targets, logits.shape[1]).bool()
    rival = logits.masked_fill(target, -torch.inf).argmax(1, keepdim=True)
    rest = torch.scatter(logits, 1, rival, -torch.inf).logsumexp(1)
    return cross_entropy(logits, targets) + logits.logsumexp(1) - rest


def log_mean_softmax(logits: Tensor) -> Tensor:
    """Logarithm of the mean prediction ``[B, num_classes]`` of logits ``[m, B, num_classes]`` of m copies.

    Args:
        logits: Logits ``[m, B, num_classes]`` of m copies.

    Example:
        >>> log_mean_softmax(torch.tensor([[[500.0, 0.0]], [[0.0, 500.0]]])).exp()
        tensor([[0.5000, 0.5000]])
    """
    log_mean: Tensor = logits.log_softmax(2).logsumexp(0) - math.log(len(logits))
    return log_mean


def prediction_spread(logits: Tensor) -> tuple[Tensor, Tensor]:
    """How much the predictions of several noisy copies of an image differ, and how undecided they are together.

    Args:
        logits: Logits ``[m, B, num_classes]`` of m copies.

    Returns:
        Mean over the copies of KL(mean prediction || prediction of the copy), and the entropy of the mean
        prediction, each ``[B]`` and in nats.

    Reference: Jeong & Shin, "Consistency regularization for certified robustness of smoothed classifiers",
    NeurIPS 2020, eq. 10.

    Example:
        >>> spread, entropy = prediction_spread(torch.zeros(2, 1, 4))
        >>> spread.item(), round(entropy.item(), 4)  # log 4
        (0.0, 1.3863)
    """
    log_p = logits.log_softmax(2)
    log_mean = log_mean_softmax(logits)
    mean = log_mean.exp()
    spread = (mean * (log_mean - log_p)).sum(2).mean(0)
    return spread, -(mean * log_mean).sum(1)
