"""Attacks on plain explanations: another map, the same image to the eye, the same label."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.label import check_classifier, same_label
from lit_certattr.attacks.loop import attack, checked_images
from lit_certattr.attribution import Attribution, frozen
from lit_certattr.attribution.base import as_logits
from lit_certattr.errors import InputError
from lit_certattr.preflight.network import check_network, logits_of
from lit_certattr.settings import Settings
from lit_certattr.settings.digest import digest
from lit_certattr.settings.plain import is_plain

Agreement = Callable[[Tensor, Tensor], Tensor]
"""From clean and perturbed maps, ``[B, H, W]`` each, to one number per image that falls as the maps part, ``[B]``."""


class ExplanationObjective(Settings, ABC):
    """The goal of an attack on a map. Both methods return one number per image, larger for more success.

    Attributes:
        logit_weight: Weight of the squared change of the softmax outputs, which is subtracted from the score.
    """

    logit_weight: float = 0.0

    def __repr__(self) -> str:
        state = {name: value for name, value in vars(self).items() if not name.startswith("_") and _is_told(value)}
        settings = ", ".join(f"{name}={_short(value)}" for name, value in sorted((self.init_args() | state).items()))
        return f"{type(self).__name__}({settings})"

    @abstractmethod
    def score(self, maps: Tensor, clean: Tensor) -> Tensor:
        """The score that the attack increases along its gradient, ``[B]``; differentiable in ``maps``.

        Args:
            maps: Maps of the perturbed images ``[B, H, W]``.
            clean: Maps of the clean images ``[B, H, W]``.
        """

    def criterion(self, maps: Tensor, clean: Tensor) -> Tensor:
        """The value by which the best point is chosen, ``[B]``; by default the score.

        Args:
            maps: Maps of the perturbed images ``[B, H, W]``.
            clean: Maps of the clean images ``[B, H, W]``.
        """
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

    Gradients pass through the method (``create_graph``), by default with softplus in place of ReLU. The gradient
    of a ReLU network's gradient map is exactly zero, so :class:`~lit_certattr.attribution.Gradient` needs softplus.
    Integrated gradients do change with the image, but with ReLU their gradient ignores how the activation pattern
    changes along the path: started at the image itself, such an attack can be weaker than random search. Labels,
    criteria and the result are computed with the network itself.

    Args:
        model: Network from images in [0, 1] to logits. Its mode, flags and gradients stay unchanged.
        attribution: The method; differentiable unless ``config.steps`` is 0.
        images: Clean images ``[B, C, H, W]`` in the box of the configuration.
        targets: Class to explain, ``[B]``, the same for clean and perturbed image.
        objective: The goal of the attack.
        config: Settings of the search; ``config.random_search()`` is the baseline that every attack should beat.
        eps: Budget of each image, ``[B]``, in place of ``config.eps``.
        keep_label: Whether to accept only points that get the same prediction as the clean image.
        criterion: A measure of agreement of maps, called as ``criterion(clean, perturbed)``, in place of the
            objective's own criterion; the point with the smallest value is chosen. For example
            ``lit_certattr.metrics.functional.top_k_intersection`` with its k.

    Returns:
        Perturbed images, detached, in ball and box as measured in float64; the image itself if no better point was
        found.

    Raises:
        InputError: If an image lies outside the box, a budget is negative, the method cannot be differentiated, or the
            network changes its input or returns anything but two or more finite logits.

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
    config = config.for_maps()
    with frozen(check_network(model)):
        # Outside inference mode, else autograd could not save what is compared with the maps of each step.
        with torch.inference_mode(False), torch.no_grad():
            images = checked_images(images, config, eps)[0]
            check_classifier(model, images)
            accept = same_label(model, images) if keep_label else None
            clean = attribution(model, images.clone(), targets).detach().clone()
            outputs = logits_of(model, images).softmax(1).clone() if objective.logit_weight else None

        def score(points: Tensor) -> Tensor:
            maps = attribution(model, points.clone(), targets, create_graph=True)
            values = objective.score(maps, clean)
            if outputs is not None:
                values = values - objective.logit_weight * (
                    as_logits(model(points.clone())).softmax(1) - outputs
                ).square().sum(1)
            return values

        def judge(points: Tensor) -> Tensor:
            maps = attribution(model, points, targets)
            return objective.criterion(maps, clean) if criterion is None else -criterion(clean, maps)

        return attack(score, images, config, eps=eps, criterion=judge, accept=accept)


def check_maps(maps: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Refuse a target that cannot be compared with maps of this shape.

    Args:
        maps: The target.
        shape: Shape ``(B, H, W)`` of the maps.
        name: Name of the target in the message.

    Raises:
        InputError: If the target cannot be broadcast to this shape.
    """
    try:
        fits = torch.broadcast_shapes(maps.shape, shape) == torch.Size(shape)
    except RuntimeError:
        fits = False
    if not fits:
        raise InputError(f"{name} has shape {tuple(maps.shape)}, but the maps are {tuple(shape)}")


def _is_told(value: object) -> bool:
    return isinstance(value, Tensor) or is_plain(value)


def _short(value: object) -> str:
    if isinstance(value, Tensor):
        return f"tensor{list(value.shape)} of sha256 {digest(value, 'the tensor')[:16]}"
    return repr(value)
