"""The noise laws. A certificate refuses the laws that its theorem does not cover."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from numbers import Real
from typing import ClassVar, Self

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets import Budget, LpBudget
from lit_certattr.devices import onto
from lit_certattr.errors import InputError
from lit_certattr.settings import Settings
from lit_certattr.smoothing.normals import NormalStream

_SMALLEST_SIGMA, _LARGEST_SIGMA = 1e-4, 1e3


def check_sigma(sigma: float) -> float:
    """Check a standard deviation of noise for images in [0, 1], and return it as a float.

    Args:
        sigma: Standard deviation in pixel units, from 1e-4 to 1e3.

    Raises:
        InputError: If it is not a number in that range.
    """
    given: object = sigma  # whatever the type says
    if isinstance(given, bool) or not isinstance(given, Real) or not 0 < sigma < math.inf:
        raise InputError(f"sigma must be a positive number, got {sigma!r}")
    if not _SMALLEST_SIGMA <= sigma <= _LARGEST_SIGMA:
        raise InputError(
            f"sigma must lie between {_SMALLEST_SIGMA:g} and {_LARGEST_SIGMA:g}, got {sigma:g}; pixels lie in [0, 1], "
            "and sigma is in the same units"
        )
    return float(sigma)


Perturb = Callable[[Tensor, NormalStream, int], Tensor]
"""Writes noisy copies of one image: ``(out, normals, start)``, as :meth:`Noise.perturb_`, which has the image too."""


class Noise(Settings, ABC):
    """A law of noisy copies of an image; unless a law says otherwise, noise in pixel space is added.

    Args:
        sigma: Standard deviation of every coordinate, in units of pixels in [0, 1]; from 1e-4, a fortieth of a grey
            level, to 1e3. Outside this range, rounding would remove the image or the noise from their sum.

    Raises:
        InputError: If ``sigma`` is not a number in that range.
    """

    partition: Tensor | None = None
    """The regions of the image for which this law was placed, int64 ``[H, W]``; ``None`` where it has none."""
    needs_regions: ClassVar[bool] = False
    """Whether the law is about regions of the image, so that a result must hold them."""

    def __init__(self, sigma: float) -> None:
        self.sigma = check_sigma(sigma)

    def placed(self, image: Tensor, image_id: str) -> Self:
        """The law for one image, where its noisy copies depend on regions of that image.

        The certifier calls it once, with the clean image, before anything is sampled, so that noisy copies of a
        changed image keep the regions of the clean one.

        Args:
            image: The clean image ``[C, H, W]``.
            image_id: Id of the image.

        Returns:
            This law, or a copy that is fixed for the image; a law that is placed already stays as it is.

        Raises:
            InputError: If the image has no such regions; the message names the image.
        """
        return self

    @property
    def milder(self) -> str:
        """What makes the noise milder, in words: its settings, to follow the word "use"."""
        return "a smaller sigma"

    @property
    def remedy(self) -> str:
        """What helps where a network hardly sees through this noise, in words."""
        return f"use {self.milder}, or a network that is trained with noise or has a denoiser in front"

    @property
    def budget(self) -> Budget:
        """The changes of the image whose lengths radii of certificates for this noise are."""
        return LpBudget(None)  # a Gaussian law says more

    def for_image(self, image: Tensor) -> Perturb:
        """What writes noisy copies of one image, with all that is computed once for the image.

        Args:
            image: Image ``[C, H, W]`` on the device of the network.

        Returns:
            A function of ``out``, ``normals`` and ``start``, as :meth:`perturb_`. The values of a copy are in the order
            H, W, C.
        """
        flat = image.permute(1, 2, 0).reshape(-1)
        return lambda out, normals, start: self.perturb_(out, flat, normals, start)

    @abstractmethod
    def perturb_(self, out: Tensor, image: Tensor, normals: NormalStream, start: int) -> Tensor:
        """Write noisy copies of an image.

        Nothing is clipped to [0, 1]: the theorems are about unclipped noise.

        Args:
            out: Buffer ``[b, d]``, contiguous, in the network's precision; overwritten.
            image: Flat image ``[d]``.
            normals: Stream of standard normals of the image.
            start: Index of the first sample.

        Returns:
            ``out``.
        """

    def check(self, image: Tensor, name: str) -> None:
        """Refuse an image to which this noise cannot be added; by default every image is accepted.

        Args:
            image: Image ``[C, H, W]`` in [0, 1].
            name: Name of the image in the error message.

        Raises:
            InputError: If the law does not accept the image; the message names the image and the reason.
        """

    def generator(self, normals: NormalStream | type[NormalStream]) -> str:
        """How the noise is drawn, in words; recorded with every certificate.

        Args:
            normals: Stream of standard normals from which the noise is computed, unless a law draws its own.
        """
        return normals.generator

    @abstractmethod
    def sample_like(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Fresh noise of the shape of ``images`` ``[B, C, H, W]``, for laws that add noise; others use :meth:`draw`.

        Args:
            images: Give shape, dtype and device; their values do not matter.
            generator: Random generator on the device of the images; ``None`` for torch's global one.
        """

    def draw(self, images: Tensor, generator: torch.Generator | None = None) -> Callable[[Tensor], Tensor]:
        """Fresh noise for training and attacks, fixed from here on.

        Args:
            images: Give shape ``[B, C, H, W]``, dtype and device; their values do not matter.
            generator: Random generator on the device of the images; ``None`` for torch's global one.

        Returns:
            A function from images of that shape to their noisy copies, differentiable in the images.
        """
        offset = self.sample_like(images) if generator is None else self.sample_like(images, generator)
        return lambda points: points + offset


