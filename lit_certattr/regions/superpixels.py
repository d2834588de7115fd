"""Superpixels of the clean image."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.partitions import Regions
from lit_certattr.settings import real_number, whole_number
from lit_certattr.settings.extras import extra


class Superpixels(Regions):
    """Compact superpixels of about equal size: SLIC (Achanta et al., 2012), as scikit-image computes it.

    Colours are compared in CIELAB. An image without 3 channels is taken as gray, the mean of its channels.

    Args:
        count: Number of superpixels that is asked for; an image may get some more or fewer.
        compactness: How much nearness counts beside colour, above 0; larger values give squarer superpixels.
        sigma: Standard deviation in pixels of the blur before, at least 0.

    Raises:
        InputError: If a number is out of range.

    Example:
        >>> image = torch.zeros(1, 16, 16)
        >>> image[:, :, 10:] = 1
        >>> Superpixels(count=4, sigma=0)(image, "two")[0].tolist()
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    """

    def __init__(self, count: int = 80, compactness: float = 10.0, sigma: float = 1.0) -> None:
        self.count = whole_number("count", count, least=1)
        self.compactness = _number("compactness", compactness, above=True)
        self.sigma = _number("sigma", sigma)

    @override
    def __call__(self, image: Tensor, image_id: str) -> Tensor:
        with extra("regions", "Superpixels"):
            from skimage.segmentation import slic  # here, because other runs need not wait for it

        colours = image if image.shape[0] == 3 else image.mean(0, keepdim=True).expand(3, -1, -1)
        labels = slic(
            _picture(colours),
            n_segments=self.count,
            compactness=self.compactness,
            sigma=self.sigma,
            channel_axis=-1,
            convert2lab=True,
            start_label=0,
        )
        return _numbered(labels)


class Felzenszwalb(Regions):
    """Superpixels that follow edges, of any size (Felzenszwalb and Huttenlocher, 2004), as scikit-image computes them.

    Args:
        scale: Preference for large superpixels, above 0.
        sigma: Standard deviation in pixels of the blur before, at least 0.
        min_size: Least number of pixels of a superpixel, at least 1.

    Raises:
        InputError: If a number is out of range.

    Example:
        >>> image = torch.zeros(3, 16, 16)
        >>> image[:, :, 8:] = 1
        >>> Felzenszwalb(min_size=20)(image, "halves").unique().tolist()
        [0, 1]
    """

    def __init__(self, scale: float = 100.0, sigma: float = 0.8, min_size: int = 50) -> None:
        self.scale = _number("scale", scale, above=True)
        self.sigma = _number("sigma", sigma)
        self.min_size = whole_number("min_size", min_size, least=1)

    @override
    def __call__(self, image: Tensor, image_id: str) -> Tensor:
        with extra("regions", "Felzenszwalb"):
            from skimage.segmentation import felzenszwalb

        labels = felzenszwalb(
            _picture(image), scale=self.scale, sigma=self.sigma, min_size=self.min_size, channel_axis=-1
        )
        return _numbered(labels)


def _number(name: str, value: float, above: bool = False) -> float:
    number = real_number(name, value)
    if not (0 <= number < math.inf) or (above and number == 0):
        raise InputError(f"{name} must be a finite number {'above' if above else 'of at least'} 0, got {value}")
    return number


def _picture(image: Tensor) -> npt.NDArray[np.float64]:
    """The image as scikit-image takes it; in float64 on the CPU, so that no device changes the regions."""
    picture: npt.NDArray[np.float64] = image.detach().cpu().double().permute(1, 2, 0).contiguous().numpy()
    return picture


def _numbered(labels: npt.NDArray[np.int64]) -> Tensor:
    """Labels without gaps, from 0."""
    return torch.from_numpy(np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64))
