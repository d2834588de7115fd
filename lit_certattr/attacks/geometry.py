"""Where an attack searches: the geometry of a ball, or of the budget of the noise that it attacks through."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks import ball
from lit_certattr.attacks.config import Init, Norm
from lit_certattr.budgets import EllipsoidBudget, LpBudget
from lit_certattr.devices import exact_dtype
from lit_certattr.smoothing import Noise


class Geometry(ABC):
    """Lengths, steps, projections and starting points of the changes that an attack may make."""

    @abstractmethod
    def distance(self, images: Tensor, centres: Tensor) -> Tensor:
        """Length of each change, float64 ``[B]``.

        Args:
            images: Changed images ``[B, C, H, W]``.
            centres: Clean images, of the same shape.
        """

    @abstractmethod
    def ascent(self, gradient: Tensor) -> Tensor:
        """The change of unit length along which a score with this gradient increases fastest, ``[B, C, H, W]``.

        Args:
            gradient: Gradients ``[B, C, H, W]`` of a score.
        """

    @abstractmethod
    def project(self, images: Tensor, centres: Tensor, eps: Tensor, clamp: tuple[float, float] | None = None) -> Tensor:
        """Move images into budget and box; see :func:`~lit_certattr.attacks.ball.project`."""

    @abstractmethod
    def start(
        self,
        centres: Tensor,
        eps: Tensor,
        init: Init,
        generator: torch.Generator | None,
        box: tuple[float, float] | None = None,
    ) -> Tensor:
        """Starting points, not yet projected; see :func:`~lit_certattr.attacks.ball.random_start`."""


class Ball(Geometry):
    """The ball of a norm around each image.

    Args:
        norm: ``"l2"`` or ``"linf"``.
    """

    def __init__(self, norm: Norm) -> None:
        self.norm: Norm = norm

    @override
    def distance(self, images: Tensor, centres: Tensor) -> Tensor:
        return ball.distance(images, centres, self.norm)

    @override
    def ascent(self, gradient: Tensor) -> Tensor:
        return ball.ascent(gradient, self.norm)

    @override
    def project(self, images: Tensor, centres: Tensor, eps: Tensor, clamp: tuple[float, float] | None = None) -> Tensor:
        return ball.project(images, centres, eps, self.norm, clamp)

    @override
    def start(
        self,
        centres: Tensor,
        eps: Tensor,
        init: Init,
        generator: torch.Generator | None,
        box: tuple[float, float] | None = None,
    ) -> Tensor:
        return ball.random_start(centres, eps, self.norm, init, generator, box)


class Ellipsoid(Geometry):
    r"""Amounts of modes together with an l2 rest, up to a length of :class:`~lit_certattr.budgets.EllipsoidBudget`.

    With the rows :math:`v_k = (\tau_k / \sigma) u_k`, the length is that of the inverse of
    :math:`M = I + \sum_k v_k v_k^T`, so the steepest ascent is along :math:`M g`.

    Args:
        budget: The budget.
        image: Gives shape and device of the images, ``[C, H, W]``.
    """

    def __init__(self, budget: EllipsoidBudget, image: Tensor) -> None:
        modes = budget.modes(image)
        rows = modes.fields.flatten(1) * (modes.tau / budget.scale)[:, None]
        self.rows = rows.to(image.device, exact_dtype(image.device))
        self.inverse = torch.linalg.inv(torch.eye(len(rows), dtype=rows.dtype) + rows @ rows.T).to(self.rows)

    @override
    def distance(self, images: Tensor, centres: Tensor) -> Tensor:
        delta = (images.to(self.rows) - centres.to(self.rows)).flatten(1)
        amounts = delta @ self.rows.T @ self.inverse
        rest = delta - amounts @ self.rows
        lengths: Tensor = (amounts.square().sum(1) + rest.square().sum(1)).sqrt()
        return lengths

    @override
    def ascent(self, gradient: Tensor) -> Tensor:
        flat = gradient.to(self.rows).flatten(1)
        along = flat + flat @ self.rows.T @ self.rows
        norm = (flat * along).sum(1, keepdim=True).clamp_min(0).sqrt()
        return torch.where(norm > 0, along / norm, 0.0).view_as(gradient).to(gradient.dtype)

    @override
    def project(self, images: Tensor, centres: Tensor, eps: Tensor, clamp: tuple[float, float] | None = None) -> Tensor:
        # Box first: shrinking a change towards a centre in the box does not leave it.
        images = images if clamp is None else images.clamp(*clamp)
        length = self.distance(images, centres)
        share = (ball.reach_of(centres, eps) / length.clamp_min(1e-30)).view(-1, 1, 1, 1)
        pulled = centres + ((images - centres) * share).to(images.dtype)
        images = torch.where((length > eps).view(-1, 1, 1, 1), pulled, images)
        images = images if clamp is None else images.clamp(*clamp)  # rounding
        outside = (self.distance(images, centres) > eps).view(-1, 1, 1, 1)
        return torch.where(outside, centres, images)

    @override
    def start(
        self,
        centres: Tensor,
        eps: Tensor,
        init: Init,
        generator: torch.Generator | None,
        box: tuple[float, float] | None = None,
    ) -> Tensor:
        """Starting points: as in the ball, but a random share of the squared length is spent on random amounts."""
        if init in ("zero", "gaussian"):
            return ball.random_start(centres, eps, "l2", init, generator, box)
        count, device, dtype = len(centres), self.rows.device, self.rows.dtype
        rest = torch.randn((count, self.rows.shape[1]), generator=generator, dtype=dtype, device=device)
        amounts = torch.randn((count, len(self.rows)), generator=generator, dtype=dtype, device=device)
        share, depth = torch.rand((2, count, 1), generator=generator, dtype=dtype, device=device)
        delta = (1 - share).sqrt() * torch.nn.functional.normalize(rest)
        delta += share.sqrt() * torch.nn.functional.normalize(amounts) @ self.rows
        scale = eps.to(self.rows)[:, None]
        if init == "uniform":
            scale = scale * depth ** (1 / centres[0].numel())
        start: Tensor = centres + (scale * delta).view_as(centres).to(centres.dtype)
        return start


def searched_without_gradients(noise: Noise, norm: Norm) -> bool:
    """Whether an attack through this noise tries the changed images that its budget names, instead of a geometry.

    Args:
        noise: Noise law.
        norm: Norm of the budgets.
    """
    return norm == "l2" and not isinstance(noise.budget, (LpBudget, EllipsoidBudget))


def length_of_change(noise: Noise, image: Tensor, changed: Tensor) -> float:
    """Length of a change in the budget of the noise.

    Args:
        noise: Noise law.
        image: The image ``[C, H, W]``.
        changed: The changed image, of the same shape.
    """
    if searched_without_gradients(noise, "l2"):
        return noise.budget.length(image, changed)
    return float(geometry_of(noise, "l2", image).distance(changed[None], image[None])[0])


def geometry_of(noise: Noise, norm: Norm, image: Tensor) -> Geometry:
    """Where an attack through this noise searches, for budgets in ``norm`` or in the lengths of the noise's budget.

    Args:
        noise: Noise law.
        norm: ``"l2"``: for noise with nuisance modes that is the length along its first axis; or ``"linf"``.
        image: Gives shape and device of the images, ``[C, H, W]``.
    """
    if norm == "l2" and isinstance(noise.budget, EllipsoidBudget):
        return Ellipsoid(noise.budget, image)
    return Ball(norm)
