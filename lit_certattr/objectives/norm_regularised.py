"""Adversarial training by one closed-form step, which trains attributions to be sparse: Gong et al. (2024)."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lit_certattr.attribution import input_gradient
from lit_certattr.errors import InputError
from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.contexts import attacking
from lit_certattr.objectives.maps import explained
from lit_certattr.objectives.schedule import Schedule

Regulariser = Literal["l1", "elastic", "group"]


class NormRegularised(Objective):
    r"""Cross-entropy at the maximiser of a linear model of the loss, minus a penalty on the perturbation.

    To first order :math:`\max_\delta \ell(x + \delta) - R(\delta) = \ell(x) + R^*(g)`, with g the gradient of the loss
    and :math:`R^*` the convex conjugate of R. At the maximiser, held constant, the gradient of
    :math:`\ell(x + \delta) \approx \ell(x) + g^\top \delta` in the parameters is that of :math:`\ell(x) + R^*(g)` (the
    envelope theorem: :math:`\partial R^*(g) = \delta`). So a norm of the gradient map is penalised without any second
    derivative.

    =============  =====================================================  =====================================
    ``kind``       perturbation                                           what is penalised
    =============  =====================================================  =====================================
    ``"l1"``       :math:`\epsilon\, \mathrm{sign}(g)`                    :math:`\epsilon \|g\|_1`
    ``"elastic"``  :math:`\epsilon\, \mathrm{sign}(g) + 2 \epsilon_2 g`   :math:`\epsilon\|g\|_1 + \epsilon_2\|g\|_2^2`
    ``"group"``    :math:`\epsilon\, g_b / \|g_b\|_2` on each patch b     :math:`\epsilon \sum_b \|g_b\|_2`
    =============  =====================================================  =====================================

    Logs ``adversarial_accuracy``. Cost: two forward and backward passes.

    Args:
        eps: :math:`\epsilon`, a number in pixel units, or a :class:`Schedule`.
        kind: The norm, as above.
        eps2: :math:`\epsilon_2` of ``"elastic"``; 0 or more.
        patch: Height and width of the patches of ``"group"``, each in every channel; must divide those of the images.
        clamp: Smallest and largest value of a perturbed pixel; ``None``, as in the paper, for no box.

    Raises:
        InputError: If a setting is out of range; in training if patches do not tile the images.

    Reference: Gong et al., "Structured gradient-based interpretations via norm-regularized adversarial training",
    CVPR 2024.
    """

    def __init__(
        self,
        eps: float | Schedule = 0.01,
        kind: Regulariser = "l1",
        eps2: float = 0.05,
        patch: int = 4,
        clamp: tuple[float, float] | None = None,
    ) -> None:
        if kind not in get_args(Regulariser):
            raise InputError(f"kind must be one of {', '.join(get_args(Regulariser))}, got {kind!r}")
        if not 0 <= eps2 < float("inf") or patch < 1:
            raise InputError(f"eps2 must be at least 0 and patch at least 1, got {eps2} and {patch}")
        self.eps = Schedule.of(eps)
        self.kind: Regulariser = kind
        self.eps2 = eps2
        self.patch = patch
        self.clamp = None if clamp is None else tuple(clamp)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with attacking(model, images):
            _, gradient = input_gradient(explained(model, "loss"), images, targets)
        others = images + self._step(gradient, self.eps.at(self.epoch))
        if self.clamp is not None:
            others = others.clamp(*self.clamp)
        logits = model(others.clone())
        return functional.cross_entropy(logits, targets), {"adversarial_accuracy": accuracy(logits, targets)}

    def _step(self, gradient: Tensor, eps: float) -> Tensor:
        """The maximiser, for gradients ``[B, C, H, W]``."""
        if self.kind == "group":
            return eps * gradient / patch_norms(gradient, self.patch)
        step = eps * gradient.sign()
        return step + 2 * self.eps2 * gradient if self.kind == "elastic" else step


def patch_norms(values: Tensor, patch: int) -> Tensor:
    """The l2 norm of the patch in which each value lies, of the shape of ``values`` ``[B, C, H, W]``; never zero.

    Args:
        values: Values, e.g. a gradient.
        patch: Height and width of a patch.

    Raises:
        InputError: If patches do not tile the images.

    Example:
        >>> patch_norms(torch.tensor([[[[3.0, 4.0], [0.0, 0.0]]]]), 2)
        tensor([[[[5., 5.],
                  [5., 5.]]]])
    """
    height, width = values.shape[-2:]
    if height % patch or width % patch:
        raise InputError(f"patches of {patch} x {patch} do not tile images of {height} x {width}")
    tiles = values.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # [B, C, rows, patch, columns, patch]
    norms = torch.linalg.vector_norm(tiles, dim=(3, 5), keepdim=True)
    norms = torch.where(norms > 0, norms, 1)
    return norms.expand_as(tiles).flatten(4, 5).flatten(2, 3)
