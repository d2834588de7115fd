"""Attributions of one class that are concentrated, of its rival spread out: the objective of Sarkar et al. (2021)."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attacks import AttackConfig
from lit_certattr.attacks.loop import Score
from lit_certattr.errors import InputError
from lit_certattr.objectives.contexts import explaining
from lit_certattr.objectives.distances import l1
from lit_certattr.objectives.maps import explained, path_terms
from lit_certattr.objectives.pair import Neighbour, PairObjective, total
from lit_certattr.objectives.robust_losses import AdversarialLoss
from lit_certattr.objectives.schedule import Schedule


class CACR(PairObjective):
    r"""Contrastive attributions of classes, and weighted change of attributions ("CACR" with "WACR").

    .. math:: \ell(\tilde x, y) + \lambda\Bigl[\mathrm{KL}(U \| s(A_{j^*})) - \mathrm{KL}(U \| s(A_y))
              + \sum_{i \in S} B_i \Delta_i + \sum_{i \notin S} |\Delta_i|\Bigr]

    with integrated gradients of probabilities :math:`A_c = \mathrm{IG}_{p_c}(0 \to \tilde x)` and
    :math:`B = \mathrm{IG}_{p_y}(0 \to x)`, the change :math:`\Delta = -\mathrm{IG}_\ell(x \to \tilde x)`, s the softmax
    over all values, U uniform, :math:`j^*` the most likely wrong class of the neighbour, and S where B and
    :math:`\Delta` have the same sign. The neighbour maximises :math:`\ell + \beta \|\mathrm{IG}_\ell\|_1`, as in
    :class:`IGSumNorm`. Logs ``adversarial_accuracy`` and ``distance``, the bracket. Cost:
    ``attack.steps * search_steps + 4 * steps`` passes with a second derivative; ``two_pass`` keeps one path point
    at a time, where the authors needed a batch of one image.

    Args:
        attack: Norm, budget and steps of the search.
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        search_weight: :math:`\beta`, 0 or more.
        steps: Path points of the penalty.
        search_steps: Path points of the search.
        two_pass: Use memory that does not grow with ``steps``, see :class:`PairObjective`.
        max_batch: Most images evaluated at once; with ``two_pass`` this bounds the memory. ``None`` for all.

    Raises:
        InputError: If a number is out of range.

    Reference: Sarkar, Sarkar & Balasubramanian, "Enhanced regularizers for attributional robustness", AAAI 2021.
    """

    def __init__(
        self,
        attack: AttackConfig,
        weight: float | Schedule = 0.1,
        search_weight: float = 0.1,
        steps: int = 20,
        search_steps: int = 5,
        two_pass: bool = True,
        max_batch: int | None = None,
    ) -> None:
        super().__init__(AdversarialLoss(), Neighbour(attack, "both"), weight, None, two_pass)
        if min(steps, search_steps, max_batch or 1) < 1 or not 0 <= search_weight < math.inf:
            raise InputError(
                "steps, search_steps and max_batch must be at least 1 and search_weight at least 0, "
                f"got {steps}, {search_steps}, {max_batch}, {search_weight}"
            )
        self.search_weight = search_weight
        self.steps, self.search_steps, self.max_batch = steps, search_steps, max_batch

    def maps(
        self, model: nn.Module, clean: Tensor, others: Tensor, targets: Tensor, create_graph: bool
    ) -> Iterator[Tensor]:
        """Terms of the rival's map, the target's map, the clean image's and of the change: ``[4, B, C, H, W]``."""
        with torch.no_grad():
            rivals = model(others.clone()).scatter(1, targets.view(-1, 1), -torch.inf).argmax(1)
        black = torch.zeros_like(clean)
        probability, loss = explained(model, "probability"), explained(model, "loss")
        how = (self.steps, self.max_batch, create_graph)
        for rival, own, reference, change in zip(
            path_terms(probability, black, others, rivals, *how),
            path_terms(probability, black, others, targets, *how),
            path_terms(probability, black, clean, targets, *how),
            path_terms(loss, clean, others, targets, *how),
            strict=True,
        ):
            yield torch.stack([rival, own, reference, -change])

    def compare(self, maps: Tensor, clean: Tensor, others: Tensor) -> Tensor:
        """The bracket of the formula."""
        rival, own, reference, change = maps.flatten(2)
        agree = reference.sign() == change.sign()
        weighted = torch.where(agree, reference * change, change.abs()).sum(1)
        return unevenness(rival) - unevenness(own) + weighted

    def distance_score(self, model: nn.Module, clean: Tensor, targets: Tensor) -> Score:
        """The norm of integrated gradients of the loss."""

        def score(others: Tensor) -> Tensor:
            with explaining(model, self.smooth_beta):
                path = total(path_terms(explained(model, "loss"), clean, others, targets, self.search_steps))
            return l1(path, torch.zeros_like(path))

        return score

    @override
    def searched(self, model: nn.Module, clean: Tensor, targets: Tensor, weight: float) -> Score:
        """What the neighbour maximises, with ``search_weight`` in place of ``weight``."""
        return super().searched(model, clean, targets, self.search_weight)


def unevenness(maps: Tensor) -> Tensor:
    """KL(uniform || softmax of the map) of maps ``[B, N]``, ``[B]``: zero for a constant map, larger for peaks.

    Args:
        maps: Maps as rows ``[B, N]``.
    """
    return -math.log(maps.shape[1]) - maps.log_softmax(1).mean(1)
