"""Generalised normal noise: flatter than Gaussian at the centre and lighter in the tails, for l_p budgets."""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import erf, erfc, gammainccinv, gammaincinv, gammaln
from torch import Tensor
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.smoothing.noise import Noise, normals_like
from lit_certattr.smoothing.normals import NormalStream

_STEPS = 256  # of the table, in a unit of the normal
_REACH = 9.0  # no stream of normals gets here


class GeneralisedNormalNoise(Noise):
    r"""Independent coordinates with density :math:`\propto \exp(-|z/b|^s)`, s even: ``s=2`` is Gaussian.

    The larger s is, the closer the law is to a uniform one. Certificates for it are about l_p norms with
    :math:`p \ge s` (:class:`~lit_certattr.certificates.RenyiCertificate`).

    **How it is drawn.** With F the distribution function for b = 1, each coordinate is :math:`b\,T(z)` for a standard
    normal z and the increasing map :math:`T = F^{-1} \circ \Phi`. This is exactly the law and needs one normal per
    coordinate, so the streams of :func:`normal_stream`, with all their guarantees, serve this law too. T is odd and
    analytic; it is read from a table of values and exact slopes by cubic interpolation, which moves :math:`\ln T'`,
    hence the log-density, by less than 1e-8 (tested), far below the rounding of a float32.

    Args:
        sigma: Standard deviation of every coordinate, in pixel units; positive.
        s: Even exponent in 2..32.

    Raises:
        InputError: If ``sigma`` or ``s`` is out of range.

    Example:
        >>> noise = GeneralisedNormalNoise(sigma=0.25, s=6)
        >>> noise, round(noise.scale, 6)
        (GeneralisedNormalNoise(sigma=0.25, s=6), 0.443033)
    """

    def __init__(self, sigma: float, s: int) -> None:
        super().__init__(sigma)
        if not (2 <= s <= 32 and s % 2 == 0):
            raise InputError(f"s must be an even number in 2..32, got {s}")
        self.s = int(s)

    @property
    def scale(self) -> float:
        r"""The scale :math:`b = \sigma \sqrt{\Gamma(1/s) / \Gamma(3/s)}`."""
        return self.sigma * math.exp((gammaln(1 / self.s) - gammaln(3 / self.s)) / 2)

    @override
    def generator(self, normals: NormalStream | type[NormalStream]) -> str:
        return f"{normals.generator}, to generalised normal by cubic table"

    @override
    def perturb_(self, out: Tensor, image: Tensor, normals: NormalStream, start: int) -> Tensor:
        wide = torch.promote_types(out.dtype, torch.float32)
        z = normals.fill_(torch.empty(out.shape, dtype=wide, device=normals.device), start)
        return out.copy_(self.transport(z).to(out.device).mul_(self.scale).add_(image))

    @override
    def sample_like(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.transport(normals_like(images, generator)).mul_(self.scale)

    def transport(self, z: Tensor) -> Tensor:
        """Apply the map T to standard normals of any shape: they get the law with scale 1."""
        table = torch.from_numpy(_table(self.s)).to(z.device, z.dtype)
        place = z.abs().mul_(_STEPS).clamp_(max=_REACH * _STEPS - 1)
        node = place.int()
        place -= node
        constant, slope, square, cube = (row.take(node.long()) for row in table)
        value: Tensor = cube.mul_(place).add_(square).mul_(place).add_(slope).mul_(place).add_(constant)
        return value.copysign_(z)


@lru_cache(maxsize=8)
def _table(s: int) -> npt.NDArray[np.float64]:
    """Coefficients ``[4, nodes]`` of the cubic of each step, for values and slopes of T at the nodes z >= 0."""
    z = np.arange(round(_REACH * _STEPS) + 1) / _STEPS
    with np.errstate(divide="ignore"):
        near, far = gammaincinv(1 / s, erf(z / math.sqrt(2))), gammainccinv(1 / s, erfc(z / math.sqrt(2)))
    power = np.where(z < 1, near, far)  # T(z)^s: each inverse where its probability is small
    value = power ** (1 / s)
    slope = np.exp(power - z * z / 2 + gammaln(1 + 1 / s)) * math.sqrt(2 / math.pi) / _STEPS
    step = np.diff(value)
    square = 3 * step - 2 * slope[:-1] - slope[1:]
    cube = slope[:-1] + slope[1:] - 2 * step
    return np.stack([value[:-1], slope[:-1], square, cube])