def pixel_noise(out: Tensor, normals: NormalStream, start: int, sigma: float) -> Tensor:
    """Gaussian noise for noisy copies, to which a law adds the rest.

    Args:
        out: Buffer ``[b, d]`` of the copies.
        normals: Stream of standard normals of the image.
        start: Index of the first sample.
        sigma: Standard deviation.

    Returns:
        ``out`` itself where it can hold the noise; another tensor on its device where it has half precision (rounding
        the noise would change its law, rounding the noisy image is the network's affair) or the stream another device.
    """
    wide = torch.promote_types(out.dtype, torch.float32)
    direct = normals.device == out.device and out.dtype == wide
    noise = out if direct else torch.empty(out.shape, dtype=wide, device=normals.device)
    return onto(normals.fill_(noise, start), out).mul_(sigma)


def normals_like(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normals of the shape, type and device of ``images`` (``torch.randn_like`` takes no generator).

    Args:
        images: Any tensor.
        generator: Random generator on its device; ``None`` for torch's global one.
    """
    return torch.randn(images.shape, dtype=images.dtype, device=images.device, generator=generator)


class GaussianNoise(Noise):
    r"""Isotropic Gaussian noise :math:`N(0, \sigma^2 I)`.

    Args:
        sigma: Standard deviation of every coordinate, in pixel units; positive.

    Example:
        >>> GaussianNoise(sigma=0.25)
        GaussianNoise(sigma=0.25)
    """

    @property
    @override
    def budget(self) -> Budget:
        return LpBudget(self.sigma)

    @override
    def perturb_(self, out: Tensor, image: Tensor, normals: NormalStream, start: int) -> Tensor:
        noisy = pixel_noise(out, normals, start, self.sigma).add_(image)
        return noisy if noisy is out else out.copy_(noisy)

    @override
    def sample_like(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return normals_like(images, generator) * self.sigma


class UniformBallNoise(Noise):
    r"""Uniform noise on the l2 ball of radius :math:`r = \sigma\sqrt{d + 2}`, whose coordinates have std sigma.

    Sampled as :math:`r\,(z_1, \dots, z_d) / \|z\|_2` with :math:`z \sim N(0, I_{d+2})`, which is exactly uniform
    in the ball. Norm, scaling and the sum with the image are float64: a relative error :math:`\Delta` of the
    radius changes the law by a total variation distance of about :math:`d\,\Delta`, and half a float32 ulp would cost
    0.9 % at ``d = 150528``.

    Args:
        sigma: Standard deviation of every coordinate, in pixel units; positive.

    Example:
        >>> round(UniformBallNoise(sigma=0.25).ball_radius(784), 4)
        7.0089
    """

    def ball_radius(self, dimension: int) -> float:
        """Radius of the ball in ``dimension`` coordinates."""
        return self.sigma * math.sqrt(dimension + 2)

    @override
    def perturb_(self, out: Tensor, image: Tensor, normals: NormalStream, start: int) -> Tensor:
        count, dimension = out.shape
        z = torch.empty(count, dimension + 2, dtype=torch.float64, device=normals.device)
        normals.fill_(z, start)
        z *= self.ball_radius(dimension) / z.norm(dim=1, keepdim=True)
        return out.copy_(z[:, :dimension].add_(image.to(normals.device, torch.float64)))

    @override
    def sample_like(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        z = torch.randn(len(images), images[0].numel() + 2, device=images.device, generator=generator)
        ball: Tensor = z[:, :-2] * (self.ball_radius(images[0].numel()) / z.norm(dim=1, keepdim=True))
        return ball.reshape(images.shape).to(images.dtype)
