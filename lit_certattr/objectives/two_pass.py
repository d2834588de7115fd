"""The gradient of a loss of a long sum, in the memory of one of its terms."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn


def two_pass(
    loss: Callable[[Tensor], Tensor], terms: Callable[[bool], Iterator[Tensor]], parameters: Iterable[nn.Parameter]
) -> Tensor:
    r"""A loss of :math:`A(\theta) = \sum_k A_k(\theta)` whose gradient is right, but whose graph is not that of A.

    Differentiating :math:`R(A)` the plain way keeps the graphs of all terms until the backward pass. Here the first
    pass adds up A without graphs and takes the cotangent :math:`v = \partial R / \partial A`; the second
    differentiates one term at a time and adds up the gradients g:

    .. math:: \frac{\partial R}{\partial \theta} = \sum_k \frac{\partial}{\partial \theta} \langle v, A_k(\theta)\rangle
              = g \qquad \text{(v constant)}

    which is the chain rule. What is returned is :math:`R + \langle g, \theta - \theta_0\rangle` with
    :math:`\theta_0` the present parameters: its value is R and its gradient is g, so it can be added to other losses
    and differentiated by the Trainer like any other. It has no second derivative.

    The price is one more evaluation of every term, without a second derivative, and a copy of the gradient.

    Args:
        loss: R, from the sum of the terms to a scalar; any parameters inside it count as constants.
        terms: Called with ``create_graph``; yields the terms, the same at both calls.
        parameters: Parameters of the network; those that are frozen are left out.

    Returns:
        A scalar.

    Example:
        >>> weight = nn.Parameter(torch.tensor([2.0]))
        >>> def terms(create_graph):
        ...     for k in (1.0, 2.0):
        ...         yield k * weight**2
        >>> value = two_pass(lambda total: total.square().sum(), terms, [weight])  # (3 w^2)^2
        >>> value.item(), torch.autograd.grad(value, weight)[0].item()  # 9 w^4 and 36 w^3
        (144.0, 288.0)
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    total: Tensor | None = None
    for term in terms(False):
        total = term.detach() if total is None else total + term.detach()
    assert total is not None
    total.requires_grad_(True)
    with torch.enable_grad():
        value = loss(total)
        (cotangent,) = torch.autograd.grad(value, total)
        gradients = [torch.zeros_like(parameter) for parameter in trained]
        for term in terms(True):
            parts = torch.autograd.grad(term, trained, cotangent, materialize_grads=True)
            gradients = [gradient + part for gradient, part in zip(gradients, parts, strict=True)]
        lift = sum(
            ((gradient * (parameter - parameter.detach())).sum())
            for gradient, parameter in zip(gradients, trained, strict=True)
        )
        return value.detach() + lift
