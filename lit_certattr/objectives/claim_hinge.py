"""A claim about the map that is to hold up to a radius: trained for its certificate."""

from collections.abc import Sequence
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lit_certattr.attribution import Attribution, RegionMap
from lit_certattr.certificates import Claim
from lit_certattr.certificates.claim import check_plane
from lit_certattr.errors import InputError
from lit_certattr.numbers import Number
from lit_certattr.objectives.base import Objective, accuracy
from lit_certattr.objectives.contexts import explaining
from lit_certattr.objectives.directions import sameness, unit
from lit_certattr.objectives.gaussian_law import gaussian_spread
from lit_certattr.objectives.maps import in_batches
from lit_certattr.objectives.schedule import Schedule
from lit_certattr.settings import instance, real_number, whole_number
from lit_certattr.smoothing import Noise

_NORMAL = NormalDist()
_EDGE = 0.01
"""Below this mean, and above one minus it, the probit function is continued by its tangent."""


class ClaimHinge(Objective):
    r"""Noise augmentation whose maps are to satisfy a claim, with room for a perturbation of a given length.

    Let g in [0, 1] be the number of the claim and :math:`h(x) = \mathbb E\, g(A(x + \delta))` its mean under the noise.
    A :class:`~lit_certattr.certificates.ClaimCertificate` says of every perturbation of length r that
    :math:`h(x') \ge \Phi(\Phi^{-1}(h(x)) - r / \sigma)`. So "h is at least t" holds up to r if
    :math:`\Phi^{-1}(h(x)) - r / \sigma \ge \Phi^{-1}(t)`, and what is missing, in standard deviations of the noise, is
    the hinge

    .. math:: \frac1m \sum_i \ell(x_i, y)
              + \lambda \left[\Phi^{-1}(t) + \frac r\sigma - \Phi^{-1}(\bar g)\right]_+,
              \qquad \bar g = \frac1m \sum_i \tilde g(A(x_i)),\ x_i = x + \delta_i

    in the mean over the images. It is :math:`(r - R)_+ / \sigma` with R the radius that the certificate would reach
    with infinitely many samples if :math:`\bar g` were h; it has some samples only, so train for a somewhat larger r.
    "At most t" is the same claim about 1 - g. Where :math:`\bar g` is below 0.01 or above 0.99, :math:`\Phi^{-1}` is
    continued by the tangent: the slope stays finite. :math:`\tilde g` is the differentiable stand-in of the number that
    attacks follow too (:meth:`~lit_certattr.numbers.Number.soft`), and a map without a number counts against the claim,
    as it does in the certificate.

    **A network can satisfy a claim with one map for all images** (all of it inside the box, say), and such a map
    explains nothing. ``sameness``, logged beside the loss, is the mean correlation of the maps of different images of a
    class in the batch; ``contrast`` penalises it. For the same on validation images, as a gate before checkpoints are
    chosen, see :class:`~lit_certattr.callbacks.OverlapCallback` and ``configs/trainer/certified_claim.yaml``.

    Logs ``accuracy`` (of the noisy copies), ``hinge``, ``claimed`` (the mean of :math:`\bar g`), ``reached`` (share of
    the images whose hinge is zero) and ``sameness``. Cost: ``draws`` times a forward and backward pass, and ``draws``
    times one with a second derivative.

    Args:
        noise: Law of the noise of the certificate: Gaussian noise, or another one of
            :data:`~lit_certattr.smoothing.GAUSSIAN_LAWS`.
        attribution: The map that will be certified, with the target as explained class.
        claim: The claim that will be certified: a number with a range, and ``at_least`` or ``at_most`` inside it. A
            mask of its own for each image (:class:`~lit_certattr.numbers.RegionMask`) is found by the ids of the
            training images, which must then not be cropped or flipped at random.
        radius: r, a length in the unit of the law's budget, under Gaussian noise an l2 norm in pixel units; 0 or more.
        draws: Noisy copies of each image, at least 1.
        weight: :math:`\lambda`, a number or a :class:`Schedule`.
        smooth_beta: Sharpness of the softplus that replaces ReLU in the maps; ``None`` keeps ReLU, whose gradients
            change with the parameters, but not with the image.
        contrast: Weight of ``sameness`` beside the hinge, which 1 is; 0 or more.

    Raises:
        InputError: If a number is out of range, the claim has no bound strictly inside the range of its number, or is
            about places in the image while the pixels of the map are regions; when called, if the number has no
            gradient, or each image has its own mask and the ids of the images are unknown.

    Example:
        >>> from lit_certattr.attribution import Gradient
        >>> from lit_certattr.numbers import Box, EnergyInside
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> claim = Claim("object", EnergyInside(Box(0, 0, 1, 0.5)), at_least=0.6)
        >>> objective = ClaimHinge(GaussianNoise(sigma=0.25), Gradient(), claim, radius=0.1)
    """

    order = 2

    def __init__(
        self,
        noise: Noise,
        attribution: Attribution,
        claim: Claim,
        radius: float,
        draws: int = 4,
        weight: float | Schedule = 1.0,
        smooth_beta: float | None = 10.0,
        contrast: float = 0.15,
    ) -> None:
        self._spread = gaussian_spread(noise)
        instance("claim", claim, Claim, 'Claim("concentrated", Gini(), at_least=0.5)')
        if not 0 <= real_number("radius", radius) < float("inf"):
            raise InputError(f"radius must be a length of at least 0, got {radius}")
        if not contrast >= 0:
            raise InputError(f"contrast must be a number of at least 0, got {contrast}")
        self.noise, self.claim, self.radius = noise, claim, radius
        self.attribution = in_batches(attribution)
        if isinstance(attribution, RegionMap):
            check_plane([claim])
        self.draws = whole_number("draws", draws, least=1)
        self.weight = Schedule.of(weight)
        self.smooth_beta = smooth_beta
        self.contrast = contrast
        self._low, self._high = _range_of(claim)
        self._bounds = _bounds_of(claim, self._low, self._high)

    @override
    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        copies = images.repeat(self.draws, 1, 1, 1)
        copies = self.noise.draw(copies)(copies)
        repeated = targets.repeat(self.draws)
        logits = model(copies.clone())
        loss = functional.cross_entropy(logits, repeated)
        logs = {"accuracy": accuracy(logits, repeated)}
        weight = self.weight.at(self.epoch)
        if weight:
            with explaining(model, self.smooth_beta):
                maps = self.attribution(model, copies, repeated, create_graph=True)
            values = self._values(maps, images)
            hinge = torch.stack([self._hinge(values, sign, bound) for sign, bound in self._bounds]).sum(0)
            alike = sameness(unit(maps, centred=True).unflatten(0, (self.draws, -1)), targets)
            loss = loss + weight * (hinge.mean() + self.contrast * alike)
            logs |= {
                "hinge": hinge.detach().mean(),
                "claimed": self._low + (self._high - self._low) * values.detach().nanmean(),
                "reached": (hinge.detach() == 0).float().mean(),
                "sameness": alike.detach(),
            }
        return loss, logs

    def _values(self, maps: Tensor, images: Tensor) -> Tensor:
        """Numbers of the copies, brought to [0, 1], ``[m, B]``; NaN where a map has none."""
        copies = maps.to(torch.promote_types(maps.dtype, torch.float32)).unflatten(0, (self.draws, -1))
        number = self.claim.number
        if all(mask.is_known for mask in number.masks()):
            values = _soft(number, copies.flatten(0, 1)).view(copies.shape[:2])
        else:  # each image has a mask of its own
            ids = _given(self.ids, self.claim, len(images))
            placed = [number.placed(image, image_id) for image, image_id in zip(images, ids, strict=True)]
            values = torch.stack([_soft(one, copies[:, place]) for place, one in enumerate(placed)], 1)
        return (values - self._low) / (self._high - self._low)

    def _hinge(self, values: Tensor, sign: int, bound: float) -> Tensor:
        """What is missing of one side of the claim, in standard deviations of the noise, ``[B]``."""
        values = values if sign > 0 else 1 - values
        means = torch.where(values.isnan(), 0.0, values).mean(0)  # no number counts against the claim
        missing: Tensor = _NORMAL.inv_cdf(bound) + self.radius / self._spread - probit(means)
        return missing.clamp_min(0)


