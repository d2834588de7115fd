"""A noise law, and the certificate that covers it: independent Laplace noise, for budgets in l1."""

import math
from typing import ClassVar

import attrs
import torch
from half_certificate import HalfCertificate, HalfResult
from torch import Tensor

from lit_certattr.certificates import Presentation, present
from lit_certattr.smoothing import Noise, NormalStream
from lit_certattr.smoothing.noise import normals_like


class LaplaceNoise(Noise):
    r"""Independent coordinates with density :math:`\propto \exp(-|z|/b)`, :math:`b = \sigma / \sqrt 2`.

    A law that is not Gaussian is no subclass of ``GaussianNoise``: theorems about Gaussian noise would take it for one.

    Args:
        sigma: Standard deviation of every coordinate, in pixel units; positive.
    """

    @property
    def scale(self) -> float:
        """B."""
        return self.sigma / math.sqrt(2)

    def generator(self, normals: NormalStream | type[NormalStream]) -> str:
        """How the noise is drawn: part of the record."""
        return f"{normals.generator}, to Laplace by its quantiles"

    def perturb_(self, out: Tensor, image: Tensor, normals: NormalStream, start: int) -> Tensor:
        """Write noisy copies ``[b, d]`` of a flat image ``[d]``; the normals are keyed by seed, image and sample."""
        z = normals.fill_(torch.empty(out.shape, dtype=torch.float64, device=normals.device), start)
        return out.copy_(self.from_normals(z).to(out.device).add_(image))

    def sample_like(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Fresh noise, for training and attacks."""
        return self.from_normals(normals_like(images, generator))

    def from_normals(self, z: Tensor) -> Tensor:
        r"""The increasing map that takes standard normals to this law, :math:`-b \ln(2 \Phi(-|z|))` with z's sign."""
        return (-self.scale * (torch.special.log_ndtr(-z.abs()) + math.log(2))).copysign(z)


@attrs.frozen(eq=False)
class LaplaceHalfResult(HalfResult):
    r"""The same votes under Laplace noise.

    Theorem (Teng et al., 2020). If the probability is at least :math:`L > 1/2`, it stays above 1/2 under every
    perturbation with an l1 norm below :math:`-b \ln(2 (1 - L))`.
    """

    kind = "laplace_half"

    @property
    def radius_norm(self) -> str:
        """Its radii are l1 lengths."""
        return "l1"

    @staticmethod
    def reach(sigma: float, lower: float) -> float:
        """Radius of a probability above 1/2."""
        return -sigma / math.sqrt(2) * math.log(2 * (1 - lower))


class LaplaceHalfCertificate(HalfCertificate):
    """:class:`HalfCertificate` for Laplace noise and l1 budgets."""

    name = "laplace_half"
    result: ClassVar[type[HalfResult]] = LaplaceHalfResult
    laws: ClassVar[tuple[type[Noise], ...]] = (LaplaceNoise,)


present.register(LaplaceHalfResult, Presentation)  # by its statement: no column of l2 radii may hold l1 lengths
