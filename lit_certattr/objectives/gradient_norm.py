"""Penalties on the size of the loss's gradient."""

from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution import input_gradient
from lit_certattr.errors import InputError
from lit_certattr.objectives.directions import unit
from lit_certattr.objectives.losses import cross_entropy
from lit_certattr.objectives.maps import explained
from lit_certattr.objectives.penalty import PenaltyObjective
from lit_certattr.objectives.schedule import Schedule


class GradientNorm(PenaltyObjective):
    r"""Small gradients of the loss by double backpropagation: :math:`\ell(x, y) + \lambda \|\nabla_x \ell(x, y)\|_2^2`.

    Logs ``accuracy`` and ``penalty``. Cost: a forward and backward pass, and one with a second derivative.

    Args:
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        smooth_beta: Sharpness of the softplus that replaces ReLU, see :class:`PenaltyObjective`.

    Reference: Drucker & LeCun, "Improving generalization performance using double backpropagation", 1992.
    """

    def __init__(self, weight: float | Schedule = 0.1, smooth_beta: float | None = None) -> None:
        super().__init__(weight, smooth_beta)

    @override
    def penalty(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        _, gradient = input_gradient(explained(model, "loss"), images, targets, create_graph=True)
        return gradient.square().flatten(1).sum(1)


class GradientNormByDifferences(PenaltyObjective):
    r"""Small gradients of the loss, without second derivatives.

    .. math:: \ell(x, y) + \lambda\left(\frac{\ell(x + h v, y) - \ell(x, y)}{h}\right)^2,
              \qquad v = \nabla_x \ell / \|\nabla_x \ell\|_2 \text{ (constant)}

    As h approaches 0, this becomes the penalty of :class:`GradientNorm`; the authors' penalty has a factor 1/2. It
    works with compiled networks and in half precision. Logs ``accuracy`` and ``penalty``. Cost: four forward and
    backward passes.

    Args:
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        step: Step h, an l2 length in pixel units; positive.

    Raises:
        InputError: If ``step`` is not positive.

    Reference: Finlay & Oberman, "Scaleable input gradient regularization for adversarial robustness", 2021.
    """

    order = 1

    def __init__(self, weight: float | Schedule = 0.05, step: float = 0.01) -> None:
        super().__init__(weight)
        self.step = positive(step, "step")

    @override
    def penalty(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        _, gradient = input_gradient(explained(model, "loss"), images, targets)
        shifted = images + self.step * unit(gradient).view_as(images)
        rise = cross_entropy(model(shifted.clone()), targets) - cross_entropy(model(images.clone()), targets)
        return (rise / self.step).square()


def positive(number: float, name: str) -> float:
    """The number, if it is positive and finite.

    Args:
        number: The number.
        name: Its name in the message.

    Raises:
        InputError: If not, naming it.
    """
    if not 0 < number < float("inf"):
        raise InputError(f"{name} must be a positive number, got {number}")
    return float(number)
