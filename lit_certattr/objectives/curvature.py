"""Penalties on the curvature of the loss or of a logit: where gradients turn, maps do."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution import input_gradient
from lit_certattr.errors import InputError
from lit_certattr.objectives.directions import unit
from lit_certattr.objectives.gradient_norm import positive
from lit_certattr.objectives.maps import explained
from lit_certattr.objectives.penalty import PenaltyObjective
from lit_certattr.objectives.schedule import Schedule


class CURE(PenaltyObjective):
    r"""A gradient of the loss that does not change along its own signs.

    .. math:: \ell(x, y) + \lambda \|\nabla \ell(x + h z) - \nabla \ell(x)\|_2^2,
              \qquad z = \mathrm{sign}(\nabla\ell) / \|\mathrm{sign}(\nabla\ell)\|_2 \text{ (constant)}

    Gradients are those of each image's own loss, and h is a length in pixel units. (In the authors' program the
    gradient is that of the batch's mean loss, so that the penalty shrinks with the batch, and h is measured after
    normalisation.) Logs ``accuracy`` and ``penalty``. Cost: a forward and backward pass, and two with a second
    derivative.

    Args:
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        step: h, an l2 length in pixel units; positive.
        smooth_beta: Sharpness of the softplus that replaces ReLU, see :class:`PenaltyObjective`.

    Raises:
        InputError: If ``step`` is not positive.

    Reference: Moosavi-Dezfooli, Fawzi, Uesato & Frossard, "Robustness via curvature regularization, and vice versa",
    CVPR 2019.
    """

    def __init__(self, weight: float | Schedule = 4.0, step: float = 0.5, smooth_beta: float | None = None) -> None:
        super().__init__(weight, smooth_beta)
        self.step = positive(step, "step")

    @override
    def penalty(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        loss = explained(model, "loss")
        _, gradient = input_gradient(loss, images, targets, create_graph=True)
        return turn(loss, images, targets, gradient, self.step).square().flatten(1).sum(1)


class HessianNorm(PenaltyObjective):
    r"""A logit with a small Hessian: its gradient map is then nearly the same at all neighbours.

    .. math:: \ell(x, y) + \lambda \|\nabla_x^2 f_y(x)\|_F^2, \qquad
              \|H\|_F^2 = \mathbb E_v \|H v\|_2^2 \text{ for } v \sim N(0, I)

    estimated without bias from ``draws`` vectors (Hutchinson). The Hessian of a ReLU network is zero almost everywhere,
    so the penalty is computed with softplus in place of ReLU. Large weights leave every image of a class with the same
    map. Logs ``accuracy`` and ``penalty``. Cost: a forward and backward pass, and for each draw one with a third
    derivative.

    Args:
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        draws: Number of vectors v per step, at least 1.
        smooth_beta: Sharpness of the softplus that replaces ReLU; ``None`` only for smooth networks.

    Raises:
        InputError: If ``draws`` is below 1.

    Reference: Dombrowski, Anders, Müller & Kessel, "Towards robust explanations for deep neural networks", Pattern
    Recognition 2022.
    """

    order = 3

    def __init__(self, weight: float | Schedule = 0.01, draws: int = 1, smooth_beta: float | None = 10.0) -> None:
        super().__init__(weight, smooth_beta)
        if draws < 1:
            raise InputError(f"draws must be at least 1, got {draws}")
        self.draws = draws

    @override
    def penalty(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        points, gradient = input_gradient(model, images, targets, create_graph=True)
        squares = []
        for _ in range(self.draws):
            along = (gradient * torch.randn_like(gradient)).sum()
            (product,) = torch.autograd.grad(along, points, create_graph=True)
            squares.append(product.square().flatten(1).sum(1))
        return torch.stack(squares).mean(0)


class SSR(PenaltyObjective):
    r"""A loss with a small largest curvature ("smooth surface regularisation").

    .. math:: \ell(x, y) + \lambda\, \lambda_{\max}(H), \qquad H = W^\top (\mathrm{diag}(p) - p p^\top) W

    with :math:`W = \partial f / \partial x` the Jacobian of the logits and p the softmax. For a network that is linear
    around x, as ReLU networks are, H is the Hessian of the cross-entropy (whatever the target); in general it is the
    Gauss-Newton part. It is d x d, but shares its non-zero eigenvalues with a C x C matrix: with
    :math:`L = \mathrm{diag}(\sqrt p) - p \sqrt p^\top` one has :math:`L L^\top = \mathrm{diag}(p) - p p^\top`
    (multiply out, with :math:`\sqrt p^\top \sqrt p = 1`), so :math:`H = (L^\top W)^\top (L^\top W)` and
    :math:`\lambda_{\max}(H) = \lambda_{\max}(L^\top W W^\top L)`. Nothing is approximated.

    The authors' :math:`(1 - \alpha)\,\ell + \alpha s\, \lambda_{\max}` has the gradient of this loss with
    :math:`\lambda = \alpha s / (1 - \alpha)`, times :math:`1 - \alpha`. Logs ``accuracy`` and ``penalty``,
    :math:`\lambda_{\max}`. Cost: a forward and backward pass, and a backward pass with a second derivative for each
    class; for many classes take another penalty.

    Args:
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        smooth_beta: Sharpness of the softplus that replaces ReLU, see :class:`PenaltyObjective`.

    Reference: Wang, Wang, Ramkumar, Mardziel, Fredrikson & Datta, "Smoothed geometry for robust attribution",
    NeurIPS 2020.
    """

    def __init__(self, weight: float | Schedule = 0.4, smooth_beta: float | None = None) -> None:
        super().__init__(weight, smooth_beta)

    @override
    def penalty(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        points = images.detach().requires_grad_(True)
        logits = model(points.clone())
        rows = [
            torch.autograd.grad(logits[:, place].sum(), points, create_graph=True)[0].flatten(1)
            for place in range(logits.shape[1])
        ]
        return largest_curvature(torch.stack(rows, 1), logits.softmax(1))


def turn(
    function: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor, gradient: Tensor, step: float
) -> Tensor:
    r"""How a gradient changes along its own signs: :math:`\nabla q(x + h z) - \nabla q(x)`, with its graph.

    Args:
        function: From images to "logits" ``[B, num_classes]``, of which the target's is q.
        images: Images x ``[B, C, H, W]``.
        targets: Class indices ``[B]``.
        gradient: :math:`\nabla q(x)`, of the shape of the images; z is its signs at length 1, a constant.
        step: h, an l2 length.

    Returns:
        The change, ``[B, C, H, W]``.
    """
    shifted = images + step * unit(gradient.detach().sign()).view_as(images)
    _, other = input_gradient(function, shifted, targets, create_graph=True)
    return other - gradient


def largest_curvature(jacobian: Tensor, probabilities: Tensor) -> Tensor:
    r"""Largest eigenvalue ``[B]`` of :math:`W^\top (\mathrm{diag}(p) - p p^\top) W`, see :class:`SSR`.

    Args:
        jacobian: W, ``[B, num_classes, d]``.
        probabilities: p, ``[B, num_classes]``.

    Example:
        >>> largest_curvature(torch.eye(2)[None], torch.tensor([[0.5, 0.5]]))  # of [[1/4, -1/4], [-1/4, 1/4]]
        tensor([0.5000])
    """
    root = (probabilities + 1e-24).sqrt()  # with a slope at zero
    factor = torch.diag_embed(root) - probabilities.unsqueeze(2) * root.unsqueeze(1)
    product = factor.transpose(1, 2) @ jacobian
    gram = product @ product.transpose(1, 2)
    largest: Tensor = torch.linalg.eigvalsh(gram.to(torch.promote_types(gram.dtype, torch.float32)))[:, -1]
    return largest
