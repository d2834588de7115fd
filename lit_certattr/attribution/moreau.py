"""MoreauGrad: the gradient of the Moreau envelope of the score."""

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_certattr.attribution.base import (
    Attribution,
    ChannelReduction,
    as_logits,
    graph_mode,
    input_gradient,
    ordinary,
    own_copy,
)
from lit_certattr.attribution.batching import check_max_batch, tiled
from lit_certattr.attribution.fixed import Fixed, normals
from lit_certattr.attribution.scores import ScoreKind, check_score
from lit_certattr.errors import InputError


class MoreauGrad(Attribution):
    r"""Gradient of the Moreau envelope of the score; sparse and group-sparse variants (Zhang, Farnia, 2023).

    .. math:: MG(x) = -\delta^* / \rho, \qquad
        \delta^* = \arg\min_\delta f_\sigma(x + \delta) + \tfrac{1}{2\rho} \|\delta\|_2^2 + \eta\, \Omega(\delta)

    with :math:`f_\sigma` the mean of the target score over ``num_samples`` draws of Gaussian noise, the same draws for
    every image, and :math:`\Omega` nothing (:math:`\eta = 0`: then :math:`MG` is the gradient of the envelope), the
    l1 norm, or with ``group`` the sum of the l2 norms of square blocks over all channels. Solved by ``steps``
    proximal gradient steps from :math:`\delta = 0`; the result is the mean of the last ``average`` iterates.

    *Lipschitz statement.* If :math:`\nabla f_\sigma` is L-Lipschitz and :math:`\rho L < 1`, then
    :math:`\|MG(x) - MG(x')\|_2 \le \frac{L}{1 - \rho L} \|x - x'\|_2`, for all three variants, before channels are
    reduced. Proof: :math:`\delta^*` is a fixed point of
    :math:`\delta = \mathrm{prox}_{\rho\eta\Omega}(-\rho \nabla f_\sigma(x + \delta))`, and a prox does not expand, so
    :math:`\|\delta - \delta'\| \le \rho L (\|x - x'\| + \|\delta - \delta'\|)`. Gaussian smoothing of a score in
    [0, B] has :math:`L \le 2\varphi(1) B / \sigma^2 < 0.484\, B / \sigma^2`, since
    :math:`u^\top \nabla^2 f_\sigma u = E[f\,(Z_u^2 - 1)] / \sigma^2` and :math:`E (Z^2 - 1)_+ = 2 \varphi(1)`. This
    is about the exact expectation and the exact minimiser, not about ``num_samples`` draws and ``steps`` steps, and
    with the defaults :math:`\rho L > 1`; see :meth:`lipschitz`. Certificates by smoothing do not need it.

    Model evaluations per image: ``steps * num_samples`` gradients.

    Args:
        rho: :math:`\rho`, positive, in squared pixel units per unit of the score.
        sparsity: :math:`\eta`; 0 for the plain variant. The authors use 0.005, and 0.05 with groups.
        group: Side of the blocks of the group-sparse variant, in pixels; ``None`` for single values. Blocks at the
            right and lower border may be smaller.
        sigma: Standard deviation of the inner smoothing, in pixel units; 0 smooths nothing and needs one sample.
        num_samples: Number of draws of the inner smoothing, at least 1.
        steps: Proximal gradient steps.
        step_size: Step size.
        average: Number of last iterates that are averaged, at least 1.
        score: ``"logit"`` or ``"softmax"``.
        seed: Seed of the inner smoothing.
        max_batch: Most images evaluated at once; ``None`` finds the largest number that fits.
        channels: Channel reduction, see :class:`Attribution`.

    Raises:
        InputError: If a number is out of range.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> method = MoreauGrad(num_samples=2, steps=200, average=1, channels="sum")
        >>> bool(method(net, torch.rand(1, 1, 4, 4), torch.tensor([1])).flatten().allclose(net[1].weight[1], atol=1e-6))
        True
    """

    def __init__(
        self,
        rho: float = 1.0,
        sparsity: float = 0.0,
        group: int | None = None,
        sigma: float = 0.1,
        num_samples: int = 32,
        steps: int = 300,
        step_size: float = 0.1,
        average: int = 100,
        score: ScoreKind = "logit",
        seed: int = 0,
        max_batch: int | None = None,
        channels: ChannelReduction = "sum_abs",
    ) -> None:
        super().__init__(channels)
        if not (rho > 0 and step_size > 0 and sparsity >= 0 and sigma >= 0):
            raise InputError(
                "rho and step_size must be positive, sparsity and sigma must not be negative, "
                f"got rho={rho}, step_size={step_size}, sparsity={sparsity}, sigma={sigma}"
            )
        if not (num_samples >= 1 and 1 <= average <= steps and (group is None or group >= 1)):
            raise InputError(
                "num_samples, average and group must be at least 1, steps at least average, "
                f"got num_samples={num_samples}, average={average}, group={group}, steps={steps}"
            )
        if sigma == 0 and num_samples > 1:
            raise InputError(f"sigma=0 makes all {num_samples} inner samples the same; set num_samples=1")
        check_score(score)
        check_max_batch(max_batch)
        self.rho, self.sparsity, self.group, self.sigma, self.num_samples = rho, sparsity, group, sigma, num_samples
        self.steps, self.step_size, self.average = steps, step_size, average
        self.score, self.seed, self.max_batch = score, seed, max_batch
        self._draws = Fixed()

    def lipschitz(self) -> float:
        """The Lipschitz constant of the statement above; infinite if there is none, as for logits.

        Example:
            >>> round(MoreauGrad(rho=0.1, sigma=0.25, score="softmax").lipschitz(), 1), MoreauGrad().lipschitz()
            (34.3, inf)
        """
        if self.score == "logit" or self.sigma == 0:
            return math.inf
        smooth = 2 * math.exp(-0.5) / math.sqrt(2 * math.pi) / self.sigma**2
        return smooth / (1 - self.rho * smooth) if self.rho * smooth < 1 else math.inf

    def scores(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        """Signed :math:`MG` of every channel, ``[B, C, H, W]``, before the channels are reduced."""
        with graph_mode(create_graph):
            images, targets = ordinary(images), ordinary(targets)
            shape = images.shape[1:]
            draws = self._draws.get_or_make(
                (tuple(shape), images.dtype, images.device),
                lambda: (self.sigma * normals(self.seed, self.num_samples, *shape)).to(images.device, images.dtype),
            )
            shift = torch.zeros_like(images)
            total = torch.zeros_like(images)
            for step in range(self.steps):
                slope = self._slope(model, images + shift, targets, draws, create_graph)
                shift = self._shrink(shift - self.step_size * (slope + shift / self.rho))
                if step >= self.steps - self.average:
                    total = total + shift
            return total / (-self.rho * self.average)

    def _slope(self, model: nn.Module, images: Tensor, targets: Tensor, draws: Tensor, create_graph: bool) -> Tensor:
        """Mean gradient of the score over the draws."""

        def score(images: Tensor) -> Tensor:
            logits = as_logits(model(own_copy(model, images)))
            return logits.softmax(1) if self.score == "softmax" else logits

        total = torch.zeros_like(images)

        def add(rows: slice, samples: slice) -> None:
            noisy = images[rows] + draws[samples, None]
            labels = targets[rows].repeat(len(noisy))
            _, gradients = input_gradient(score, noisy.flatten(0, 1), labels, create_graph)
            total[rows] += gradients.view_as(noisy).sum(0)

        tiled(add, len(images), len(draws), model=model, images=images, max_batch=self.max_batch)
        return total / len(draws)

    def _shrink(self, shift: Tensor) -> Tensor:
        """Proximal step of the penalty: soft thresholding of values or of blocks."""
        threshold = self.step_size * self.sparsity
        if threshold == 0:
            return shift
        if self.group is None:
            return shift.sign() * (shift.abs() - threshold).clamp(min=0)
        height, width = shift.shape[-2:]
        squares = shift.square().sum(1, keepdim=True)
        # divisor_override makes the mean a sum; ceil_mode keeps the smaller blocks at the border.
        sums = nn.functional.avg_pool2d(squares, self.group, ceil_mode=True, divisor_override=1)
        scale = 1 - threshold / sums.clamp(min=threshold**2).sqrt()
        for axis, length in ((-2, height), (-1, width)):
            scale = scale.repeat_interleave(self.group, axis).narrow(axis, 0, length)
        return scale * shift

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor, create_graph: bool = False) -> Tensor:
        return self.reduce(self.scores(model, images, targets, create_graph))
