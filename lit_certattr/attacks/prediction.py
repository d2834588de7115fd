"""Attacks on predictions: PGD on the cross-entropy or on the margin."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.loop import attack
from lit_certattr.attribution import frozen
from lit_certattr.errors import InputError

Loss = Literal["cross_entropy", "margin"]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest wrong logit minus the right one, ``[B]``; positive where the prediction is wrong.

    Args:
        logits: Logits ``[B, num_classes]``.
        labels: Class indices ``[B]``.

    Example:
        >>> margin(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0]))
        tensor([-1.])
    """
    right = labels.view(-1, 1)
    return logits.scatter(1, right, -torch.inf).amax(1) - logits.gather(1, right).squeeze(1)


def attack_prediction(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    config: AttackConfig,
    *,
    eps: Tensor | None = None,
    loss: Loss = "margin",
) -> Tensor:
    """Search the ball around each image for the perturbation that is furthest from being predicted as its label.

    Projected gradient ascent (Madry et al., 2018); whichever loss is followed, the point of the largest margin wins,
    so no success is lost on the way.

    Args:
        model: Network from images in [0, 1] to logits. Its mode, flags and gradients are left as found.
        images: Clean images ``[B, C, H, W]`` in the box of the configuration.
        labels: True classes ``[B]``.
        config: Settings of the search. ``smooth_beta`` is of no use here.
        eps: Budget of each image, ``[B]``, in place of ``config.eps``.
        loss: ``"margin"`` (:func:`margin`), or ``"cross_entropy"``, whose slope vanishes where the network is sure.

    Returns:
        Perturbed images, detached, in ball and box as measured in float64.

    Raises:
        InputError: If an image lies outside the box, a budget is negative, or the loss is unknown.

    Reference: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> images = torch.rand(3, 1, 2, 2)
        >>> labels = net(images).argmax(1)
        >>> found = attack_prediction(net, images, labels, AttackConfig(eps=2.0, steps=10))
        >>> bool((margin(net(found), labels) > margin(net(images), labels)).all())
        True
    """
    if loss not in get_args(Loss):
        raise InputError(f"loss must be one of {', '.join(get_args(Loss))}, got {loss!r}")

    def judge(points: Tensor) -> Tensor:
        return margin(model(points), labels)

    def cross_entropy(points: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(points), labels, reduction="none")

    with frozen(model):
        if loss == "margin":
            return attack(judge, images, config, eps=eps)
        return attack(cross_entropy, images, config, eps=eps, criterion=judge)
