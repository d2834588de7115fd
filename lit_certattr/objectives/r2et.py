"""A map whose ranking stays: the objective of Chen et al. (2024)."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lit_certattr.attribution import input_gradient
from lit_certattr.errors import InputError
from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.contexts import explaining
from lit_certattr.objectives.curvature import turn
from lit_certattr.objectives.gradient_norm import positive
from lit_certattr.objectives.maps import Explained, explained, known_function
from lit_certattr.objectives.schedule import Schedule
from lit_certattr.smoothing import top_k_size


class R2ET(Objective):
    r"""A large gap between the top K pixels of the map and the rest, on a surface that bends little.

    The *ranking thickness* of Chen et al. is the share of the neighbours of an image at which a pixel i of its top K
    stays above a pixel j of the rest, in the mean over such pairs. It has a lower bound that increases with the gap
    :math:`a_i - a_j` of the map and decreases with the change of the map around the image, and this bound is what is
    trained:

    .. math:: \ell(x, y) - \lambda_1\, \frac{1}{K (N - K)} \sum_{i \le K < j} (a_{(i)} - a_{(j)})
              + \lambda_2\, \frac1h \|\nabla q(x + h z) - \nabla q(x)\|_2

    with q the function that is explained, :math:`a_{(1)} \ge \dots \ge a_{(N)}` the values of its map
    :math:`\sum_c |\nabla_c q(x)|`, and z its signs as in :class:`CURE` (constant). The double sum is the mean of the
    top K minus the mean of the rest. With ``pairs`` it is taken over the m pixels on each side of the border alone,
    :math:`\frac1m \sum_{i=1}^m (a_{(K - i + 1)} - a_{(K + i)})`: those are the ones that change places first.

    A larger gap is easy to get by larger gradients, so :math:`\lambda_1` must be small. With ``adaptive`` the weights
    are multiplied by :math:`(\ell + 1)` over the size of their term (constants), as in the authors' program: what is
    followed is then the gradient of the *logarithm* of each term, which does not depend on its scale. That is for
    fine-tuning with small steps, as theirs; from scratch it drives the curvature to 0, and all images of a class get
    the same map. The value of the loss has no meaning then; look at ``gap`` and ``bend``.

    Logs ``accuracy``, ``gap`` and ``bend``, the two terms before they are weighted. Cost: a forward and backward pass,
    and two with a second derivative, one without the curvature.

    Args:
        weight: :math:`\lambda_1`, a number or a :class:`Schedule`.
        curvature: :math:`\lambda_2`, a number or a :class:`Schedule`; 0 leaves the curvature out.
        top_k: K, a share of the pixels in (0, 1) or a number of pixels.
        pairs: m, at most K and at most the number of the other pixels; ``None`` takes all pairs.
        of: q: the target's ``"logit"``, its ``"loss"`` (as in the authors' program) or its ``"probability"``.
        step: h, an l2 length in pixel units; positive.
        adaptive: Multiply the weights as described above.
        smooth_beta: Sharpness of the softplus that replaces ReLU while maps are computed; ``None`` keeps ReLU, whose
            logits have no curvature.

    Raises:
        InputError: If a number is out of range, or ``of`` is none of the three; when called, if the map has fewer
            pixels than ``pairs`` needs.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> loss, logs = R2ET(top_k=4)(net, torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1]))
        >>> sorted(logs)
        ['accuracy', 'bend', 'gap']

    Reference: Chen, Guo, Chen, Ma, Zeng, Liao, Zhang & Xie, "Training for stable explanation for free", NeurIPS 2024;
    the authors' program for the variants and the adaptive weights.
    """

    order = 2

    def __init__(
        self,
        weight: float | Schedule = 0.03,
        curvature: float | Schedule = 0.03,
        top_k: float = 0.25,
        pairs: int | None = None,
        of: Explained = "logit",
        step: float = 0.1,
        adaptive: bool = False,
        smooth_beta: float | None = 10.0,
    ) -> None:
        top_k_size(top_k, 10**9)  # complains of what can be no share and no number
        if pairs is not None and pairs < 1:
            raise InputError(f"pairs must be at least 1, or null for all pairs, got {pairs}")
        self.weight, self.curvature = Schedule.of(weight), Schedule.of(curvature)
        self.top_k, self.pairs, self.of = top_k, pairs, known_function(of)
        self.step = positive(step, "step")
        self.adaptive = adaptive
        self.smooth_beta = smooth_beta

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(images.clone())
        loss = functional.cross_entropy(logits, targets)
        logs = {"accuracy": accuracy(logits, targets)}
        weight, curvature = self.weight.at(self.epoch), self.curvature.at(self.epoch)
        if not (weight or curvature):
            return loss, logs
        base = loss.detach()
        with explaining(model, self.smooth_beta):
            function = explained(model, self.of)
            _, gradient = input_gradient(function, images, targets, create_graph=True)
            if weight:
                gap = rank_gap(gradient.abs().sum(1), self.top_k, self.pairs).mean()
                loss = loss - weight * self._factor(base, gap) * gap
                logs["gap"] = gap.detach()
            if curvature:
                change = turn(function, images, targets, gradient, self.step)
                bend = torch.linalg.vector_norm(change.flatten(1), dim=1).mean() / self.step
                loss = loss + curvature * self._factor(base, bend) * bend
                logs["bend"] = bend.detach()
        return loss, logs

    def _factor(self, base: Tensor, term: Tensor) -> Tensor | float:
        if not self.adaptive:
            return 1.0
        size = term.detach().abs()
        return torch.where(size > 0, (base + 1) / torch.where(size > 0, size, 1.0), 0.0)


def rank_gap(maps: Tensor, top_k: float, pairs: int | None = None) -> Tensor:
    """How far the top K pixels of each map lie above the rest, ``[B]``, in the mean over pairs; see :class:`R2ET`.

    Args:
        maps: Maps ``[B, H, W]``.
        top_k: K, a share of the pixels in (0, 1) or a number of pixels.
        pairs: Pixels on each side of the border that are compared; ``None`` compares all with all.

    Raises:
        InputError: If ``top_k`` selects no pixel or all, or there are fewer pixels than ``pairs`` on one side.

    Example:
        >>> maps = torch.tensor([[[5.0, 1.0], [4.0, 2.0]]])
        >>> rank_gap(maps, top_k=2), rank_gap(maps, top_k=2, pairs=1)  # (5 + 4) / 2 - (2 + 1) / 2, and 4 - 2
        (tensor([3.]), tensor([2.]))
    """
    ordered = maps.flatten(1).sort(1, descending=True).values
    size = top_k_size(top_k, ordered.shape[1])
    least = min(size, ordered.shape[1] - size)
    if pairs is not None and pairs > least:
        raise InputError(f"pairs={pairs} needs as many pixels on each side of the top {size}: choose at most {least}")
    first, last = (0, ordered.shape[1]) if pairs is None else (size - pairs, size + pairs)
    return ordered[:, first:size].mean(1) - ordered[:, size:last].mean(1)
