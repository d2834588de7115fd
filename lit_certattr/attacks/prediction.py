"""Attacks on predictions."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.loop import attack, checked_images
from lit_certattr.attacks.misclassification import find_misclassified, margin
from lit_certattr.attribution import frozen
from lit_certattr.attribution.base import as_logits
from lit_certattr.errors import InputError
from lit_certattr.preflight.function import among, check_predictions
from lit_certattr.preflight.inputs import check_classes, check_targets
from lit_certattr.preflight.network import check_network, logits_of

Loss = Literal["alternate", "cross_entropy", "margin"]


def attack_prediction(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    config: AttackConfig,
    *,
    eps: Tensor | None = None,
    loss: Loss = "alternate",
) -> Tensor:
    r"""Search the ball around each image for a point that is misclassified.

    With ``loss="alternate"`` restarts differ in score and starting point, since no single search is the
    strongest on all networks:

    - Restart 1 increases :func:`~.misclassification.soft_margin`, whose temperature decreases from 0.4 to 0.01 standard
      deviations of the logits: first all wrong classes matter, in the end only the nearest. Restarts 2, 3, ...
      increase the logit of the best wrong class of the clean image against the right one, then of the second best, and
      so on (the targeted attack of Croce and Hein, 2020) up to the ninth. Then one restart increases :func:`margin` by
      steps of one length, ``2.5 * eps / steps``, which do not skip narrow regions; then all of this is repeated.
    - Restart 1 starts as ``config.init`` says, restart 2 at the image itself (at random, if restart 1 was there),
      all others at random. In l2 random starts are uniform in the ball, and stretched to their length inside the box.
    - Unless ``config.step_size`` is given, the other steps shrink along half a cosine from ``2 * eps`` to
      ``0.05 * eps``: the first ones cross the ball, so that the random start has little influence, the last ones
      converge. And a restart of 66 steps or more is divided into restarts of 33 or a few more: 100 steps are 34 + 33 +
      33.
    - In l2 points are projected onto the intersection of ball and box.

    An image leaves the batch as soon as it is clearly misclassified, so later passes are spent on the others.

    *Budget.* An image costs at most ``steps * restarts`` forward and backward passes, one more forward pass per restart
    for its last point, and one for the clean image; the first image is passed four times more, to check the network.
    Compare attacks by this number: 100 passes
    are ``steps=100``, or ``steps=50, restarts=2``. With ``keep="last"`` or ``steps=0`` the loop is that of
    ``loss="margin"``.

    ``loss="cross_entropy"`` and ``"margin"`` are plain projected gradient ascent (Madry et al., 2018) with steps of one
    length; they search for the largest margin and do not stop earlier.

    Args:
        model: Network from images in [0, 1] to logits of two or more classes. Its mode, flags and gradients stay
            unchanged.
        images: Clean images ``[B, C, H, W]`` in the box of the configuration.
        labels: True classes ``[B]``.
        config: Settings of the search. ``smooth_beta`` is not needed here.
        eps: Budget of each image, ``[B]``, in place of ``config.eps``.
        loss: ``"alternate"``, ``"margin"`` (:func:`margin`), or ``"cross_entropy"``, whose gradient vanishes
            if the network is confident.

    Returns:
        Perturbed images, detached, in ball and box as measured in float64: the points with the largest margin
        among all that were evaluated.

    Raises:
        InputError: If an image lies outside the box, a budget is negative, the loss is unknown, a label is no class of
            the network, or the network changes its input, returns anything but two or more finite logits, is random in
            eval mode (dropout left on), or mixes the images of a batch.

    References:
        Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
        Croce, Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks", ICML 2020.

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
    classes = check_targets(labels, len(images))
    with torch.inference_mode(False), frozen(check_network(model)):
        clean, budget = checked_images(images, config, eps)
        if not classes:
            return clean
        with torch.no_grad():
            logits = logits_of(model, clean)
            check_predictions(model, clean[:1], among(clean[:1], clean[1:3]), "the first image", "the images")
        check_classes(classes, logits.shape[1])
        targets = torch.tensor(classes, device=clean.device)

        def judge(points: Tensor) -> Tensor:
            return margin(as_logits(model(points)), targets)

        def cross_entropy(points: Tensor) -> Tensor:
            return nn.functional.cross_entropy(as_logits(model(points)), targets, reduction="none")

        if loss == "cross_entropy":
            return attack(cross_entropy, clean, config, eps=eps, criterion=judge)
        if loss == "margin" or config.keep == "last" or config.steps == 0:
            return attack(judge, clean, config, eps=eps)
        return find_misclassified(model, clean, targets, logits, budget, config)
