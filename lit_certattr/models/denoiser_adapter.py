"""Denoisers that users have, in the form that a denoised network needs."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.settings import instance, real_number

Gives = Literal["image", "noise"]


class DenoiserAdapter(nn.Module):
    """A denoiser of another library, for images in [0, 1] and one noise level.

    It covers modules that are called with the images alone (*blind* denoisers) and modules that also need the noise
    level, ``denoiser(images, sigma)``, as the denoisers of deepinv; denoisers of pixels in another range, such as
    [-1, 1]; and those that return the noise instead of the image.

    Args:
        denoiser: Module from images to images (or noise) of the same shape; a fixed function of each image.
        sigma: The noise level that the denoiser is told, in units of pixels in [0, 1]; it is converted to the range of
            the denoiser. ``None`` calls it with the images alone.
        value_range: The pixel values of the denoiser that stand for 0 and 1.
        gives: Whether the denoiser returns the clean ``"image"`` or the ``"noise"``.
        straight_through: Let gradients pass as if the denoiser were the identity. Only for denoisers without a
            gradient of their own (median filters, BM3D): attacks need some gradient, and are weaker with this one.

    Raises:
        InputError: If an argument is of another kind, or a number is out of range.

    Example:
        >>> import torch
        >>> class Shrink(nn.Module):
        ...     def forward(self, images, sigma):
        ...         return images / (1 + sigma**2)
        >>> DenoiserAdapter(Shrink(), sigma=0.5, value_range=(-1, 1))(torch.ones(1, 1, 1, 1))
        tensor([[[[0.7500]]]])
    """

    def __init__(
        self,
        denoiser: nn.Module,
        sigma: float | None = None,
        value_range: Sequence[float] = (0.0, 1.0),
        gives: Gives = "image",
        straight_through: bool = False,
    ) -> None:
        super().__init__()
        instance("denoiser", denoiser, nn.Module, "UNetDenoiser()")
        if sigma is not None and real_number("sigma", sigma) <= 0:
            raise InputError(f"sigma must be positive or null, got {sigma}")
        if gives not in get_args(Gives):
            raise InputError(f"gives must be one of {', '.join(get_args(Gives))}, got {gives!r}")
        if len(value_range) != 2 or not all(map(math.isfinite, value_range)) or not value_range[0] < value_range[1]:
            raise InputError(f"value_range must be two numbers, the values of 0 and of 1, got {list(value_range)}")
        self.denoiser, self.sigma, self.gives, self.straight_through = denoiser, sigma, gives, straight_through
        self.low, self.scale = float(value_range[0]), float(value_range[1] - value_range[0])

    def forward(self, images: Tensor) -> Tensor:
        """Denoise images ``[B, C, H, W]`` in [0, 1] plus noise; the shape stays."""
        values = self.low + self.scale * images
        output = self.denoiser(values) if self.sigma is None else self.denoiser(values, self.sigma * self.scale)
        if not isinstance(output, Tensor):
            return output  # type: ignore[no-any-return]  # Denoised says what is wrong
        denoised: Tensor = images - output / self.scale if self.gives == "noise" else (output - self.low) / self.scale
        return images + (denoised - images).detach() if self.straight_through else denoised

    def extra_repr(self) -> str:
        """Show the settings when the network is printed."""
        return (
            f"sigma={self.sigma}, value_range=({self.low}, {self.low + self.scale}), gives={self.gives!r}, "
            f"straight_through={self.straight_through}"
        )
