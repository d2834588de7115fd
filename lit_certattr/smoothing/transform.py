"""Noise that transforms the image: a random exposure, gamma, contrast, blur or mask, and pixel noise on top."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.settings import real_number
from lit_certattr.smoothing.noise import Noise, Perturb, check_sigma, normals_like, pixel_noise
from lit_certattr.smoothing.normals import NormalStream, few_normals

LARGEST_POWER = 10.0
"""Largest standard deviation of an exponent: with more, factors of the law would leave the range of float32, and a
noisy copy would no longer be a function of the transformed image alone."""


def check_spread(name: str, spread: float, largest: float = 1e3) -> float:
    """Check the strength of a random transformation, and return it as a float.

    Args:
        name: Name of the setting.
        spread: A positive number, at least 1e-4.
        largest: Largest that is allowed.

    Raises:
        InputError: If it is not a number in that range.
    """
    if not 1e-4 <= real_number(name, spread) <= largest:
        raise InputError(f"{name} must lie between 1e-4 and {largest:g}, got {spread:g}")
    return float(spread)


class TransformNoise(Noise):
    r"""A random transformation of the image, given by a few random numbers, and independent pixel noise on top.

    The pixel noise steadies the maps. Statements name **no l2 radius**: they are about the transformations alone. Such
    a bound holds with pixel noise as without: the mean over it of a function into [0, 1] is another one. What pixel
    noise does buy is a rest beside a transformation, for majorities at one particular image
    (:meth:`~lit_certattr.budgets.Budget.majority_length`).

    Args:
        sigma: Standard deviation of the pixel noise, in pixel units; 0 for none.

    Raises:
        InputError: If ``sigma`` is not 0 and not a number from 1e-4 to 1e3.
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = 0.0 if real_number("sigma", sigma) == 0 else check_sigma(sigma)

    milder_alone: ClassVar[str] = "a milder transformation"
    """What makes the transformation milder, in words that name settings."""

    @property
    @override
    def milder(self) -> str:
        return f"{self.milder_alone} or a smaller sigma" if self.sigma else self.milder_alone

    @property
    @override
    def remedy(self) -> str:
        return f"use {self.milder}, or a network that is trained with this noise (NoiseAugmentation)"

    @abstractmethod
    def size(self, shape: Sequence[int]) -> int:
        """How many random numbers one transformation takes.

        Args:
            shape: Shape ``(C, H, W)`` of an image.
        """

    @abstractmethod
    def transform(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Transformed images; differentiable in the images, and each independent of the others.

        Args:
            images: Images ``[b, C, H, W]``.
            numbers: Standard normals ``[b, m]``, float64, on the CPU.
        """

    def prepared(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """:meth:`transform` for many copies of one image.

        Args:
            image: Image ``[C, H, W]``.

        Returns:
            A function from ``numbers`` to transformed images ``[b, C, H, W]``.
        """
        return lambda numbers: self.transform(image.expand(len(numbers), -1, -1, -1), numbers)

    @override
    def for_image(self, image: Tensor) -> Perturb:
        wide = image if image.element_size() >= 4 else image.float()
        channels, height, width = image.shape
        # The values of a copy are in the order H, W, C.
        transformed = self.prepared(wide.permute(1, 2, 0).contiguous().permute(2, 0, 1))
        size = self.size(image.shape)

        def perturb(out: Tensor, normals: NormalStream, start: int) -> Tensor:
            numbers = torch.from_numpy(few_normals(normals.key, start, len(out), size))
            copies = transformed(numbers).permute(0, 2, 3, 1)
            shaped = out.view(-1, height, width, channels)
            if not self.sigma:
                shaped.copy_(copies)
                return out
            noisy = pixel_noise(out, normals, start, self.sigma)
            noisy.view(shaped.shape).add_(copies)
            return noisy if noisy is out else out.copy_(noisy)

        return perturb

    @override
    def perturb_(self, out: Tensor, image: Tensor, normals: NormalStream, start: int) -> Tensor:
        raise InputError(f"{type(self).__name__} needs the shape of the image: use for_image(image)")

    @override
    def generator(self, normals: NormalStream | type[NormalStream]) -> str:
        return f"{normals.generator}; transformations: philox4x64, box-muller 53 bit, numpy"

    @override
    def sample_like(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        raise InputError(f"{type(self).__name__} does not add noise to images, it transforms them: use draw(images)")

    @override
    def draw(self, images: Tensor, generator: torch.Generator | None = None) -> Callable[[Tensor], Tensor]:
        shape = len(images), self.size(images.shape[1:])
        dtype = torch.promote_types(images.dtype, torch.float32)  # 16 bits would be another law
        numbers = torch.randn(shape, dtype=dtype, device=images.device, generator=generator).cpu().double()
        offset = normals_like(images, generator) * self.sigma if self.sigma else None

        def noisy(points: Tensor) -> Tensor:
            transformed = self.transform(points, numbers)
            return transformed if offset is None else transformed + offset

        return noisy
