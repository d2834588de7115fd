"""Transforms of the user's own for the images of a folder: torchvision's, albumentations', or any function."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lit_certattr.data.image_header import MAX_PIXELS
from lit_certattr.data.images import read_unscaled, to_pixels
from lit_certattr.data.sample import ImageError
from lit_certattr.errors import InputError

OwnTransform = Callable | list[Callable]
"""One transform, or several that are applied in turn."""

_TRIES = 16
"""How often an image is transformed to find randomness."""
_PROBE = 97
"""Height and width of the picture on which transforms are tried; few transforms leave such noise as it is."""


class Pipeline:
    """Transforms in turn, from a picture to an image in [0, 1].

    The first transform gets what torchvision's data sets give: a PIL picture of 8 bits, or a float tensor ``[C, H, W]``
    in [0, 1] for files of more than 8 bits. What the last one returns is converted to float: PIL pictures, NumPy arrays
    ``[H, W, C]`` and tensors ``[C, H, W]`` of bytes are divided by 255, floats are taken as they are. A transform of
    albumentations (it has ``available_keys`` with ``"image"``) is called as ``transform(image=array)["image"]``.

    Args:
        transforms: The transform, or several.
        name: Name of the setting in messages.

    Raises:
        InputError: If a transform is no function and no object that can be called, or one of them normalises: a budget
            is a length in pixel units, so normalisation belongs into the network.

    Example:
        >>> from torchvision.transforms import v2
        >>> Pipeline([v2.Resize(4), v2.CenterCrop(4)], "transform")(Image.new("L", (9, 6), 51))[0, 0]
        tensor([0.2000, 0.2000, 0.2000, 0.2000])
    """

    def __init__(self, transforms: OwnTransform, name: str) -> None:
        self.transforms = list(transforms) if isinstance(transforms, list | tuple) else [transforms]
        self.name = name
        for one in self.transforms:
            if isinstance(one, type) or not callable(one):
                got = f"the class {one.__name__}" if isinstance(one, type) else f"{one!r:.80}"
                raise InputError(f"{name} must be functions of an image, got {got}: give an object, with class_path")
        for part in _parts(self.transforms):
            if type(part).__name__ == "Normalize":
                known = [key for key in ("mean", "std") if hasattr(part, key)]
                numbers = ", ".join(f"{key}={list(getattr(part, key))}" for key in known)
                raise InputError(
                    f"{name} normalises the images, but a budget or a radius is a length in pixel units: leave "
                    "Normalize out, and make it the network's first layer, "
                    f"lit_certattr.models.Normalized(network, {numbers})"
                )

    def __call__(self, picture: Image.Image | Tensor) -> Tensor:
        """Transform a picture.

        Args:
            picture: A PIL picture, or float ``[C, H, W]`` in [0, 1].

        Returns:
            float32 ``[C, H, W]`` in [0, 1].

        Raises:
            ImageError: If a transform fails or returns something else.
        """
        value: Any = picture
        for one in self.transforms:
            try:
                value = one(image=_as_array(value))["image"] if _is_albumentations(one) else one(value)
            except Exception as error:  # whatever a function of the user raises
                said = " ".join(str(error).split())[:200]
                raise ImageError(f"{self.name}: {_called(one)} fails ({type(error).__name__}: {said})") from error
        return self._as_image(value)

    def check_repeatable(self, channels: int) -> None:
        """Refuse transforms with randomness, for images that are validated, tested or certified.

        Args:
            channels: 1 or 3.

        Raises:
            InputError: If a transform is applied with a probability between 0 and 1, or gives another image each time.
        """
        for part in _parts(self.transforms):
            if isinstance(chance := getattr(part, "p", None), float) and 0 < chance < 1:
                raise InputError(f"{self.name}: {_called(part)} is applied with probability {chance}{_REPEATABLE}")
        pixels = np.random.RandomState(0).randint(0, 256, (_PROBE, _PROBE, channels), dtype=np.uint8)
        picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        first = self(picture)
        if any(not torch.equal(first, self(picture)) for _ in range(_TRIES - 1)):
            names = ", ".join(dict.fromkeys(_called(part) for part in _parts(self.transforms)))
            raise InputError(f"{self.name} ({names}) gives another image each time{_REPEATABLE}")

    def _as_image(self, value: Any) -> Tensor:
        if isinstance(value, Image.Image):
            value = to_pixels(value)
        elif isinstance(value, np.ndarray):
            array = torch.from_numpy(np.ascontiguousarray(value))
            value = array[None] if array.ndim == 2 else array.permute(2, 0, 1) if array.ndim == 3 else array
        if not isinstance(value, Tensor) or value.ndim != 3:
            got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ImageError(f"{self.name} must return an image [C, H, W], got {got}")
        if value.dtype == torch.uint8:
            value = value.float() / 255
        if not value.is_floating_point():
            raise ImageError(f"{self.name} must return bytes or floats in [0, 1], got {value.dtype}")
        low, high = (float(one) for one in torch.aminmax(value))
        if not (low >= 0 and high <= 1):  # also for NaN
            raise ImageError(
                f"{self.name} gives pixels from {low:.3g} to {high:.3g}, not in [0, 1]: leave normalisation to the "
                "network (lit_certattr.models.Normalized), and clip what resizing overshoots"
            )
        image: Tensor = value.detach().as_subclass(Tensor).float()  # torchvision has a kind of its own for images
        return image


class TransformedFiles:
    """Image files, read in their own size and transformed on access.

    Args:
        paths: One file per image.
        pipeline: The transforms.
        channels: 1 (grayscale) or 3 (RGB).
        white_level: See :func:`~lit_certattr.data.images.read_image`.
        max_pixels: Largest width x height of a file.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        pipeline: Pipeline,
        channels: int = 3,
        white_level: float | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.paths, self.pipeline, self.channels = paths, pipeline, channels
        self.white_level, self.max_pixels = white_level, max_pixels

    def __getitem__(self, index: int) -> Tensor:
        path = self.paths[index]
        try:
            return self.pipeline(read_unscaled(path, self.channels, self.white_level, self.max_pixels))
        except ImageError as error:
            named = str(path) in str(error)
            raise error if named else ImageError(f"image {path}: {error}") from None


_REPEATABLE = (
    ", but a certificate is about one image, and tests are to be repeated: use it for training images only, as "
    "train_transform"
)


def _parts(transforms: Sequence[Any]) -> Iterator[Any]:
    """The transforms, and those inside compositions."""
    for one in transforms:
        yield one
        inner = getattr(one, "transforms", None)
        if isinstance(inner, list | tuple):
            yield from _parts(inner)


def _is_albumentations(transform: Any) -> bool:
    keys = getattr(transform, "available_keys", ())
    return isinstance(keys, set | frozenset | list | tuple) and "image" in keys


def _as_array(value: Any) -> Any:
    """A picture or a tensor as an array ``[H, W, C]``."""
    if isinstance(value, Tensor):
        return value.permute(1, 2, 0).numpy()
    return np.asarray(value)


def _called(transform: Any) -> str:
    return getattr(transform, "__name__", type(transform).__name__)
