"""The values that replace removed pixels. No choice is neutral, so report it with every number."""

import math
from typing import Literal

from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from lit_certattr.errors import InputError

Fill = float | Literal["mean", "blur"]

_BLUR_SIZE, _BLUR_SIGMA = 11, 5.0


def fill_images(images: Tensor, fill: Fill) -> Tensor:
    """The images whose pixels take the place of removed ones.

    Args:
        images: Images ``[B, C, H, W]`` in [0, 1].
        fill: A grey level in [0, 1]; ``"mean"``, the mean of each channel of each image; or ``"blur"``, the image under
            an 11 x 11 Gaussian of standard deviation 5 pixels (as Petsiuk et al., 2018; mirrored at the border).

    Returns:
        Images of the same shape.

    Raises:
        InputError: If ``fill`` is none of these, or images of less than 6 pixels a side are to be blurred.

    Example:
        >>> import torch
        >>> fill_images(torch.tensor([[[[0.0, 1.0]]]]), "mean")
        tensor([[[[0.5000, 0.5000]]]])
    """
    if fill == "mean":
        return images.mean((2, 3), keepdim=True).expand_as(images)
    if fill == "blur":
        if min(images.shape[2:]) <= _BLUR_SIZE // 2:
            raise InputError(f"fill='blur' needs images of at least 6 pixels a side, got {tuple(images.shape[2:])}")
        blurred: Tensor = transforms.gaussian_blur(images, [_BLUR_SIZE] * 2, [_BLUR_SIGMA] * 2)
        return blurred
    if not (isinstance(fill, int | float) and math.isfinite(fill) and 0 <= fill <= 1):
        raise InputError(f"fill must be a grey level in [0, 1], 'mean' or 'blur', got {fill!r}")
    return images.new_tensor(fill).expand_as(images)
