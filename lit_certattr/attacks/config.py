"""The settings of an attack: plain data, so that a YAML file can hold them."""

import math
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from lit_certattr.errors import InputError

Norm = Literal["l2", "linf"]
Init = Literal["zero", "uniform", "gaussian", "boundary"]
Keep = Literal["best", "last"]
_MAP_BETAS = (3.0, 30.0)
"""Sharpness of softplus in attacks on maps: smooth at first, with a clear gradient, and close to ReLU in the end."""


@dataclass(frozen=True)
class AttackConfig:
    r"""How to search a ball around an image for the perturbation that increases a score most.

    The usual attacks are settings of this one loop: PGD (``init="uniform"``), FGSM (``steps=1, init="zero"``), the
    fast attack of Wong et al. (2020) (``steps=1, init="uniform"``), random perturbations (``steps=0,
    init="boundary"``), the best of m of them (``restarts=m``).

    Args:
        eps: Budget: radius of the ball, in pixel units of [0, 1]; 0 or more. For ``"l2"`` it is the length over the
            whole image, for ``"linf"`` the largest change of one value. A sign step of linf size eps has l2 length
            ``eps * sqrt(d)``: the two are not comparable.
        steps: Gradient steps of each restart; 0 tries the starting points alone.
        step_size: Length of a step; ``None`` is ``2.5 * eps / steps``, which reaches the boundary from anywhere.
        norm: ``"l2"`` or ``"linf"``.
        init: Starting point of a restart. ``"zero"``: at the image; ``"uniform"``: uniformly in the ball;
            ``"gaussian"``: at N(0, 0.001^2) noise (TRADES); ``"boundary"``: on the sphere, in a direction that is
            uniform there (l2), or at a random corner of the cube (linf: random signs). The box then clips the point;
            with ``"boundary"`` in l2 the perturbation is lengthened until it has length ``eps`` *after* the clipping
            (or every coordinate has reached the box).
        clamp: Smallest and largest value of a pixel; ``None`` for no box.
        restarts: Number of independent searches, at least 1; the best point of all is used.
        smooth_beta: Sharpness of the softplus that replaces ReLU in gradients, see
            :class:`~lit_certattr.models.SmoothActivations`; ``None`` keeps ReLU. Two numbers
            are a geometric schedule from the first step to the last. ``"auto"`` is ``(3.0, 30.0)`` for attacks
            on maps, which need a second derivative, and ``None`` for attacks on predictions.
        keep: ``"best"``: the best point seen, never worse than the image itself; ``"last"``: the point after the
            last step, as in adversarial training (with several restarts the best of the last points).
        seed: Seed of the random starts, which does not change torch's generators; ``None`` draws from torch's
            global generator, as in training.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> AttackConfig(eps=0.5, steps=10).step_length(torch.tensor([0.5, 0.2]))
        tensor([0.1250, 0.0500])
    """

    eps: float
    steps: int = 50
    step_size: float | None = None
    norm: Norm = "l2"
    init: Init = "uniform"
    clamp: tuple[float, float] | None = (0.0, 1.0)
    restarts: int = 1
    smooth_beta: float | tuple[float, float] | Literal["auto"] | None = "auto"
    keep: Keep = "best"
    seed: int | None = 0

    def __post_init__(self) -> None:
        for name in ("clamp", "smooth_beta"):  # as a record or a YAML file gives them
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        if not (self.eps >= 0 and math.isfinite(self.eps)):
            raise InputError(f"eps must be a number of at least 0, got {self.eps}")
        if self.steps < 0 or self.restarts < 1:
            raise InputError(f"steps must be at least 0 and restarts at least 1, got {self.steps}, {self.restarts}")
        if self.step_size is not None and not (self.step_size > 0 and math.isfinite(self.step_size)):
            raise InputError(f"step_size must be a positive number, got {self.step_size}")
        for name, choices in (("norm", Norm), ("init", Init), ("keep", Keep)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} must be one of {', '.join(get_args(choices))}, got {getattr(self, name)!r}")
        if self.clamp is not None and not self.clamp[0] < self.clamp[1]:
            raise InputError(f"clamp must be two increasing numbers, got {self.clamp}")
        if isinstance(self.smooth_beta, str) and self.smooth_beta != "auto":
            raise InputError(
                f"smooth_beta must be one or two positive numbers, 'auto' or None, got {self.smooth_beta!r}"
            )
        if (betas := self._betas()) is not None and not all(0 < beta < math.inf for beta in betas):
            raise InputError(f"smooth_beta must be positive, got {self.smooth_beta}")

    def _betas(self) -> tuple[float, float] | None:
        beta = self.smooth_beta
        if beta is None or isinstance(beta, str):
            return None
        return (beta, beta) if isinstance(beta, int | float) else (beta[0], beta[1])

    def beta(self, step: int) -> float | None:
        """Sharpness at a step (0 to ``steps - 1``); ``None`` if the network is differentiated as it is."""
        if (betas := self._betas()) is None:
            return None
        first, last = betas
        return float(first * (last / first) ** (step / max(1, self.steps - 1)))

    def for_maps(self) -> Self:
        """These settings for an attack on a map, where ``smooth_beta="auto"`` replaces ReLU by softplus.

        Example:
            >>> AttackConfig(eps=0.5).beta(0), AttackConfig(eps=0.5).for_maps().beta(0)
            (None, 3.0)
        """
        return replace(self, smooth_beta=_MAP_BETAS) if self.smooth_beta == "auto" else self

    @property
    def num_points(self) -> int:
        """Number of points that are evaluated, besides the image itself."""
        return self.restarts * max(1, self.steps + (self.init != "zero"))

    def random_search(self) -> Self:
        """Baseline of this attack: the best of the same number of random points on the boundary, by the same criterion.

        In l2 each point is drawn uniformly on the unit sphere (a normalised Gaussian vector) and scaled by the factor
        at which, clipped to the box, it has length ``eps``: a point of the sphere and of the box at once. Coordinates
        that lead out of the box stay at its border. Where the whole box is nearer than ``eps``, the corner in the
        drawn direction is taken; without ``clamp`` nothing is clipped. In linf the points are random signs times
        ``eps``, clipped to the box.

        Example:
            >>> AttackConfig(eps=0.5, steps=9).random_search().num_points
            10
        """
        return replace(self, steps=0, init="boundary", restarts=self.num_points)

    def step_length(self, eps: Tensor) -> Tensor:
        """Length of a step for budgets ``eps`` ``[B]``; a given ``step_size`` scales along with the budget."""
        if self.step_size is None:
            return 2.5 * eps / max(1, self.steps)
        return self.step_size * eps / self.eps if self.eps else torch.full_like(eps, self.step_size)
