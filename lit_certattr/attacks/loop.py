"""The one attack loop, for evaluation and for training."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from lit_certattr.attacks.config import AttackConfig
from lit_certattr.attacks.geometry import Ball, Geometry
from lit_certattr.devices import exact_dtype
from lit_certattr.errors import InputError
from lit_certattr.models.smooth import SmoothActivations

Score = Callable[[Tensor], Tensor]
"""From images ``[B, C, H, W]`` to one number per image, ``[B]``; each may depend on its own image alone."""
Accept = Callable[[Tensor], Tensor]
"""From images ``[B, C, H, W]`` to booleans ``[B]``."""


def attack(
    score: Score,
    images: Tensor,
    config: AttackConfig,
    *,
    eps: Tensor | None = None,
    criterion: Score | None = None,
    accept: Accept | None = None,
    geometry: Geometry | None = None,
) -> Tensor:
    """Search the ball around each image for a perturbation that increases its score.

    Projected gradient ascent with restarts. Only ``torch.autograd.grad`` with respect to the images is used: no
    ``.grad`` is touched, no hook of a distributed wrapper fires. Modes and flags of the networks inside ``score`` are
    the caller's (see :func:`~lit_certattr.attribution.frozen`). Each call gets a copy of the points, so a network that
    writes to its input changes neither them nor the images of the caller. A score with noise inside should draw new
    noise at each call (expectation over transformation): with fixed noise, the attack would fit the noise. The value of
    the best point is then the largest of many random ones: evaluate the point again with fresh noise.

    Args:
        score: The score that is increased; differentiable, unless ``config.steps`` is 0. For gradients, softplus
            replaces ReLU as ``config.smooth_beta`` says.
        images: Clean images ``[B, C, H, W]``, in the box ``config.clamp``.
        config: Settings.
        eps: Budget of each image, ``[B]``, in place of ``config.eps``; a given ``step_size`` is scaled accordingly.
        criterion: Value by which the best point is chosen; larger is better for the attacker. Default: the score of
            the network itself. It is not called if there is nothing to choose: ``keep="last"`` with one restart.
        accept: Says which points are accepted, e.g. those that keep the label; an image without an accepted point
            stays unchanged.
        geometry: Where the search takes place, if that is not the ball of ``config.norm``.

    Returns:
        Perturbed images, detached, in ball and box as measured in float64.

    Raises:
        InputError: If an image lies outside the box, a budget is negative, or the score has no gradient.

    Example:
        >>> images = torch.full((2, 1, 2, 2), 0.5)
        >>> brighter = attack(lambda z: z.sum((1, 2, 3)), images, AttackConfig(eps=0.1, steps=5, norm="linf"))
        >>> brighter[0, 0, 0]
        tensor([0.6000, 0.6000])
    """
    with torch.inference_mode(False):
        clean, budget = checked_images(images, config, eps)
        search = _Search(score, clean, budget, config, criterion, accept, geometry or Ball(config.norm))
        generator = None
        if config.seed is not None:
            generator = torch.Generator(clean.device).manual_seed(config.seed)
        for _ in range(config.restarts):
            search.restart(generator)
        return search.best


def checked_images(images: Tensor, config: AttackConfig, eps: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A copy of the images to attack, and the budget of each, float64 ``[B]``.

    Args:
        images: Clean images ``[B, C, H, W]``.
        config: Settings.
        eps: Budget of each image, ``[B]``, in place of ``config.eps``.

    Raises:
        InputError: If they are no batch of images, or not finite, or an image lies outside the box, or a budget is
            negative.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        got = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"images to attack must be a floating-point tensor [B, C, H, W], got {got}")
    clean = images.detach().clone()
    budget = _budgets(clean, config, eps)
    low, high = (-torch.inf, torch.inf) if config.clamp is None else config.clamp
    if len(clean) and not _in_box(clean, (low, high)):  # false for NaN
        raise InputError(f"images to attack must lie in [{low:g}, {high:g}]")
    return clean, budget


class _Search:
    """The points seen so far, and the best of them."""

    def __init__(
        self,
        score: Score,
        clean: Tensor,
        eps: Tensor,
        config: AttackConfig,
        criterion: Score | None,
        accept: Accept | None,
        geometry: Geometry,
    ) -> None:
        self.score, self.clean, self.eps, self.config = score, clean, eps, config
        self.criterion, self.accept, self.geometry = criterion or score, accept, geometry
        self.reuse = criterion is None and config.beta(0) is None  # the score of a step is its criterion
        self.best = clean
        # The only point of its kind: nothing to compare.
        self.take_all = config.keep == "last" and config.restarts == 1 and accept is None
        if config.keep == "best":
            self.value = self._judge(clean)
        else:
            self.value = torch.full((len(clean),), -torch.inf, device=clean.device)
        self.step_length = config.step_length(eps).to(clean.dtype).view(-1, 1, 1, 1)

    def restart(self, generator: torch.Generator | None) -> None:
        config = self.config
        box = config.clamp if config.init == "boundary" else None
        images = self.geometry.start(self.clean, self.eps, config.init, generator, box)
        images = self.geometry.project(images, self.clean, self.eps, config.clamp)
        for step in range(config.steps):
            values, gradient = gradient_of(self.score, images, config.beta(step))
            if config.keep == "best" and (step or config.init != "zero"):
                self._offer(images, values if self.reuse else None)
            images = images + self.step_length * self.geometry.ascent(gradient)
            images = self.geometry.project(images, self.clean, self.eps, config.clamp)
        self._offer(images)

    def _judge(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.criterion(images.clone()).detach()

    def _offer(self, images: Tensor, values: Tensor | None = None) -> None:
        """Keep the points that are accepted and better than all before."""
        if self.take_all:
            self.best = images.detach()
            return
        values = self._judge(images) if values is None else values
        better = values > self.value  # false for NaN
        if self.accept is not None:
            with torch.no_grad():
                better &= self.accept(images.clone())
        self.best = torch.where(better.view(-1, 1, 1, 1), images.detach(), self.best)
        self.value = torch.where(better, values, self.value)


def gradient_of(score: Score, images: Tensor, beta: float | None) -> tuple[Tensor, Tensor]:
    """A score and its gradient.

    Args:
        score: Score ``[B]`` of images.
        images: Images ``[B, C, H, W]``.
        beta: Sharpness of the softplus that replaces ReLU; ``None`` keeps ReLU.

    Returns:
        Values ``[B]``, detached, and gradients ``[B, C, H, W]``.

    Raises:
        InputError: If the score is no number per image, or does not depend on the images by a differentiable path.
    """
    images = images.detach().requires_grad_(True)
    with torch.enable_grad(), nullcontext() if beta is None else SmoothActivations(beta):
        values = score(images.clone())  # a copy: a network may write to what it gets
        if values.shape != (len(images),):
            raise InputError(f"a score must return one number per image, got shape {tuple(values.shape)}")
        if not values.requires_grad:
            raise InputError(
                "the score does not depend on the images by a differentiable path; steps=0, init='boundary' and "
                "restarts search without gradients"
            )
        (gradient,) = torch.autograd.grad(values.sum(), images)
    return values.detach(), gradient


def _budgets(images: Tensor, config: AttackConfig, eps: Tensor | None) -> Tensor:
    dtype = exact_dtype(images.device)
    if eps is None:
        return torch.full((len(images),), config.eps, dtype=dtype, device=images.device)
    if eps.shape != (len(images),) or not bool(((eps >= 0) & torch.isfinite(eps)).all()):
        raise InputError(f"eps must be one number of at least 0 for each of {len(images)} images")
    return eps.to(images.device, dtype)


def _in_box(images: Tensor, box: tuple[float, float]) -> bool:
    low, high = torch.stack(torch.aminmax(images)).tolist()
    return bool(box[0] <= low and high <= box[1])
