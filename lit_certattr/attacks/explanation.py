"""Attacks on plain explanations: another map, the same image to the eye, the same label."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.label import same_label
from lit_certattr.attacks.loop import attack
from lit_certattr.attribution import Attribution, frozen
from lit_certattr.errors import InputError

Agreement = Callable[[Tensor, Tensor], Tensor]
"""From clean and perturbed maps, ``[B, H, W]`` each, to one number an image that falls as the maps part, ``[B]``."""


class ExplanationObjective(ABC):
    """What an attack wants to do to a map. Both methods return one number an image, larger for more success.

    Attributes:
        logit_weight: Weight of the squared change of the softmax outputs, which is subtracted from the score.
    """

    logit_weight: float = 0.0

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={_short(value)}" for name, value in sorted(vars(self).items()))
        return f"{type(self).__name__}({settings})"

    @abstractmethod
    def score(self, maps: Tensor, clean: Tensor) -> Tensor:
        """What gradients follow, ``[B]``; differentiable in ``maps``.

        Args:
            maps: Maps of the perturbed images ``[B, H, W]``.
            clean: Maps of the clean images ``[B, H, W]``.
        """

    def criterion(self, maps: Tensor, clean: Tensor) -> Tensor:
        """What decides which point is best, ``[B]``; the score unless an objective says otherwise."""
        return self.score(maps, clean)


def attack_explanation(
    model: nn.Module,
    attribution: Attribution,
    images: Tensor,
    targets: Tensor,
    objective: ExplanationObjective,
    config: AttackConfig,
    *,
    eps: Tensor | None = None,
    keep_label: bool = True,
    criterion: Agreement | None = None,
) -> Tensor:
    """Search the ball around each image for the perturbation that changes its map most.

    Gradients pass through the method (``create_graph``), in the softplus twin where the configuration names one. The
    gradient of a ReLU network's gradient map is exactly zero, so :class:`~lit_certattr.attribution.Gradient` needs the
    twin; integrated gradients move with the image and need none. Labels, criteria and the result belong to the network
    as it is.

    Args:
        model: Network from images in [0, 1] to logits. Its mode, flags and gradients are left as found.
        attribution: The method; differentiable unless ``config.steps`` is 0.
        images: Clean images ``[B, C, H, W]`` in the box of the configuration.
        targets: Class to explain, ``[B]``, the same for clean and perturbed image.
        objective: What is attacked.
        config: Settings of the search; ``config.random_search()`` is the baseline that every attack has to beat.
        eps: Budget of each image, ``[B]``, in place of ``config.eps``.
        keep_label: Whether only points count that are predicted as the clean image is.
        criterion: An agreement of maps (clean, perturbed) in place of the objective's own criterion; the smallest wins.
            For example ``lit_certattr.metrics.functional.top_k_intersection`` with its k.

    Returns:
        Perturbed images, detached, in ball and box as measured in float64; the image itself where nothing better was
        found.

    Raises:
        InputError: If an image lies outside the box, a budget is negative, or the method cannot be differentiated.

    References:
        Ghorbani, Abid, Zou, "Interpretation of neural networks is fragile", AAAI 2019.
        Dombrowski et al., "Explanations can be manipulated and geometry is to blame", NeurIPS 2019.

    Example:
        >>> from lit_certattr.attacks import TopKMass
        >>> from lit_certattr.attribution import Gradient
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Softplus(), nn.Linear(8, 3))
        >>> config = AttackConfig(eps=0.5, steps=5)
        >>> found = attack_explanation(
        ...     net, Gradient(), torch.rand(2, 1, 4, 4), torch.tensor([0, 1]), TopKMass(0.25), config
        ... )
        >>> found.shape
        torch.Size([2, 1, 4, 4])
    """
    with frozen(model):
        # Outside inference mode, else autograd could not save what is compared with the maps of each step.
        with torch.inference_mode(False), torch.no_grad():
            clean = attribution(model, images, targets).detach().clone()
            outputs = model(images).softmax(1).clone() if objective.logit_weight else None

        def score(points: Tensor) -> Tensor:
            values = objective.score(attribution(model, points, targets, create_graph=True), clean)
            if outputs is not None:
                values = values - objective.logit_weight * (model(points).softmax(1) - outputs).square().sum(1)
            return values

        def judge(points: Tensor) -> Tensor:
            maps = attribution(model, points, targets)
            return objective.criterion(maps, clean) if criterion is None else -criterion(clean, maps)

        accept = same_label(model, images) if keep_label else None
        return attack(score, images, config, eps=eps, criterion=judge, accept=accept)


def check_maps(maps: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Refuse a target that cannot be compared with maps of this shape."""
    try:
        fits = torch.broadcast_shapes(maps.shape, shape) == torch.Size(shape)
    except RuntimeError:
        fits = False
    if not fits:
        raise InputError(f"{name} has shape {tuple(maps.shape)}, but the maps are {tuple(shape)}")


def _short(value: object) -> str:
    return f"tensor{list(value.shape)}" if isinstance(value, Tensor) else repr(value)
