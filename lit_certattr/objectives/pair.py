"""What robust attribution objectives share: an image, its neighbour, and a penalty on their maps."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attacks import AttackConfig
from lit_certattr.attacks.loop import Score
from lit_certattr.errors import InputError
from lit_certattr.objectives.adversarial import check_start, neighbours_of
from lit_certattr.objectives.base import Objective
from lit_certattr.objectives.contexts import attacking, explaining
from lit_certattr.objectives.robust_losses import RobustLoss
from lit_certattr.objectives.schedule import Schedule
from lit_certattr.objectives.two_pass import two_pass

Maximised = Literal["loss", "distance", "both"]


@dataclass(frozen=True)
class Neighbour:
    """How an objective chooses an image near the clean one.

    Args:
        attack: How the neighbour is searched; ``keep`` and ``seed`` are ignored.
        maximise: What it maximises: ``"loss"``: the score of the base loss (cross-entropy, a divergence);
            ``"distance"``: the distance of the maps; ``"both"``: the loss plus ``weight`` times the distance.

    Raises:
        InputError: If ``maximise`` has another value, or the search would start at the clean image, where the gradient
            of every distance is zero.
    """

    attack: AttackConfig
    maximise: Maximised = "distance"

    def __post_init__(self) -> None:
        if self.maximise not in get_args(Maximised):
            raise InputError(f"maximise must be one of {', '.join(get_args(Maximised))}, got {self.maximise!r}")
        if self.maximise == "distance" and self.attack.init == "zero" and self.attack.steps:
            raise InputError(
                "init='zero' has zero gradient for maximise='distance': set init to uniform, gaussian or boundary"
            )


class PairObjective(Objective):
    """A loss of predictions plus a weighted penalty on the maps of an image and of its neighbour.

    Maps are computed with the network in eval mode. While the weight is zero, they are not computed.

    Args:
        base: Loss of the predictions.
        neighbour: How the neighbour is chosen and searched.
        weight: Weight of the penalty, a number or a :class:`Schedule`.
        smooth_beta: Sharpness of the softplus that replaces ReLU while maps are computed; ``None`` keeps ReLU.
        two_pass: Evaluate the terms of the maps one at a time without keeping their graphs, see
            :func:`~.two_pass.two_pass`: memory does not grow with their number, and each is evaluated twice.
    """

    order = 2

    def __init__(
        self,
        base: RobustLoss,
        neighbour: Neighbour,
        weight: float | Schedule,
        smooth_beta: float | None,
        two_pass: bool = False,
    ) -> None:
        if neighbour.maximise != "distance":
            check_start(base, neighbour.attack)
        self.base = base
        self.neighbour = neighbour
        self.weight = Schedule.of(weight)
        self.smooth_beta = smooth_beta
        self.two_pass = two_pass

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        weight = self.weight.at(self.epoch)
        others = images
        if weight or self.base.uses_neighbour:
            with attacking(model, images):
                others = neighbours_of(images, self.searched(model, images, targets, weight), self.neighbour.attack)
        losses, logs = self.base.losses(model, images, others, targets)
        loss = losses.mean()
        if weight:
            penalty = self._penalty(model, images, others, targets)
            loss = loss + weight * penalty
            logs = logs | {"distance": penalty.detach()}
        return loss, logs

    @abstractmethod
    def maps(
        self, model: nn.Module, clean: Tensor, others: Tensor, targets: Tensor, create_graph: bool
    ) -> Iterator[Tensor]:
        """Terms of the maps that are compared, ``[S, B, ...]``; called inside :func:`~.contexts.explaining`."""

    @abstractmethod
    def compare(self, maps: Tensor, clean: Tensor, others: Tensor) -> Tensor:
        """Penalties ``[B]`` of maps ``[S, B, ...]``."""

    @abstractmethod
    def distance_score(self, model: nn.Module, clean: Tensor, targets: Tensor) -> Score:
        """The penalty as a score of the neighbour; what depends on the clean image alone is computed once."""

    def searched(self, model: nn.Module, clean: Tensor, targets: Tensor, weight: float) -> Score:
        """What the neighbour maximises at the present weight of the penalty."""
        if self.neighbour.maximise == "loss" or (self.neighbour.maximise == "both" and not weight):
            return self.base.score(model, clean, targets)
        distance = self.distance_score(model, clean, targets)
        if self.neighbour.maximise == "distance":
            return distance
        loss = self.base.score(model, clean, targets)
        return lambda others: loss(others) + weight * distance(others)

    def _penalty(self, model: nn.Module, clean: Tensor, others: Tensor, targets: Tensor) -> Tensor:
        def terms(create_graph: bool) -> Iterator[Tensor]:
            return self.maps(model, clean, others, targets, create_graph)

        def mean(maps: Tensor) -> Tensor:
            return self.compare(maps, clean, others).mean()

        with explaining(model, self.smooth_beta):
            if self.two_pass:
                return two_pass(mean, terms, model.parameters())
            return mean(total(terms(True)))


def total(terms: Iterator[Tensor]) -> Tensor:
    """Sum of the terms of a map.

    Args:
        terms: Terms of one shape, at least one.
    """
    return torch.stack(list(terms)).sum(0)
