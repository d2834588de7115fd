"""Gradients that do not turn: the objectives of Ivankay et al. (2020) and of Levine et al. (2019)."""

from lit_certattr.attacks import AttackConfig
from lit_certattr.attribution import Gradient
from lit_certattr.objectives.attributional import AttributionObjective
from lit_certattr.objectives.maps import GradientMap
from lit_certattr.objectives.pair import Neighbour
from lit_certattr.objectives.robust_losses import AdversarialLoss, CleanLoss
from lit_certattr.objectives.schedule import Schedule


class FAR(AttributionObjective):
    r"""Correlated gradients at an image and at its worst neighbour ("AAT", and with predictions "AdvAAT").

    .. math:: \text{AAT: } \ell(x, y) + \lambda \max_{\tilde x} D(g(x), g(\tilde x)), \qquad
              \text{AdvAAT: } \max_{\tilde x} \ell(\tilde x, y) + \lambda D(g(x), g(\tilde x))

    with D one minus Pearson's correlation. Logs ``accuracy`` or ``adversarial_accuracy``, and ``distance``. Cost:
    ``attack.steps + 2`` passes with a second derivative.

    Args:
        attack: Norm, budget and steps of the search.
        adversarial: AdvAAT in place of AAT.
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        smooth_beta: Sharpness of the softplus that replaces ReLU in the gradients; ``None`` only for smooth networks.

    Reference: Ivankay, Girardi, Marchiori & Frossard, "FAR: a general framework for attributional robustness",
    BMVC 2021.
    """

    def __init__(
        self,
        attack: AttackConfig,
        adversarial: bool = False,
        weight: float | Schedule = 1.0,
        smooth_beta: float | None = 10.0,
    ) -> None:
        base = AdversarialLoss() if adversarial else CleanLoss()
        neighbour = Neighbour(attack, "both" if adversarial else "distance")
        super().__init__(base, neighbour, GradientMap(), "pearson", weight, smooth_beta)


class SaliencyConsistency(AttributionObjective):
    r"""Absolute gradients that keep their proportions at the worst neighbour.

    .. math:: \ell(x, y) + \lambda \max_{\tilde x} \frac1N \left\| \frac{|g(x)|}{\|g(x)\|}
              - \frac{|g(\tilde x)|}{\|g(\tilde x)\|} \right\|_2^2

    Logs ``accuracy`` and ``distance``. Cost: ``attack.steps + 2`` passes with a second derivative.

    Args:
        attack: Norm, budget and steps of the search.
        weight: :math:`\lambda`, a number or a :class:`Schedule`; it is of the order of the number N of pixels.
        smooth_beta: Sharpness of the softplus that replaces ReLU in the gradients; ``None`` only for smooth networks.

    Reference: Levine, Singla & Feizi, "Certifiably robust interpretation in deep learning", 2019, appendix.
    """

    def __init__(
        self, attack: AttackConfig, weight: float | Schedule = 200.0, smooth_beta: float | None = 10.0
    ) -> None:
        neighbour = Neighbour(attack, "distance")
        super().__init__(CleanLoss(), neighbour, Gradient("sum_abs"), "unit_mse", weight, smooth_beta)
