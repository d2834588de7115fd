"""Robust attributions by composition: any base loss, neighbour, map, distance and weight."""

from collections.abc import Iterator

from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attacks.loop import Score
from lit_certattr.attribution import Attribution
from lit_certattr.errors import InputError
from lit_certattr.objectives.contexts import explaining
from lit_certattr.objectives.distances import DISTANCES, Distance
from lit_certattr.objectives.maps import AnyMap, TrainingMap
from lit_certattr.objectives.pair import Neighbour, PairObjective, total
from lit_certattr.objectives.robust_losses import RobustLoss
from lit_certattr.objectives.schedule import Schedule


class AttributionObjective(PairObjective):
    r"""A loss of predictions plus the distance between the maps of an image and of its neighbour.

    .. math:: \mathrm{base}(x, \tilde x, y) + \lambda\, D(A(x), A(\tilde x))

    Most published objectives are one choice of the five parts; those with a class of their own are :class:`IGNorm`,
    :class:`IGSumNorm`, :class:`IGR`, :class:`FAR` and :class:`SaliencyConsistency`. Logs what the base logs, and
    ``distance``.

    Args:
        base: Loss of the predictions.
        neighbour: Which neighbour, and how it is found.
        attribution: The map: an attribution method, e.g. the one of the certificate, or a :class:`~.maps.TrainingMap`.
        distance: How maps are compared: ``"l1"``, ``"cosine"``, ``"pearson"`` or ``"unit_mse"``, see
            :mod:`lit_certattr.objectives.distances`.
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        smooth_beta: Sharpness of the softplus that replaces ReLU while maps are computed; ``None`` keeps ReLU.
            Gradients of ReLU networks need one if the search maximises a distance: they do not change with the image.
        two_pass: Memory of one group of path points (``max_batch`` of the map), see :class:`PairObjective`.

    Raises:
        InputError: If there is no such distance.

    Example:
        >>> from lit_certattr.attacks import AttackConfig
        >>> from lit_certattr.attribution import Gradient
        >>> from lit_certattr.objectives import AdversarialLoss
        >>> attack = AttackConfig(eps=0.1, steps=5, norm="linf")
        >>> objective = AttributionObjective(
        ...     AdversarialLoss(), Neighbour(attack, "both"), Gradient(), "cosine", Schedule(1.0, 3), smooth_beta=10.0
        ... )
    """

    def __init__(
        self,
        base: RobustLoss,
        neighbour: Neighbour,
        attribution: TrainingMap | Attribution,
        distance: Distance,
        weight: float | Schedule = 1.0,
        smooth_beta: float | None = None,
        two_pass: bool = False,
    ) -> None:
        if distance not in DISTANCES:
            raise InputError(f"distance must be one of {', '.join(DISTANCES)}, got {distance!r}")
        super().__init__(base, neighbour, weight, smooth_beta, two_pass)
        self.attribution = AnyMap(attribution) if isinstance(attribution, Attribution) else attribution
        self.distance: Distance = distance

    @override
    def maps(
        self, model: nn.Module, clean: Tensor, others: Tensor, targets: Tensor, create_graph: bool
    ) -> Iterator[Tensor]:
        """The maps of the clean images and of their neighbours."""
        return self.attribution.pair(model, clean, others, targets, create_graph)

    @override
    def compare(self, maps: Tensor, clean: Tensor, others: Tensor) -> Tensor:
        return DISTANCES[self.distance](maps[0], maps[1])

    @override
    def distance_score(self, model: nn.Module, clean: Tensor, targets: Tensor) -> Score:
        attribution = self.attribution.search
        with explaining(model, self.smooth_beta):
            first = total(attribution.terms(model, clean, targets, clean, create_graph=False))

        def score(others: Tensor) -> Tensor:
            with explaining(model, self.smooth_beta):
                second = total(attribution.terms(model, others, targets, clean))
            return DISTANCES[self.distance](first, second)

        return score