def probit(shares: Tensor) -> Tensor:
    r""":math:`\Phi^{-1}`, continued by its tangents below 0.01 and above 0.99.

    Args:
        shares: Numbers in [0, 1], of any shape.

    Example:
        >>> probit(torch.tensor([0.0, 0.5, 0.975]))
        tensor([-2.7016,  0.0000,  1.9600])
    """
    inside = shares.clamp(_EDGE, 1 - _EDGE)
    values: Tensor = torch.special.ndtri(inside) + (shares - inside) / _NORMAL.pdf(_NORMAL.inv_cdf(_EDGE))
    return values


def _soft(number: Number, maps: Tensor) -> Tensor:
    number.check((maps.shape[1], maps.shape[2]))
    values = number.soft(maps)
    if maps.requires_grad and not values.requires_grad:
        raise InputError(
            f"{type(number).__name__} has no gradient, so it cannot be trained: compute it with torch's differentiable "
            "functions, or use another number"
        )
    return values


def _given(ids: Sequence[str] | None, claim: Claim, count: int) -> Sequence[str]:
    if ids is None or len(ids) != count:
        raise InputError(
            f"claim {claim.name!r} has a mask of its own for each image, but training does not know which image it "
            "sees, or crops and flips it: give the training data ids and no augmentation, or use a Box"
        )
    return ids


def _range_of(claim: Claim) -> tuple[float, float]:
    low, high = claim.number.low, claim.number.high
    if low is None or high is None:
        raise InputError(
            f"claim {claim.name!r}: {type(claim.number).__name__} has no range, but ClaimHinge trains the mean of a "
            "number with one: use a number such as EnergyInside"
        )
    return low, high


def _bounds_of(claim: Claim, low: float, high: float) -> list[tuple[int, float]]:
    """Sign and bound of each side, for the number brought to [0, 1]: +1 for at least, -1 for at least of 1 - g."""
    bounds = [] if claim.at_least is None else [(1, (claim.low - low) / (high - low))]
    bounds += [] if claim.at_most is None else [(-1, (high - claim.high) / (high - low))]
    if not bounds or not all(0 < bound < 1 for _, bound in bounds):
        raise InputError(
            f"claim {claim.name!r} needs at_least or at_most strictly between {low:g} and {high:g} to be trained, got "
            f"{claim.at_least} and {claim.at_most}"
        )
    return bounds
