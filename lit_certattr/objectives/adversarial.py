"""Adversarial training of predictions."""

from dataclasses import replace

from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attacks import AttackConfig, attack
from lit_certattr.attacks.loop import Score
from lit_certattr.errors import InputError
from lit_certattr.objectives.base import Objective
from lit_certattr.objectives.contexts import attacking
from lit_certattr.objectives.robust_losses import AdversarialLoss, MartLoss, RobustLoss, TradesLoss


def neighbours_of(images: Tensor, score: Score, config: AttackConfig, eps: Tensor | None = None) -> Tensor:
    """The neighbours on which a network is trained: the last points of an attack with fresh random starts.

    Args:
        images: Clean images ``[B, C, H, W]``.
        score: The score that the neighbours maximise; to be called inside :func:`~.contexts.attacking`.
        config: The attack; its ``keep`` and ``seed`` are ignored.
        eps: Budget of each image ``[B]`` in place of ``config.eps``.

    Returns:
        Detached images of the same shape, in ball and box.
    """
    return attack(score, images, replace(config, keep="last", seed=None), eps=eps)


def check_start(loss: RobustLoss, attack: AttackConfig) -> None:
    """Refuse an attack that cannot move: it starts at the image, where the gradient of this score is zero.

    Args:
        loss: The loss that the neighbours maximise.
        attack: Settings of the search.

    Raises:
        InputError: If the search would start where the gradient of the score is zero.
    """
    if loss.flat_at_image and attack.init == "zero" and attack.steps:
        raise InputError(
            f"{type(loss).__name__} has zero gradient at the image itself: set init to uniform, gaussian or boundary"
        )


class RobustTraining(Objective):
    """Any loss of predictions at images and their worst neighbours.

    The attack sees the network in eval mode, so batch statistics come from the images that are trained on alone.
    Cost: ``attack.steps`` forward and backward passes, and those of the loss.

    Args:
        loss: The loss that is minimised; it gives the score that the neighbours maximise.
        attack: How they are searched. ``keep`` and ``seed`` are ignored: training uses the last point, and new
            random starts at every step.

    Raises:
        InputError: If the attack starts where the gradient of the score is zero.
    """

    def __init__(self, loss: RobustLoss, attack: AttackConfig) -> None:
        check_start(loss, attack)
        self.loss = loss
        self.attack = attack

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with attacking(model, images):
            neighbours = neighbours_of(images, self.loss.score(model, images, targets), self.attack)
        losses, logs = self.loss.losses(model, images, neighbours, targets)
        return losses.mean(), logs


class AdversarialTraining(RobustTraining):
    r"""Cross-entropy at the worst neighbour, :math:`\max_{\|\tilde x - x\| \le \epsilon} \ell(\tilde x, y)`.

    With one step of ``1.25 * eps`` from a uniform start it is the fast variant of Wong et al. (2020). Logs
    ``adversarial_accuracy`` on the attacked batch.

    Args:
        attack: Norm, budget and steps, see :class:`RobustTraining`.

    Reference: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> objective = AdversarialTraining(AttackConfig(eps=0.1, steps=3, norm="linf"))
        >>> loss, logs = objective(net, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]))
        >>> loss.shape, sorted(logs)
        (torch.Size([]), ['adversarial_accuracy'])
    """

    def __init__(self, attack: AttackConfig) -> None:
        super().__init__(AdversarialLoss(), attack)


class TRADES(RobustTraining):
    r"""Accuracy on the images, and agreement with their worst neighbours.

    .. math:: \ell(x, y) + \beta \max_{\|\tilde x - x\| \le \epsilon} \mathrm{KL}(p(x) \,\|\, p(\tilde x))

    Logs ``accuracy`` and ``adversarial_accuracy``.

    Args:
        attack: Norm, budget and steps, see :class:`RobustTraining`; the authors start at
            ``init="gaussian"``, and ``"zero"`` has zero gradient.
        beta: Weight of the divergence, 0 or more.

    Reference: Zhang et al., "Theoretically principled trade-off between robustness and accuracy", ICML 2019.
    """

    def __init__(self, attack: AttackConfig, beta: float = 6.0) -> None:
        super().__init__(TradesLoss(beta), attack)


class MART(RobustTraining):
    """Adversarial training that attends to images which are misclassified; see :class:`~.robust_losses.MartLoss`.

    Logs ``accuracy`` and ``adversarial_accuracy``.

    Args:
        attack: Norm, budget and steps, see :class:`RobustTraining`.
        beta: Weight of the divergence, 0 or more.

    Reference: Wang et al., "Improving adversarial robustness requires revisiting misclassified examples", ICLR 2020.
    """

    def __init__(self, attack: AttackConfig, beta: float = 5.0) -> None:
        super().__init__(MartLoss(beta), attack)
