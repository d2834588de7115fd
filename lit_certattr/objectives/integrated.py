"""Integrated gradients that do not move: the objectives of Chen et al. (2019) and of Wang & Kong (2022)."""

from lit_certattr.attacks import AttackConfig
from lit_certattr.objectives.attributional import AttributionObjective
from lit_certattr.objectives.maps import NeighbourPath, PathMap
from lit_certattr.objectives.pair import Neighbour
from lit_certattr.objectives.robust_losses import AdversarialLoss, CleanLoss, RobustLoss
from lit_certattr.objectives.schedule import Schedule


class IGNorm(AttributionObjective):
    r"""Small integrated gradients from an image to any neighbour ("IG-NORM").

    .. math:: \ell(x, y) + \lambda \max_{\|\tilde x - x\| \le \epsilon} \|\mathrm{IG}_\ell(x \to \tilde x)\|_1

    The gradient of the norm vanishes at the image itself, so the attack must start elsewhere. The path is summed by the
    midpoint rule, which is more accurate than the authors' end points. Logs ``accuracy`` and ``distance``, the norm.
    Cost: ``attack.steps * search_steps + steps`` passes with a second derivative.

    Args:
        attack: Norm, budget and steps of the search.
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        steps: Path points of the penalty.
        search_steps: Path points of the search.
        two_pass: Use memory that does not grow with ``steps``, see :class:`PairObjective`.
        max_batch: Most images evaluated at once; with ``two_pass`` this bounds the memory. ``None`` for all.

    Reference: Chen, Wu, Rastogi, Liang & Jha, "Robust attribution regularization", NeurIPS 2019.
    """

    def __init__(
        self,
        attack: AttackConfig,
        weight: float | Schedule = 1.0,
        steps: int = 20,
        search_steps: int = 5,
        two_pass: bool = False,
        max_batch: int | None = None,
    ) -> None:
        path = NeighbourPath(steps, search_steps, "loss", max_batch)
        super().__init__(CleanLoss(), Neighbour(attack, "distance"), path, "l1", weight, two_pass=two_pass)


class IGSumNorm(AttributionObjective):
    r"""Adversarial training whose loss is also counted pixel by pixel ("IG-SUM-NORM").

    .. math:: \max_{\|\tilde x - x\| \le \epsilon} \ell(\tilde x, y) + \beta\, \|\mathrm{IG}_\ell(x \to \tilde x)\|_1

    The integrated gradients add up to :math:`\ell(\tilde x, y) - \ell(x, y)`; their norm also counts what cancels.
    Logs ``adversarial_accuracy`` and ``distance``, the norm. Cost as of :class:`IGNorm`.

    Args:
        attack: Norm, budget and steps of the search.
        weight: :math:`\beta`, a number or a :class:`Schedule`.
        steps: Path points of the penalty.
        search_steps: Path points of the search.
        two_pass: Use memory that does not grow with ``steps``, see :class:`PairObjective`.
        max_batch: Most images evaluated at once; with ``two_pass`` this bounds the memory. ``None`` for all.

    Reference: Chen, Wu, Rastogi, Liang & Jha, "Robust attribution regularization", NeurIPS 2019.
    """

    def __init__(
        self,
        attack: AttackConfig,
        weight: float | Schedule = 0.1,
        steps: int = 20,
        search_steps: int = 5,
        two_pass: bool = False,
        max_batch: int | None = None,
    ) -> None:
        path = NeighbourPath(steps, search_steps, "loss", max_batch)
        super().__init__(AdversarialLoss(), Neighbour(attack, "both"), path, "l1", weight, two_pass=two_pass)


class IGR(AttributionObjective):
    r"""Adversarial training, with integrated gradients of the same direction at the image and at its neighbour.

    .. math:: \mathrm{base}(x, \tilde x, y)
              + \lambda\left(1 - \cos(\mathrm{IG}_f(0 \to x), \mathrm{IG}_f(0 \to \tilde x))\right)

    The neighbour is that of the base loss: no attribution is attacked. Without a warm-up the network learns maps that
    never change, and no classes, so the schedule must be given. Logs what the base logs and ``distance``. Cost:
    ``attack.steps`` passes, and ``2 * steps`` with a second derivative.

    Args:
        attack: Norm, budget and steps of the attack on predictions.
        weight: :math:`\lambda` and its warm-up.
        base: Loss of the predictions; ``None`` for cross-entropy at the neighbour.
        steps: Path points of integrated gradients.
        two_pass: Use memory that does not grow with ``steps``, see :class:`PairObjective`.
        max_batch: Most images evaluated at once; with ``two_pass`` this bounds the memory. ``None`` for all.

    Reference: Wang & Kong, "Exploiting the relationship between Kendall's rank correlation and cosine similarity for
    attribution protection", NeurIPS 2022.
    """

    def __init__(
        self,
        attack: AttackConfig,
        weight: Schedule,
        base: RobustLoss | None = None,
        steps: int = 5,
        two_pass: bool = False,
        max_batch: int | None = None,
    ) -> None:
        path = PathMap(steps, max_batch=max_batch)
        base = base or AdversarialLoss()
        super().__init__(base, Neighbour(attack, "loss"), path, "cosine", weight, two_pass=two_pass)
